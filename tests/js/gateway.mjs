// Starts a gateway for one test: free loopback ports, ready before it is handed out, stopped by its pid.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

import { freePorts } from "./ports.mjs";

const READY_WITHIN_MS = 15000;

async function answers(url) {
  return fetch(url).then((response) => response.ok, () => false);
}

// `config` is the gateway's configuration as an object, `flags` are further arguments.
export async function startGateway(binary, name, { config = {}, flags = [] } = {}) {
  const [client, control] = await freePorts(2);
  const child = spawn(
    binary,
    ["--listen", `127.0.0.1:${client}`, "--control", `127.0.0.1:${control}`, "--node-name", name, "--shards", "2", "--insecure-api", ...flags],
    {
      stdio: ["ignore", "inherit", "inherit"],
      env: { MOORING_LOG: "warn", ...process.env, MOORING_CONFIG: JSON.stringify(config) },
    },
  );
  const exited = once(child, "exit");
  const controlUrl = `http://127.0.0.1:${control}`;
  const deadline = Date.now() + READY_WITHIN_MS;
  while (!(await answers(`${controlUrl}/readyz`))) {
    if (child.exitCode !== null) throw new Error(`${binary} ended with ${child.exitCode} before it was ready`);
    if (Date.now() > deadline) {
      // Nobody else knows of it, and the runner waits for it.
      child.kill("SIGKILL");
      throw new Error(`${binary} was not ready within ${READY_WITHIN_MS} ms`);
    }
    await delay(50);
  }
  return {
    port: client,
    url: `http://127.0.0.1:${client}`,
    post: (path, body) => fetch(`http://127.0.0.1:${client}${path}`, json("POST", body)),
    drain: (connectionsPerSecond, deadlineSeconds) =>
      fetch(`${controlUrl}/drain`, json("POST", { connectionsPerSecond, deadlineSeconds })),
    cancelDrain: () => fetch(`${controlUrl}/drain`, { method: "DELETE" }),
    async stop() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function json(method, body) {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}
