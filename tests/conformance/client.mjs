// The official client as an application uses it, and what a test needs around it.

import { createHmac } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

// The next event of that name that is accepted.
export function happens(emitter, event, accepted = () => true) {
  return new Promise((resolve) => {
    const listener = (value) => {
      if (!accepted(value)) return;
      emitter.off(event, listener);
      resolve(value);
    };
    emitter.on(event, listener);
  });
}

// Waits for a condition that no event announces. It has an end of its own: the runner's time limit does not stop a test's body.
export async function until(condition, withinMs = 20000) {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${condition}`);
    await delay(20);
  }
}

export async function connected(client) {
  const connection = happens(client, "connected");
  client.connect();
  return connection;
}

// Subscribes and returns the subscription, with what it received so far in `received` and how it was joined in `joined`.
export async function subscribed(client, channel, options) {
  const subscription = client.newSubscription(channel, options);
  const received = [];
  subscription.on("publication", ({ data }) => received.push(data));
  const joining = happens(subscription, "subscribed");
  subscription.subscribe();
  return { subscription, received, joined: await joining };
}

// An HS256 token.
export function token(claims, secret) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

export const seconds = (fromNow) => Math.floor(Date.now() / 1000) + fromNow;

export const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

// Publishes by the server API and returns the new position.
export async function publish(gateway, channel, data) {
  const response = await gateway.post("/api/publish", { channel, data });
  const { result, error } = await response.json();
  if (error) throw new Error(`publish to ${channel}: ${error.code} ${error.message}`);
  return result;
}
