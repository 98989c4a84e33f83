// What a test starts and what ends with it. MOORING_GATEWAY names the gateway's binary.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

import { startGateway } from "../js/gateway.mjs";
import { startProxy } from "./proxy.mjs";
import { startRedis } from "./redis.mjs";

const { MOORING_GATEWAY = "../../target/debug/mooring-gateway" } = process.env;

// A test with a time limit of its own: a file that the runner ended would leave its gateways behind.
export const claim = (sentence, body, timeout = 30000) => test(sentence, { timeout }, body);

const endings = new WeakMap();

// What came last ends first: clients before their proxy, gateways before their Redis.
function atEnd(context, end) {
  if (!endings.has(context)) {
    endings.set(context, []);
    context.after(async () => {
      for (const end of endings.get(context).reverse()) await end();
    });
  }
  endings.get(context).push(end);
}

async function endingWith(context, starting) {
  const started = await starting;
  atEnd(context, () => started.stop());
  return started;
}

export const gatewayFor = (context, { name = "gateway", ...options } = {}) =>
  endingWith(context, startGateway(MOORING_GATEWAY, name, options));

export const proxyFor = (context, port) => endingWith(context, startProxy(port));

export const redisFor = (context) => endingWith(context, startRedis());

// A gateway that asks for tokens signed with `secret`.
export async function guardedGatewayFor(context, secret, options = {}) {
  const directory = await mkdtemp(join(tmpdir(), "mooring-conformance-"));
  atEnd(context, () => rm(directory, { recursive: true }));
  const file = join(directory, "jwt-secret");
  await writeFile(file, secret);
  const { config = {}, flags = [] } = options;
  return gatewayFor(context, {
    config: { auth: { anonymous: false }, ...config },
    flags: ["--jwt-hmac-secret-file", file, ...flags],
  });
}

export const websocketUrl = (url) => `${url.replace("http", "ws")}/connection/websocket`;

// Makes clients that end with the test.
export function clientsFor(context) {
  const clients = [];
  atEnd(context, () => clients.forEach((client) => client.disconnect()));
  return (url, options = {}) => {
    const client = new Centrifuge(websocketUrl(url), { websocket: WebSocket, ...options });
    clients.push(client);
    return client;
  };
}
