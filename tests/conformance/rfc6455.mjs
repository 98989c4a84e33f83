// Starts a gateway that echoes, and runs the WebSocket conformance suite against it.
// MOORING_GATEWAY names the gateway's binary, PYTHON the interpreter that has the packages of requirements.txt.

import { spawn } from "node:child_process";
import { once } from "node:events";

import { startGateway } from "../js/gateway.mjs";

const { MOORING_GATEWAY = "../../target/debug/mooring-gateway", PYTHON = "python3" } = process.env;
const WITHIN_MS = 90000;
// The suite's largest messages have 16 MiB.
const limits = { maxMessageBytes: 16 << 20, outboundQueueBytes: 64 << 20 };

const gateway = await startGateway(MOORING_GATEWAY, "gateway", { config: { limits }, flags: ["--echo"] });
try {
  const url = `${gateway.url.replace("http", "ws")}/echo`;
  const suite = spawn(PYTHON, ["rfc6455.py", url], { stdio: "inherit", timeout: WITHIN_MS });
  const [status, signal] = await once(suite, "exit");
  if (signal) console.error(`the suite was ended by ${signal}; it may take ${WITHIN_MS / 1000} s`);
  process.exitCode = status ?? 1;
} finally {
  await gateway.stop();
}
