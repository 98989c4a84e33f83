// ws, unmodified: what Node's most used client agrees on with permessage-deflate, sends and reads.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";

import WebSocket from "ws";

import { connected, subscribed, until } from "./client.mjs";
import { claim, clientsFor, gatewayFor } from "./fixtures.mjs";

const config = { compression: true, limits: { maxMessageBytes: 1 << 20, outboundQueueBytes: 8 << 20 } };

// With a threshold of 0 the client compresses every message.
async function open(url, perMessageDeflate = { threshold: 0 }) {
  const socket = new WebSocket(url.replace("http", "ws"), { perMessageDeflate });
  await once(socket, "open");
  return socket;
}

claim("text and binary of every size come back, in one frame or in fragments", async (t) => {
  const gateway = await gatewayFor(t, { config, flags: ["--echo"] });
  const socket = await open(`${gateway.url}/echo`);
  assert.equal(socket.extensions, "permessage-deflate");
  for (const size of [0, 1, 125, 126, 511, 512, 4096, 65535, 65536, 1 << 20]) {
    for (const message of ["words ".repeat(size).slice(0, size), randomBytes(size), Buffer.alloc(size)]) {
      for (const fragments of [1, 3]) {
        const answer = once(socket, "message");
        for (let part = 0; part < fragments; part += 1) {
          const [from, to] = [part, part + 1].map((n) => Math.floor((n * size) / fragments));
          socket.send(message.slice(from, to), { fin: part === fragments - 1 });
          if (part === 0) socket.ping();
        }
        const [data, isBinary] = await answer;
        assert.equal(isBinary, typeof message !== "string");
        assert.ok(data.equals(Buffer.from(message)), `${size} bytes in ${fragments} frames`);
      }
    }
  }
  socket.close(1000);
  assert.equal((await once(socket, "close"))[0], 1000);
});

claim("clients with and without compression hear the same", async (t) => {
  const gateway = await gatewayFor(t, { config });
  const sockets = [await open(`${gateway.url}/raw/room`), await open(`${gateway.url}/raw/room`, false)];
  assert.deepEqual(sockets.map((socket) => socket.extensions), ["permessage-deflate", ""]);
  const heard = sockets.map((socket) => {
    const messages = [];
    socket.on("message", (data) => messages.push(data.toString()));
    return messages;
  });
  await until(async () => {
    await gateway.post("/raw/room", "ready?");
    return heard.every((messages) => messages.length > 0);
  });
  const text = "the same words ".repeat(1000);
  await gateway.post("/raw/room", text);
  await until(() => heard.every((messages) => messages.includes(JSON.stringify(text))));
  sockets.forEach((socket) => socket.terminate());
});

claim("a message that inflates beyond the limit closes its connection with 1009", async (t) => {
  const gateway = await gatewayFor(t, { config, flags: ["--echo"] });
  const socket = await open(`${gateway.url}/echo`);
  socket.send(Buffer.alloc(64 << 20));
  assert.equal((await once(socket, "close"))[0], 1009);
});

claim("a gateway whose configuration does not ask for it compresses nothing", async (t) => {
  const gateway = await gatewayFor(t, { flags: ["--echo"] });
  const socket = await open(`${gateway.url}/echo`);
  assert.equal(socket.extensions, "");
  socket.send("words ".repeat(1000));
  assert.equal((await once(socket, "message"))[0].toString(), "words ".repeat(1000));
  socket.terminate();
});

// Its WebSocket is ws, which offers permessage-deflate by itself.
claim("centrifuge-js subscribes and publishes over compressed messages", async (t) => {
  const gateway = await gatewayFor(t, { config });
  const [sender, receiver] = [clientsFor(t)(gateway.url), clientsFor(t)(gateway.url)];
  await Promise.all([connected(sender), connected(receiver)]);
  const { subscription } = await subscribed(sender, "room");
  const { received } = await subscribed(receiver, "room");
  const data = { text: "words ".repeat(5000) };
  await subscription.publish(data);
  await until(() => received.length === 1);
  assert.deepEqual(received[0], data);
});
