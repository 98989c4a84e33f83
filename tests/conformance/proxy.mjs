// A TCP proxy in front of a gateway: what stands between clients and pods, and can be cut.

import { once } from "node:events";
import { connect, createServer } from "node:net";

// Forwards to the gateway on `port`, or refuses while `port` is null.
export async function startProxy(port) {
  const pairs = new Set();
  let target = port;
  const server = createServer((client) => {
    client.on("error", () => client.destroy());
    if (target === null) return void client.destroy();
    const upstream = connect(target, "127.0.0.1");
    const pair = { client, upstream };
    pairs.add(pair);
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      from.on("error", () => to.destroy());
      from.on("close", () => {
        to.destroy();
        pairs.delete(pair);
      });
      from.pipe(to);
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    // Where new connections go; null refuses them.
    route(to) {
      target = to;
    },
    // Ends every connection, in the middle of whatever it is doing. Not by a reset, after which Node 20 now and then never idles again.
    cut() {
      for (const { client, upstream } of pairs) {
        client.destroy();
        upstream.destroy();
      }
    },
    async stop() {
      // Nobody new may come in while the last ones go, or the server never closes.
      target = null;
      this.cut();
      server.close();
      await once(server, "close");
    },
  };
}
