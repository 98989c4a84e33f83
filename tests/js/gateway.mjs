// Starts a gateway for one test: free loopback ports, ready before it is handed out, stopped by its pid.

import { freePorts } from "./ports.mjs";
import { startServer } from "./server.mjs";

const READY_WITHIN_MS = 15000;

async function answers(url) {
  return fetch(url).then((response) => response.ok, () => false);
}

// `config` is the gateway's configuration as an object, `flags` are further arguments.
export async function startGateway(binary, name, { config = {}, flags = [] } = {}) {
  const [client, control] = await freePorts(2);
  const controlUrl = `http://127.0.0.1:${control}`;
  const stop = await startServer(
    binary,
    ["--listen", `127.0.0.1:${client}`, "--control", `127.0.0.1:${control}`, "--node-name", name, "--shards", "2", "--insecure-api", ...flags],
    {
      stdio: ["ignore", "inherit", "inherit"],
      env: { MOORING_LOG: "warn", ...process.env, MOORING_CONFIG: JSON.stringify(config) },
    },
    () => answers(`${controlUrl}/readyz`),
    READY_WITHIN_MS,
  );
  return {
    port: client,
    url: `http://127.0.0.1:${client}`,
    post: (path, body) => fetch(`http://127.0.0.1:${client}${path}`, json("POST", body)),
    drain: (connectionsPerSecond, deadlineSeconds) =>
      fetch(`${controlUrl}/drain`, json("POST", { connectionsPerSecond, deadlineSeconds })),
    cancelDrain: () => fetch(`${controlUrl}/drain`, { method: "DELETE" }),
    stop,
  };
}

function json(method, body) {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}
