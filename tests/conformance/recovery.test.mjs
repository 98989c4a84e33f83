// centrifuge-js, unmodified: what becomes of a client whose connection ends.

import assert from "node:assert/strict";

import { connected, happens, numbers, publish, subscribed, until } from "./client.mjs";
import { claim, clientsFor, gatewayFor, proxyFor } from "./fixtures.mjs";

const quick = { minReconnectDelay: 20, maxReconnectDelay: 100 };

async function seat(t, gateway, options) {
  const proxy = await proxyFor(t, gateway.port);
  const client = clientsFor(t)(proxy.url, options);
  const connection = await connected(client);
  return { proxy, client, connection, ...(await subscribed(client, "lobby")) };
}

claim("a client that was cut off gets what it missed, once and in order", async (t) => {
  const gateway = await gatewayFor(t);
  const { proxy, client, subscription, received } = await seat(t, gateway, quick);
  await publish(gateway, "lobby", 1);
  await until(() => received.length === 1);

  const away = happens(client, "connecting");
  proxy.route(null);
  proxy.cut();
  await away;
  for (const number of numbers(2, 50)) await publish(gateway, "lobby", number);
  const back = happens(subscription, "subscribed");
  proxy.route(gateway.port);
  const { wasRecovering, recovered } = await back;
  await publish(gateway, "lobby", 51);
  await until(() => received.includes(51));

  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: true });
  assert.deepEqual(received, numbers(1, 51));
});

claim("a client that missed more than may wait for it gets all of it, part by part", async (t) => {
  const gateway = await gatewayFor(t);
  const { proxy, client, subscription, received } = await seat(t, gateway, quick);
  const away = happens(client, "connecting");
  proxy.route(null);
  proxy.cut();
  await away;
  const long = "x".repeat(20000);
  for (const number of numbers(1, 300)) await publish(gateway, "lobby", { number, long });
  const unrecovered = [];
  subscription.on("subscribed", ({ recovered }) => recovered || unrecovered.push(received.length));
  proxy.route(gateway.port);
  await until(() => received.length >= 300);
  await publish(gateway, "lobby", { number: 301 });
  await until(() => received.length > 300);
  assert.deepEqual(received.map(({ number }) => number), numbers(1, 301));
  assert.deepEqual(unrecovered, []);
});

claim("a client that closes its own transport comes back and recovers", async (t) => {
  const gateway = await gatewayFor(t);
  const { client, subscription, received } = await seat(t, gateway, quick);
  for (const number of numbers(1, 5)) {
    const back = happens(subscription, "subscribed");
    client._transport.close();
    await publish(gateway, "lobby", number);
    assert.equal((await back).recovered, true);
  }
  await until(() => received.includes(5));
  assert.deepEqual(received, numbers(1, 5));
});

claim("whatever the moment of the cut, nothing is lost, doubled or out of order", async (t) => {
  const gateway = await gatewayFor(t);
  const { proxy, subscription, received } = await seat(t, gateway, quick);
  const unrecovered = [];
  subscription.on("subscribed", ({ recovered }) => recovered || unrecovered.push(received.length));
  for (const number of numbers(1, 400)) {
    // Not awaited: the cut hits whatever is under way.
    const publishing = publish(gateway, "lobby", number);
    if (number % 40 === 0) {
      await until(() => subscription.state === "subscribed");
      proxy.cut();
    }
    await publishing;
  }
  await until(() => received.includes(400));
  assert.deepEqual(received, numbers(1, 400));
  assert.deepEqual(unrecovered, []);
});

claim("a client that missed more than is kept is told so", async (t) => {
  const gateway = await gatewayFor(t, { config: { channels: { default: { history: { size: 5, ttlSeconds: 60 } } } } });
  const { proxy, client, subscription, received } = await seat(t, gateway, quick);
  const away = happens(client, "connecting");
  proxy.route(null);
  proxy.cut();
  await away;
  for (const number of numbers(1, 6)) await publish(gateway, "lobby", number);
  const back = happens(subscription, "subscribed");
  proxy.route(gateway.port);
  const { wasRecovering, recovered } = await back;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
  await publish(gateway, "lobby", 7);
  await until(() => received.includes(7));
  assert.deepEqual(received, [7]);
});

claim("after a restart that lost the history, the client is told so and goes on", async (t) => {
  const gateway = await gatewayFor(t);
  const { proxy, client, subscription, received } = await seat(t, gateway, quick);
  await publish(gateway, "lobby", "before");
  await until(() => received.length === 1);
  const away = happens(client, "connecting");
  proxy.route(null);
  await gateway.stop();
  await away;
  const successor = await gatewayFor(t);
  const back = happens(subscription, "subscribed");
  proxy.route(successor.port);
  const { wasRecovering, recovered } = await back;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
  await publish(successor, "lobby", "after");
  await until(() => received.includes("after"));
  assert.deepEqual(received, ["before", "after"]);
});

claim("a drained client reconnects by itself, with the delays it has by default, and recovers", async (t) => {
  const gateway = await gatewayFor(t);
  const { client, subscription, received } = await seat(t, gateway);
  const failures = [];
  client.on("error", ({ error }) => failures.push(error));
  const away = happens(client, "connecting");
  assert.equal((await gateway.drain(100, 60)).status, 200);
  assert.deepEqual(await away, { code: 3001, reason: "shutdown" });
  await publish(gateway, "lobby", "while away");

  // A draining gateway takes nobody in: the client tries again until there is one.
  await until(() => failures.length > 0);
  const back = happens(subscription, "subscribed");
  assert.equal((await gateway.cancelDrain()).status, 200);
  assert.equal((await back).recovered, true);
  await publish(gateway, "lobby", "after");
  await until(() => received.length >= 2);
  assert.deepEqual(received, ["while away", "after"]);
});

claim("a client with 1,000 subscriptions gets them in one batch, and all of them recover", async (t) => {
  const gateway = await gatewayFor(t, { config: { limits: { subscriptions: 1000, maxMessageBytes: 262144 } } });
  const proxy = await proxyFor(t, gateway.port);
  const client = clientsFor(t)(proxy.url, quick);
  const seats = numbers(1, 1000).map((number) => client.newSubscription(`room-${number}`));
  const received = new Map();
  const troubles = [];
  for (const subscription of seats) {
    subscription.on("publication", ({ channel, data }) => received.set(channel, [...(received.get(channel) ?? []), data]));
    subscription.on("error", ({ channel, error }) => troubles.push({ channel, code: error.code }));
    subscription.subscribe();
  }
  const all = () => Promise.all(seats.map((subscription) => happens(subscription, "subscribed")));

  const joined = all();
  await connected(client);
  await joined;
  const recovering = all();
  const away = happens(client, "connecting");
  proxy.route(null);
  proxy.cut();
  await away;
  const { status } = await gateway.post("/api/broadcast", { channels: seats.map(({ channel }) => channel), data: "missed" });
  assert.equal(status, 200);
  proxy.route(gateway.port);
  const outcomes = await recovering;
  await until(() => received.size === seats.length);

  assert.equal(outcomes.filter(({ recovered }) => recovered).length, seats.length);
  assert.deepEqual([...received.values()], seats.map(() => ["missed"]));
  assert.deepEqual(troubles, []);
});
