// Loopback ports.

import { once } from "node:events";
import { createServer } from "node:net";

// Ports, all different, that nothing listens on just now.
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  servers.forEach((server) => server.close());
  await Promise.all(servers.map((server) => once(server, "close")));
  return ports;
}
