// A small client of the centrifuge protocol (JSON over WebSocket): connects, subscribes with recovery, reconnects with full jitter.
// Applications use one of the official SDKs; this one keeps the page free of anything the gateway does not serve itself.

const MIN_DELAY_MS = 500;
const MAX_DELAY_MS = 20000;
const REPLY_TIMEOUT_MS = 5000;

// Codes after which the protocol asks a client not to come back.
const terminal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000) || code === 1009;

export class Client extends EventTarget {
  #url;
  #socket;
  #waiting = new Map();
  #nextId = 1;
  #channels = new Map();
  #attempts = 0;
  #silence;

  constructor(url) {
    super();
    this.#url = url;
  }

  // Joins a channel now and after each reconnect. Handlers: publication(data, info), join(info), leave(info), subscribed(result).
  subscribe(channel, handlers) {
    this.#channels.set(channel, { handlers, position: null });
  }

  connect() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#start().catch(() => socket.close());
    socket.onmessage = (event) => event.data.split("\n").forEach((line) => this.#receive(JSON.parse(line)));
    socket.onclose = (event) => this.#closed(event);
  }

  // To a channel that is being joined once it is: before that a gateway may refuse it.
  async publish(channel, data) {
    await this.#channels.get(channel)?.joined;
    return this.#request({ publish: { channel, data } });
  }

  async presence(channel) {
    const { presence } = await this.#request({ presence: { channel } }).then((reply) => reply.presence);
    return Object.values(presence ?? {});
  }

  // The newest publications, oldest first.
  async history(channel, limit) {
    const { publications } = await this.#request({ history: { channel, limit, reverse: true } }).then((reply) => reply.history);
    return (publications ?? []).reverse();
  }

  #request(command) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) {
        reject(new Error("not connected"));
        return;
      }
      const timer = setTimeout(() => this.#settle(id, { error: { message: "no answer" } }), REPLY_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ id, ...command }));
    });
  }

  #settle(id, reply) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (reply.error) waiting.reject(new Error(reply.error.message));
    else waiting.resolve(reply);
  }

  async #start() {
    const { connect } = await this.#request({ connect: { name: "mooring-page" } });
    this.#attempts = 0;
    this.#expectPings(connect.ping);
    this.#emit("connected", { client: connect.client, node: connect.node });
    await Promise.all([...this.#channels].map(([channel, subscription]) => this.#join(channel, subscription)));
  }

  #join(channel, subscription) {
    subscription.joined = this.#ask(channel, subscription);
    return subscription.joined;
  }

  async #ask(channel, subscription) {
    const since = subscription.position;
    const command = since ? { channel, recover: true, ...since } : { channel };
    let subscribe;
    try {
      ({ subscribe } = await this.#request({ subscribe: command }));
    } catch (error) {
      if (this.#socket.readyState === WebSocket.OPEN) this.#emit("subscription-refused", { channel, reason: error.message });
      return;
    }
    if (subscribe.recoverable || subscribe.positioned) {
      subscription.position = { offset: subscribe.offset ?? 0, epoch: subscribe.epoch ?? "" };
    }
    for (const publication of subscribe.publications ?? []) subscription.handlers.publication?.(publication.data, publication.info);
    subscription.handlers.subscribed?.({
      offset: subscription.position?.offset ?? 0,
      recovered: subscribe.recovered ?? false,
      wasRecovering: since !== null,
    });
  }

  #receive(message) {
    this.#expectPings();
    if (Object.keys(message).length === 0) this.#socket.send("{}");
    else if (message.id) this.#settle(message.id, message);
    else if (message.push) this.#push(message.push);
  }

  #push({ channel, pub, join, leave, unsubscribe }) {
    const subscription = this.#channels.get(channel);
    if (!subscription) return;
    const { handlers } = subscription;
    if (pub) {
      if (subscription.position && pub.offset) subscription.position.offset = pub.offset;
      handlers.publication?.(pub.data, pub.info);
    } else if (join) handlers.join?.(join.info);
    else if (leave) handlers.leave?.(leave.info);
    else if (unsubscribe?.code >= 2500) this.#join(channel, subscription);
  }

  #expectPings(seconds) {
    if (seconds) this.pingWithin = (seconds + 10) * 1000;
    clearTimeout(this.#silence);
    if (this.pingWithin) this.#silence = setTimeout(() => this.#socket.close(), this.pingWithin);
  }

  #closed({ code, reason }) {
    clearTimeout(this.#silence);
    for (const id of [...this.#waiting.keys()]) this.#settle(id, { error: { message: "connection closed" } });
    if (terminal(code)) {
      this.#emit("refused", { code, reason });
      return;
    }
    const bound = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** this.#attempts++);
    this.#emit("connecting", { code, reason });
    setTimeout(() => this.connect(), Math.random() * bound);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
