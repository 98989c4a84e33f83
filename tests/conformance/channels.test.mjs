// centrifuge-js, unmodified: what a client does in channels, and what it is refused.

import assert from "node:assert/strict";

import WebSocket from "ws";

import { connected, happens, numbers, publish, subscribed, until } from "./client.mjs";
import { claim, clientsFor, gatewayFor, websocketUrl } from "./fixtures.mjs";

// Commands of one connection that may wait for the backplane; further ones are answered with "too many requests".
const MAX_WAITING = 256;
const plain = { config: { channels: { default: { history: { size: 1000, ttlSeconds: 60 }, presence: true, joinLeave: true } } } };

async function room(t, options = plain) {
  const gateway = await gatewayFor(t, options);
  const client = clientsFor(t);
  const join = async (settings) => {
    const member = client(gateway.url, settings);
    const { client: id } = await connected(member);
    return { member, id };
  };
  return { gateway, join };
}

claim("publications reach every subscriber once, in order, with their offsets and their publisher", async (t) => {
  const { join } = await room(t);
  const [ada, grace] = [await join(), await join()];
  const seats = [await subscribed(ada.member, "lobby"), await subscribed(grace.member, "lobby")];
  const offsets = [];
  const publishers = new Set();
  seats[1].subscription.on("publication", ({ offset, info }) => {
    offsets.push(offset);
    publishers.add(info.client);
  });

  const sent = numbers(1, 500);
  for (let first = 0; first < sent.length; first += MAX_WAITING) {
    await Promise.all(sent.slice(first, first + MAX_WAITING).map((number) => seats[0].subscription.publish({ number })));
  }
  await until(() => seats.every(({ received }) => received.length >= sent.length));

  const expected = sent.map((number) => ({ number }));
  assert.deepEqual(seats.map(({ received }) => received), [expected, expected]);
  assert.deepEqual(offsets, sent);
  assert.deepEqual([...publishers], [ada.id]);
});

claim("what the server publishes has no publisher", async (t) => {
  const { gateway, join } = await room(t);
  const { subscription } = await subscribed((await join()).member, "lobby");
  const arrives = happens(subscription, "publication");
  await publish(gateway, "lobby", { from: "the backend" });
  const { data, info, offset } = await arrives;
  assert.deepEqual({ data, info, offset }, { data: { from: "the backend" }, info: undefined, offset: 1 });
});

claim("after unsubscribing nothing arrives until the client subscribes again", async (t) => {
  const { gateway, join } = await room(t);
  const { member } = await join();
  const { subscription, received } = await subscribed(member, "live:typing");
  await publish(gateway, "live:typing", 1);
  await until(() => received.length === 1);
  subscription.unsubscribe();
  // A command's reply shows that the unsubscribe command before it has been handled.
  await subscribed(member, "lobby");
  await publish(gateway, "live:typing", 2);
  const again = happens(subscription, "subscribed");
  subscription.subscribe();
  await again;
  await publish(gateway, "live:typing", 3);
  await until(() => received.includes(3));
  assert.deepEqual(received, [1, 3]);
});

claim("history is read by limit, from a position, and backwards", async (t) => {
  const { gateway, join } = await room(t);
  const { subscription } = await subscribed((await join()).member, "lobby");
  for (const number of numbers(1, 10)) await publish(gateway, "lobby", number);

  const read = async (options) => {
    const { publications, offset, epoch } = await subscription.history(options);
    assert.equal(offset, 10);
    return { numbers: publications.map(({ data }) => data), epoch };
  };
  const { epoch } = await read({ limit: 0 });
  assert.match(epoch, /./);
  const cases = [
    [{ limit: 0 }, []],
    [{ limit: 3 }, [1, 2, 3]],
    [{ limit: 100 }, numbers(1, 10)],
    [{ limit: 3, since: { offset: 4, epoch } }, [5, 6, 7]],
    [{ limit: 100, since: { offset: 10, epoch } }, []],
    [{ limit: 3, reverse: true }, [10, 9, 8]],
    [{ limit: 3, reverse: true, since: { offset: 4, epoch } }, [3, 2, 1]],
  ];
  for (const [options, expected] of cases) {
    assert.deepEqual(await read(options), { numbers: expected, epoch }, JSON.stringify(options));
  }
  await assert.rejects(subscription.history({ limit: 1, since: { offset: 1, epoch: "lost" } }), { code: 112 });
});

claim("presence lists each client in the channel and presence stats count them", async (t) => {
  const { join } = await room(t);
  const members = [await join(), await join(), await join()];
  const seats = [];
  for (const { member } of members) seats.push(await subscribed(member, "lobby"));
  // Presence is entered after the reply to the subscribe command.
  await until(async () => Object.keys((await seats[0].subscription.presence()).clients).length === 3);
  const { clients } = await seats[0].subscription.presence();
  assert.deepEqual(Object.keys(clients).sort(), members.map(({ id }) => id).sort());
  assert.deepEqual(await seats[0].subscription.presenceStats(), { numClients: 3, numUsers: 1 });

  seats[2].subscription.unsubscribe();
  await until(async () => (await seats[0].subscription.presenceStats()).numClients === 2);
});

claim("subscribers hear of each other's joining and leaving", async (t) => {
  const { join } = await room(t);
  const [ada, grace] = [await join(), await join()];
  const { subscription } = await subscribed(ada.member, "lobby");
  const heard = [];
  for (const event of ["join", "leave"]) {
    subscription.on(event, ({ info }) => info.client === grace.id && heard.push(event));
  }
  const { subscription: other } = await subscribed(grace.member, "lobby");
  await until(() => heard.length === 1);
  other.unsubscribe();
  await until(() => heard.length === 2);
  assert.deepEqual(heard, ["join", "leave"]);
});

const guarded = {
  config: {
    limits: { subscriptions: 2 },
    channels: { default: { publish: "Server" }, namespaces: [{ name: "open", publish: "Clients" }, { name: "room" }] },
  },
};

for (const [channel, code, reason] of [
  ["nowhere:1", 102, "unknown channel"],
  ["$vault", 103, "permission denied"],
  ["grüße", 107, "bad request"],
  ["x".repeat(256), 107, "bad request"],
]) {
  claim(`subscribing to ${channel.slice(0, 20)} fails with ${code}, and the connection goes on`, async (t) => {
    const { join } = await room(t, guarded);
    const { member } = await join();
    const subscription = member.newSubscription(channel);
    const ended = happens(subscription, "unsubscribed");
    subscription.subscribe();
    assert.deepEqual(await ended, { channel, code, reason });
    await subscribed(member, "lobby");
  });
}

claim("one subscription more than a connection may have fails with 106", async (t) => {
  const { join } = await room(t, guarded);
  const { member } = await join();
  await subscribed(member, "one");
  await subscribed(member, "two");
  const third = member.newSubscription("three");
  const ended = happens(third, "unsubscribed");
  third.subscribe();
  assert.deepEqual(await ended, { channel: "three", code: 106, reason: "limit exceeded" });
});

claim("who may publish is the namespace's to say", async (t) => {
  const { join } = await room(t, guarded);
  const { member } = await join();
  const { subscription } = await subscribed(member, "lobby");
  await assert.rejects(subscription.publish("server only"), { code: 103 });
  await assert.rejects(member.publish("room:1", "not subscribed"), { code: 103 });
  await member.publish("open:1", "every client");
  await assert.rejects(member.publish("nowhere:1", "nobody"), { code: 102 });
});

claim("what a channel does not keep is not available", async (t) => {
  const { join } = await room(t, guarded);
  const { subscription } = await subscribed((await join()).member, "lobby");
  await assert.rejects(subscription.history({ limit: 1 }), { code: 108 });
  await assert.rejects(subscription.presence(), { code: 108 });
  await assert.rejects(subscription.presenceStats(), { code: 108 });
});

claim("a call that no backend takes is not available, and a message is let pass", async (t) => {
  const { join } = await room(t);
  const { member } = await join();
  await assert.rejects(member.rpc("add", [1, 2]), { code: 108, message: "not available" });
  await member.send({ to: "nobody" });
  await subscribed(member, "lobby");
});

claim("subscribing twice to one channel fails with 105", async (t) => {
  // centrifuge-js never does that, so this speaks for itself.
  const { gateway } = await room(t);
  const socket = new WebSocket(websocketUrl(gateway.url));
  t.after(() => socket.terminate());
  const replies = new Map();
  socket.on("message", (frame) => {
    for (const reply of frame.toString().split("\n").map((line) => JSON.parse(line))) replies.set(reply.id, reply);
  });
  const commands = [{ id: 1, connect: {} }, ...[2, 3].map((id) => ({ id, subscribe: { channel: "lobby" } }))];
  socket.on("open", () => socket.send(commands.map((command) => JSON.stringify(command)).join("\n")));
  await until(() => replies.has(2) && replies.has(3));
  assert.deepEqual(replies.get(3).error, { code: 105, message: "already subscribed" });
});

claim("messages of every size come back as they were sent, up to the limit", async (t) => {
  const limit = 65536;
  const { join } = await room(t, { config: { ...plain.config, limits: { maxMessageBytes: limit } } });
  const { member } = await join();
  const { subscription, received } = await subscribed(member, "lobby");
  const frame = (text) => JSON.stringify({ id: 99, publish: { channel: "lobby", data: text } });
  const longest = limit - frame("").length;
  const sent = ["", "ö", "\u0000\"\\\n\u2028😀", ...[1, 125, 126, 127, 4096, 32768, longest].map((size) => "x".repeat(size))];
  for (const text of sent) await subscription.publish(text);
  await until(() => received.length >= sent.length);
  assert.deepEqual(received, sent);

  const ended = happens(member, "disconnected");
  subscription.publish("x".repeat(limit)).catch(() => {});
  assert.deepEqual(await ended, { code: 3, reason: "message size limit exceeded" });
});
