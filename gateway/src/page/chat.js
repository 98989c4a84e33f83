// The chat page: messages and presence on one channel with history, typing and names on one without.

import { Client } from "./client.js";

const CHANNEL = "lobby";
const LIVE_CHANNEL = "live:lobby";
const TYPING_SHOWN_MS = 3000;
const TYPING_SENT_MS = 2000;
const MESSAGES_SHOWN = 500;
const HISTORY_SHOWN = 50;
// In a larger room a newcomer learns names as people write, instead of from everyone at once.
const ANNOUNCE_UP_TO = 50;

const element = (id) => document.getElementById(id);
const names = new Map();
const people = new Map();
const typing = new Map();
const adjectives = ["Quiet", "Brave", "Bright", "Early", "Gentle", "Merry", "Swift", "Warm"];
const animals = ["Otter", "Heron", "Seal", "Tern", "Puffin", "Dolphin", "Plover", "Whale"];
const pick = (list) => list[Math.floor(Math.random() * list.length)];

let me = "";
let moves = -1;
let lastTyping = 0;
let name = sessionStorage.getItem("name") ?? `${pick(adjectives)} ${pick(animals)}`;
element("name").value = name;

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const client = new Client(`${scheme}//${location.host}/connection/websocket`);

function nameOf(clientId) {
  return names.get(clientId) ?? `Guest ${clientId.slice(0, 4)}`;
}

function showLine(line) {
  const list = element("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(line);
  while (list.children.length > MESSAGES_SHOWN) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function messageLine(data, info) {
  const line = document.createElement("li");
  line.className = info?.client === me ? "message mine" : "message";
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = data.name ?? "Server";
  line.append(who, data.text);
  return line;
}

const isMessage = ({ data }) => typeof data?.text === "string";

function showMessage(data, info) {
  if (!isMessage({ data })) return;
  showLine(messageLine(data, info));
  if (info) {
    if (data.name) names.set(info.client, data.name);
    typing.delete(info.client);
    showTyping();
    showPeople();
  }
}

// What was said before this page joined, above what came since; later offsets arrive as live messages.
async function showHistory(upTo) {
  const publications = await client.history(CHANNEL, HISTORY_SHOWN).catch(() => []);
  const earlier = publications.filter((publication) => isMessage(publication) && publication.offset <= upTo);
  const list = element("messages");
  list.prepend(...earlier.map(({ data, info }) => messageLine(data, info)));
  list.scrollTop = list.scrollHeight;
}

function showNote(text) {
  const line = document.createElement("li");
  line.className = "note";
  line.textContent = text;
  showLine(line);
}

function showPeople() {
  const entries = [...people.keys()].map((id) => {
    const item = document.createElement("li");
    item.textContent = nameOf(id);
    if (id === me) item.className = "me";
    return item;
  });
  element("people").replaceChildren(...entries);
  element("count").textContent = String(people.size);
}

function showTyping() {
  const now = Date.now();
  for (const [id, until] of typing) if (until <= now) typing.delete(id);
  const who = [...typing.keys()].map(nameOf);
  element("typing").textContent = who.length === 0 ? "" : `${who.join(", ")} ${who.length === 1 ? "is" : "are"} typing…`;
}

function showState(state, text) {
  element("connection").dataset.state = state;
  element("state").textContent = text;
}

// Losing one of these costs nothing, so nothing waits for them.
function whisper(data) {
  client.publish(LIVE_CHANNEL, data).catch(() => {});
}

const announce = () => whisper({ kind: "name", name });

client.subscribe(CHANNEL, {
  publication: showMessage,
  join(info) {
    people.set(info.client, info);
    showPeople();
  },
  leave(info) {
    people.delete(info.client);
    typing.delete(info.client);
    showPeople();
  },
  async subscribed({ offset, recovered, wasRecovering }) {
    if (!wasRecovering) await showHistory(offset);
    else if (!recovered) showNote("Some messages may be missing: the history was lost while you were away.");
    const present = await client.presence(CHANNEL).catch(() => []);
    people.clear();
    for (const info of present) people.set(info.client, info);
    showPeople();
  },
});

client.subscribe(LIVE_CHANNEL, {
  publication(data, info) {
    if (!info || info.client === me) return;
    if (typeof data?.name === "string") names.set(info.client, data.name);
    if (data?.kind === "hello" && people.size <= ANNOUNCE_UP_TO) setTimeout(announce, Math.random() * 500);
    if (data?.kind === "typing") typing.set(info.client, Date.now() + TYPING_SHOWN_MS);
    showTyping();
    showPeople();
  },
  // Once whoever answers is heard here.
  subscribed: () => whisper({ kind: "hello", name }),
});

client.addEventListener("connected", ({ detail }) => {
  me = detail.client;
  names.set(me, name);
  element("node").textContent = detail.node || "this server";
  element("moves").textContent = String(++moves);
  showState("connected", "connected");
});
client.addEventListener("connecting", ({ detail }) => showState("connecting", `reconnecting (${detail.code} ${detail.reason})`));
client.addEventListener("refused", ({ detail }) => showState("refused", `refused: ${detail.reason} (${detail.code})`));
client.addEventListener("subscription-refused", ({ detail }) => showNote(`No access to ${detail.channel}: ${detail.reason}.`));

element("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = element("text");
  try {
    await client.publish(CHANNEL, { text: input.value, name });
    input.value = "";
    lastTyping = 0;
  } catch (error) {
    showNote(`Not sent: ${error.message}. Try again.`);
  }
});

element("text").addEventListener("input", () => {
  if (Date.now() - lastTyping < TYPING_SENT_MS) return;
  lastTyping = Date.now();
  whisper({ kind: "typing", name });
});

element("rename").addEventListener("submit", (event) => event.preventDefault());
element("name").addEventListener("change", () => {
  name = element("name").value.trim() || name;
  sessionStorage.setItem("name", name);
  names.set(me, name);
  showPeople();
  announce();
});

setInterval(showTyping, 1000);
client.connect();
