// A real Redis for one test, without a file on disk.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

import { freePorts } from "../js/ports.mjs";

const READY_WITHIN_MS = 10000;

export async function startRedis() {
  const [port] = await freePorts(1);
  const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const child = spawn("redis-server", flags, { stdio: ["ignore", "ignore", "inherit"] });
  const exited = once(child, "exit");
  const deadline = Date.now() + READY_WITHIN_MS;
  while ((await command(port, "PING").catch(() => "")) !== "+PONG") {
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode} before it was ready`);
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`redis-server was not ready within ${READY_WITHIN_MS} ms`);
    }
    await delay(50);
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    command: (line) => command(port, line),
    async stop() {
      child.kill("SIGKILL");
      await exited;
    },
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
