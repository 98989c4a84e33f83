// centrifuge-js, unmodified, in front of two gateways that a real Redis joins.

import assert from "node:assert/strict";

import { connected, happens, numbers, publish, subscribed, until } from "./client.mjs";
import { claim, clientsFor, gatewayFor, proxyFor, redisFor } from "./fixtures.mjs";

const quick = { minReconnectDelay: 20, maxReconnectDelay: 100 };

async function pair(t) {
  const redis = await redisFor(t);
  const gateway = (name) => gatewayFor(t, { name, flags: ["--redis-url", redis.url] });
  return { redis, gateways: await Promise.all([gateway("chat-a"), gateway("chat-b")]) };
}

claim("what is published on one gateway arrives on the other, once and in order", async (t) => {
  const { gateways } = await pair(t);
  const client = clientsFor(t);
  const members = gateways.map(({ url }) => client(url));
  await Promise.all(members.map(connected));
  const seats = await Promise.all(members.map((member) => subscribed(member, "lobby")));
  for (const number of numbers(1, 100)) await seats[0].subscription.publish({ from: 0, number });
  for (const number of numbers(1, 100)) await seats[1].subscription.publish({ from: 1, number });
  await until(() => seats.every(({ received }) => received.length >= 200));
  const expected = [0, 1].flatMap((from) => numbers(1, 100).map((number) => ({ from, number })));
  assert.deepEqual(seats.map(({ received }) => received), [expected, expected]);
});

claim("both gateways order concurrent publications the same way", async (t) => {
  const { gateways } = await pair(t);
  const client = clientsFor(t);
  const members = gateways.map(({ url }) => client(url));
  await Promise.all(members.map(connected));
  const seats = await Promise.all(members.map((member) => subscribed(member, "lobby")));
  await Promise.all(numbers(1, 200).map((number) => seats[number % 2].subscription.publish(number)));
  await until(() => seats.every(({ received }) => received.length >= 200));
  assert.deepEqual(seats[0].received, seats[1].received);
  assert.deepEqual([...seats[0].received].sort((a, b) => a - b), numbers(1, 200));
});

claim("presence, joins and history are those of the whole cluster", async (t) => {
  const { gateways } = await pair(t);
  const client = clientsFor(t);
  const [ada, grace] = gateways.map(({ url }) => client(url));
  const [{ client: first }, { client: second }] = await Promise.all([connected(ada), connected(grace)]);
  const { subscription } = await subscribed(ada, "lobby");
  const heard = [];
  for (const event of ["join", "leave"]) {
    subscription.on(event, ({ info }) => info.client === second && heard.push(event));
  }
  const { subscription: other } = await subscribed(grace, "lobby");
  await until(() => heard.length === 1);
  const { clients } = await subscription.presence();
  assert.deepEqual(Object.keys(clients).sort(), [first, second].sort());
  for (const number of numbers(1, 3)) await publish(gateways[1], "lobby", number);
  const { publications } = await subscription.history({ limit: 10 });
  assert.deepEqual(publications.map(({ data }) => data), [1, 2, 3]);
  other.unsubscribe();
  await until(() => heard.length === 2);
  assert.deepEqual(heard, ["join", "leave"]);
});

claim("a client whose gateway is killed goes on with the other one and misses nothing", async (t) => {
  const { gateways } = await pair(t);
  // A client stays with the address that it first reached; which gateway is behind it is for the network to say.
  const proxy = await proxyFor(t, gateways[0].port);
  const client = clientsFor(t)(proxy.url, quick);
  await connected(client);
  const { subscription, received } = await subscribed(client, "lobby");
  for (const number of numbers(1, 20)) await publish(gateways[0], "lobby", number);
  await until(() => received.length >= 20);

  const away = happens(client, "connecting");
  proxy.route(null);
  await gateways[0].stop();
  await away;
  for (const number of numbers(21, 40)) await publish(gateways[1], "lobby", number);
  const back = happens(subscription, "subscribed");
  proxy.route(gateways[1].port);
  assert.equal((await back).recovered, true);
  await publish(gateways[1], "lobby", 41);
  await until(() => received.includes(41));
  assert.deepEqual(received, numbers(1, 41));
});

claim("a client that is drained moves to the other gateway and misses nothing", async (t) => {
  const { gateways } = await pair(t);
  const proxy = await proxyFor(t, gateways[0].port);
  const client = clientsFor(t)(proxy.url);
  const connections = [];
  client.on("connected", ({ client: id }) => connections.push(id));
  await connected(client);
  const { subscription, received } = await subscribed(client, "lobby");
  const back = happens(subscription, "subscribed");
  proxy.route(gateways[1].port);
  assert.equal((await gateways[0].drain(100, 60)).status, 200);
  for (const number of numbers(1, 50)) await publish(gateways[number % 2], "lobby", number);
  assert.equal((await back).recovered, true);
  await publish(gateways[1], "lobby", 51);
  await until(() => received.includes(51));
  assert.deepEqual(received, numbers(1, 51));
  assert.equal(connections.length, 2);
});

claim("a client is told when the history it relied on is lost, and goes on", async (t) => {
  const { redis, gateways } = await pair(t);
  const client = clientsFor(t)(gateways[0].url);
  await connected(client);
  const { subscription, received } = await subscribed(client, "lobby");
  await publish(gateways[1], "lobby", "before");
  await until(() => received.length === 1);

  const ended = happens(subscription, "subscribing");
  const back = happens(subscription, "subscribed");
  assert.equal(await redis.command("FLUSHALL"), "+OK");
  await publish(gateways[1], "lobby", "of a new epoch");
  assert.deepEqual(await ended, { channel: "lobby", code: 2500, reason: "insufficient state" });
  const { wasRecovering, recovered } = await back;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
  await publish(gateways[1], "lobby", "after");
  await until(() => received.includes("after"));
  assert.deepEqual(received, ["before", "after"]);
});
