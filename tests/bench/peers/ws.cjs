// A broadcast server on `ws`, with the heartbeat that its documentation shows, in one process: what a client at /pub sends goes to every
// one at /sub of the same ?id=.
// usage: node ws.cjs PORT

const { WebSocketServer } = require("ws");

const PING_EVERY_MS = 25_000;

const channels = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
});

function subscribe(socket, id) {
  const subscribers = channels.get(id) ?? new Set();
  channels.set(id, subscribers.add(socket));
  socket.on("close", () => {
    subscribers.delete(socket);
    if (subscribers.size === 0) channels.delete(id);
  });
}

function heard() {
  this.isAlive = true;
}

server.on("connection", (socket, request) => {
  socket.isAlive = true;
  socket.on("pong", heard);
  socket.on("error", () => socket.terminate());
  const [path, id] = request.url.split("?id=");
  switch (path) {
    case "/sub":
      subscribe(socket, id);
      break;
    case "/pub":
      socket.on("message", (data) => {
        for (const subscriber of channels.get(id) ?? []) subscriber.send(data, { binary: false });
      });
      break;
    case "/echo":
      socket.on("message", (data) => socket.send(data, { binary: false }));
      break;
    default:
      socket.close();
  }
});

setInterval(() => {
  for (const socket of server.clients) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, PING_EVERY_MS);
