// centrifuge-js, unmodified, when there is nothing to say: the gateway's pings and their answers.

import assert from "node:assert/strict";

import WebSocket from "ws";

import { connected, happens, until } from "./client.mjs";
import { claim, clientsFor, gatewayFor } from "./fixtures.mjs";

const isPing = (frame) => frame.toString() === "{}";

// WebSockets that tell of the pings that arrive. With `mute` they keep the answers for themselves.
function watched(mute) {
  const pings = [];
  class Watched extends WebSocket {
    constructor(...args) {
      super(...args);
      this.on("message", (frame) => isPing(frame) && pings.push(frame));
    }
    send(frame) {
      if (!mute || !isPing(frame)) super.send(frame);
    }
  }
  return { Watched, pings };
}

// A ping comes within 25 s, and the next one 25 s later.
claim("an idle client is pinged, answers, and is kept, while one that is silent has to come again", async (t) => {
  const gateway = await gatewayFor(t);
  const [answering, mute] = [watched(false), watched(true)];
  const client = clientsFor(t);
  const kept = client(gateway.url, { websocket: answering.Watched });
  const dropped = client(gateway.url, { websocket: mute.Watched });
  await Promise.all([connected(kept), connected(dropped)]);
  let left = 0;
  kept.on("connecting", () => (left += 1));

  assert.deepEqual(await happens(dropped, "connecting"), { code: 3012, reason: "no pong" });
  assert.equal(mute.pings.length, 1);
  await happens(dropped, "connected");
  // A second ping is only sent to a client whose answer to the first has arrived.
  await until(() => answering.pings.length > 1, 60000);
  assert.equal(left, 0);
}, 90000);
