// A broadcast server on `ws`, as its documentation shows one, in one process: what a /pub connection sends goes to every /sub one.
// usage: node ws.cjs PORT

const { WebSocketServer } = require("ws");

const subscribers = new Set();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
  clientTracking: false,
});

server.on("connection", (socket, request) => {
  socket.on("error", () => socket.terminate());
  switch (request.url) {
    case "/sub":
      subscribers.add(socket);
      socket.on("close", () => subscribers.delete(socket));
      break;
    case "/pub":
      socket.on("message", (data) => {
        for (const subscriber of subscribers) subscriber.send(data, { binary: false });
      });
      break;
    case "/echo":
      socket.on("message", (data) => socket.send(data, { binary: false }));
      break;
    default:
      socket.close();
  }
});
