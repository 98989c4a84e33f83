// The chat page, used by two people in Chromium.
// MOORING_GATEWAY names the gateway's binary, CHROMIUM the browser, SCREENSHOTS a folder to leave pictures in.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { startGateway } from "../js/gateway.mjs";

const { MOORING_GATEWAY = "../../target/debug/mooring-gateway", CHROMIUM = "/usr/bin/chromium", SCREENSHOTS } = process.env;
const BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let browser;
let gateway;
let visits = [];

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: BROWSER_FLAGS });
});

after(() => browser?.close());

beforeEach(async () => {
  gateway = await startGateway(MOORING_GATEWAY, "chat-7d9f-x2k4q");
});

afterEach(async () => {
  const broken = visits.flatMap(({ errors }) => errors);
  await Promise.all(visits.map(({ page }) => page.context().close()));
  visits = [];
  await gateway.stop();
  assert.deepEqual(broken, [], "the page logged errors");
});

async function visit(name, prepare = async () => {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 640 } });
  await context.addInitScript((value) => sessionStorage.setItem("name", value), name);
  const page = await context.newPage();
  await prepare(page);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    // A refused WebSocket is what a drain looks like from here; anything else is a defect.
    if (message.type() === "error" && !message.text().includes("WebSocket connection")) errors.push(message.text());
  });
  visits.push({ page, errors });
  await page.goto(gateway.url);
  await page.locator('[data-state="connected"]').waitFor();
  return page;
}

async function write(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

// A way on which only the command that joins `channel` is slow.
const joinsLate = (channel) => (page) =>
  page.routeWebSocket(/connection/, (socket) => {
    const server = socket.connectToServer();
    const joins = (command) => JSON.parse(command).subscribe?.channel === channel;
    const send = (command) => (joins(command) ? setTimeout(() => server.send(command), 1500) : server.send(command));
    socket.onMessage((text) => text.split("\n").forEach(send));
  });

const messages = (page) => page.locator("#messages .message").allTextContents();
const showsMessage = (page, text) => page.locator("#messages .message", { hasText: text }).first().waitFor();
const picture = (page, name) => SCREENSHOTS && page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });

test("two people see each other's messages, names and typing, and the pod they are on", async () => {
  const ada = await visit("Ada");
  const grace = await visit("Grace");

  await ada.locator("#people li", { hasText: "Grace" }).waitFor();
  await grace.locator("#people li", { hasText: "Ada" }).waitFor();
  assert.deepEqual((await ada.locator("#people li").allTextContents()).sort(), ["Ada", "Grace"]);
  assert.equal(await ada.locator("#node").textContent(), "chat-7d9f-x2k4q");

  await grace.getByLabel("Message").pressSequentially("I am wri");
  await ada.locator("#typing", { hasText: "Grace is typing…" }).waitFor();
  await picture(ada, "typing");

  await write(grace, "The first bug was a moth.");
  await write(ada, "And the last one will not be.");
  await showsMessage(grace, "And the last one");
  await showsMessage(ada, "The first bug");
  const expected = ["GraceThe first bug was a moth.", "AdaAnd the last one will not be."];
  assert.deepEqual(await messages(ada), expected);
  assert.deepEqual(await messages(grace), expected);
  await picture(grace, "chat");

  await grace.context().close();
  visits = visits.filter(({ page }) => page !== grace);
  await ada.locator("#people li", { hasText: "Grace" }).waitFor({ state: "detached", timeout: 30000 });
});

test("a newcomer whose way is slow learns the names of those who are here", async () => {
  await visit("Ada");
  const grace = await visit("Grace", joinsLate("live:lobby"));
  await grace.locator("#people li", { hasText: "Ada" }).waitFor();
  assert.deepEqual((await grace.locator("#people li").allTextContents()).sort(), ["Ada", "Grace"]);
});

test("a page that is moved comes back by itself and shows what it missed, once", async () => {
  const page = await visit("Radia");
  await write(page, "before the move");
  await showsMessage(page, "before the move");

  assert.equal((await gateway.drain(1000, 60)).status, 200);
  await page.locator('[data-state="connecting"]').waitFor();
  const published = await gateway.post("/api/publish", { channel: "lobby", data: { name: "Server", text: "while away" } });
  assert.equal(published.status, 200, await published.text());
  assert.equal((await gateway.cancelDrain()).status, 200);
  await page.locator('[data-state="connected"]').waitFor({ timeout: 30000 });
  await write(page, "after the move");
  await showsMessage(page, "after the move");

  assert.deepEqual(await messages(page), ["Radiabefore the move", "Serverwhile away", "Radiaafter the move"]);
  assert.equal(await page.locator("#moves").textContent(), "1");
  await picture(page, "moved");
});

test("a newcomer sees what was said before, above what is said now", async () => {
  const first = await visit("Barbara");
  await write(first, "early");
  await showsMessage(first, "early");
  const second = await visit("Frances");
  await showsMessage(second, "early");
  await write(second, "late");
  await showsMessage(second, "late");
  assert.deepEqual(await messages(second), ["Barbaraearly", "Franceslate"]);
});

test("what is written before a slow page has joined its channel is sent once it has", async () => {
  const page = await visit("Hedy", joinsLate("lobby"));
  await write(page, "at once");
  await showsMessage(page, "at once");
  assert.deepEqual(await messages(page), ["Hedyat once"]);
});

test("that somebody types is told once the page has joined the channel in which it is told", async () => {
  const ada = await visit("Ada");
  const grace = await visit("Grace", joinsLate("live:lobby"));
  await grace.getByLabel("Message").fill("I am wri");
  await ada.locator("#typing", { hasText: "Grace is typing…" }).waitFor();
});

test("what a person writes is shown as text, never run as markup", async () => {
  const page = await visit("<b>Mallory</b>");
  await write(page, "<img src=x onerror=alert(1)>");
  await showsMessage(page, "<img");
  assert.deepEqual(await messages(page), ["<b>Mallory</b><img src=x onerror=alert(1)>"]);
  assert.equal(await page.locator("#messages img").count(), 0);
});
