// A real Redis for one test, without a file on disk.

import { once } from "node:events";
import { connect } from "node:net";

import { freePorts } from "../js/ports.mjs";
import { startServer } from "../js/server.mjs";

const READY_WITHIN_MS = 10000;

export async function startRedis() {
  const [port] = await freePorts(1);
  const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const isReady = async () => (await command(port, "PING").catch(() => "")) === "+PONG";
  const stop = await startServer("redis-server", flags, { stdio: ["ignore", "ignore", "inherit"] }, isReady, READY_WITHIN_MS);
  return {
    url: `redis://127.0.0.1:${port}`,
    command: (line) => command(port, line),
    stop,
  };
}

// Sends one inline command and returns the first line of its reply.
async function command(port, line) {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    socket.write(`${line}\r\n`);
    const [reply] = await once(socket, "data");
    return reply.toString().split("\r\n")[0];
  } finally {
    socket.destroy();
  }
}
