// A server that runs for one test, as a process of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

// Starts it and waits until `isReady()` gives true; it is ended, and an error says so, where that takes longer than `withinMs`.
// Gives a function that ends it by its pid and waits for its end.
export async function startServer(binary, flags, options, isReady, withinMs) {
  const child = spawn(binary, flags, options);
  const exited = once(child, "exit");
  const stop = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  const deadline = Date.now() + withinMs;
  while (!(await isReady())) {
    if (child.exitCode !== null) throw new Error(`${binary} ended with ${child.exitCode} before it was ready`);
    if (Date.now() > deadline) {
      await stop();
      throw new Error(`${binary} was not ready within ${withinMs} ms`);
    }
    await delay(50);
  }
  return stop;
}
