// A Socket.IO server, in one process: what a client that connected with ?id= sends goes to every client that connected with the same ?sub=;
// to the other servers through Redis when there is one. It pings every 25 s, as Socket.IO does by itself.
// usage: node socketio.cjs PORT [REDIS_HOST:PORT]

const { Server } = require("socket.io");

async function redisAdapter(address) {
  const { createAdapter } = require("@socket.io/redis-adapter");
  const { createClient } = require("redis");
  const publisher = createClient({ url: `redis://${address}` });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

async function main([port, redis]) {
  const io = new Server({ transports: ["websocket"], serveClient: false, perMessageDeflate: false });
  if (redis) io.adapter(await redisAdapter(redis));
  io.on("connection", (socket) => {
    const { sub, id } = socket.handshake.query;
    if (sub) socket.join(sub);
    socket.on("m", (message) => io.to(id).emit("m", message));
  });
  const server = require("http").createServer();
  io.attach(server);
  server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
}

main(process.argv.slice(2));
