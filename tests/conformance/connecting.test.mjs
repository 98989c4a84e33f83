// centrifuge-js, unmodified: who may connect, and for how long.

import assert from "node:assert/strict";

import { connected, happens, publish, seconds, subscribed, token } from "./client.mjs";
import { claim, clientsFor, gatewayFor, guardedGatewayFor } from "./fixtures.mjs";

const SECRET = "a secret of the conformance tests";

claim("an anonymous client connects and is given an id of its own", async (t) => {
  const gateway = await gatewayFor(t);
  const client = clientsFor(t);
  const [first, second] = await Promise.all([connected(client(gateway.url)), connected(client(gateway.url))]);
  assert.equal(first.transport, "websocket");
  assert.match(first.client, /./);
  assert.notEqual(first.client, second.client);
});

claim("a client with a token is known by the user and the info of its token", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  const ada = clientsFor(t)(gateway.url, { token: token({ sub: "ada", info: { name: "Ada" }, exp: seconds(60) }, SECRET) });
  const { client } = await connected(ada);
  const { subscription } = await subscribed(ada, "lobby");
  const { user, connInfo } = (await subscription.presence()).clients[client];
  assert.deepEqual({ user, connInfo }, { user: "ada", connInfo: { name: "Ada" } });
});

claim("an expired token makes the client fetch a new one, with which it connects and subscribes", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  let fetched = 0;
  const client = clientsFor(t)(gateway.url, {
    token: token({ sub: "ada", exp: seconds(-60) }, SECRET),
    getToken: async () => {
      fetched += 1;
      return token({ sub: "ada", exp: seconds(60) }, SECRET);
    },
  });
  // A subscription that is wanted before the connection is made goes out right behind the connect command.
  const subscription = client.newSubscription("lobby");
  const joined = happens(subscription, "subscribed");
  subscription.subscribe();
  await connected(client);
  await joined;
  assert.equal(fetched, 1);
});

claim("a client without a token fetches one before it connects", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  const client = clientsFor(t)(gateway.url, { getToken: async () => token({ sub: "ada" }, SECRET) });
  await connected(client);
});

claim("a token that ends is renewed again and again on one connection", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  let connections = 0;
  let renewed;
  const renewedTwice = new Promise((resolve) => (renewed = resolve));
  let fetched = 0;
  const client = clientsFor(t)(gateway.url, {
    getToken: async () => {
      fetched += 1;
      // The first is for connecting; that there is a third shows that the second has been accepted.
      if (fetched === 3) renewed();
      return token({ sub: "ada", exp: seconds(2) }, SECRET);
    },
  });
  client.on("connected", () => (connections += 1));
  await connected(client);
  await renewedTwice;
  await subscribed(client, "lobby");
  assert.equal(connections, 1);
});

for (const [what, forged] of [
  ["that another key has signed", () => token({ sub: "ada" }, "another secret")],
  ["that is signed by nobody", () => token({ sub: "ada" }, SECRET).replace(/[^.]*$/, "")],
  ["that is no token", () => "letmein"],
]) {
  claim(`a token ${what} ends the connection for good`, async (t) => {
    const gateway = await guardedGatewayFor(t, SECRET);
    const client = clientsFor(t)(gateway.url, { token: forged() });
    const ended = happens(client, "disconnected");
    client.connect();
    assert.deepEqual(await ended, { code: 3500, reason: "invalid token" });
    assert.equal(client.state, "disconnected");
  });
}

claim("a client without a token is sent away where anonymous ones are not allowed", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  const client = clientsFor(t)(gateway.url);
  const ended = happens(client, "disconnected");
  client.connect();
  const { code } = await ended;
  assert.ok(code >= 3500 && code < 4000, `disconnected with ${code}, which clients take for a reason to come back`);
});

claim("a client whose token names channels subscribes to others as well, on the same connection", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  const ada = clientsFor(t)(gateway.url, { token: token({ sub: "ada", channels: ["news"] }, SECRET) });
  // Wanted before the connection is made, it goes out right behind the connect command.
  const subscription = ada.newSubscription("lobby");
  const joined = happens(subscription, "subscribed");
  subscription.subscribe();
  const published = happens(ada, "publication");
  await connected(ada);
  await joined;
  await publish(gateway, "news", "for all");
  assert.equal((await published).data, "for all");
  assert.equal(ada.state, "connected");
});

claim("a private channel opens to a subscription token for it, and to no other", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  const ada = clientsFor(t)(gateway.url, { token: token({ sub: "ada" }, SECRET) });
  const { client } = await connected(ada);
  const ticket = (claims) => token({ sub: "ada", channel: "$vault", info: { role: "owner" }, ...claims }, SECRET);

  const { subscription } = await subscribed(ada, "$vault", { token: ticket({}) });
  const { user, chanInfo } = (await subscription.presence()).clients[client];
  assert.deepEqual({ user, chanInfo }, { user: "ada", chanInfo: { role: "owner" } });
  ada.removeSubscription(subscription);

  for (const refused of [undefined, ticket({ channel: "$other" }), ticket({ sub: "grace" }), "letmein"]) {
    const subscription = ada.newSubscription("$vault", { token: refused });
    const ended = happens(subscription, "unsubscribed");
    subscription.subscribe();
    assert.deepEqual(await ended, { channel: "$vault", code: 103, reason: "permission denied" });
    ada.removeSubscription(subscription);
  }
});

claim("an expired subscription token makes the client fetch a new one", async (t) => {
  const gateway = await guardedGatewayFor(t, SECRET);
  const ada = clientsFor(t)(gateway.url, { token: token({ sub: "ada" }, SECRET) });
  await connected(ada);
  const ticket = (fromNow) => token({ sub: "ada", channel: "$vault", exp: seconds(fromNow) }, SECRET);
  const asked = [];
  await subscribed(ada, "$vault", {
    token: ticket(-60),
    getToken: async ({ channel }) => {
      asked.push(channel);
      return ticket(60);
    },
  });
  assert.deepEqual(asked, ["$vault"]);
});
