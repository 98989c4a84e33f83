//! What the node knows, and what it does with each operation.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::{
    backplane::{BackplaneError, ClientInfo, Op, Outcome, Retention},
    sequencer::{Sequencer, Subscribe, Ticket},
};

use super::{
    RedisConfig,
    batches::{Batch, Batches},
    envelope, keys,
    members::Members,
    pending::{Ack, Pending, Request},
    requests::History,
    scripts::Scripts,
    upkeep::Upkeep,
    wire::Wire,
};
use crate::backplane::{
    Command, Health, Reply,
    departures::{Departure, Departures},
    inboxes::Inboxes,
};

/// How long an operation waits for a connection, and a command for its reply.
pub(super) const OP_WITHIN: Duration = Duration::from_secs(3);
/// Commands on their way at most; further operations stay in the queue.
const MAX_IN_FLIGHT: usize = 8192;
/// Bytes to be written at most, likewise.
const MAX_BACKLOG: usize = 8 * 1024 * 1024;
/// Operations that wait for a connection at most, and subscribes that are not completed.
const MAX_WAITING: usize = 65_536;
/// After how long a departure that could not be carried out is tried again.
const DEPART_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Actor {
    pub(super) config: RedisConfig,
    pub(super) node: String,
    pub(super) inboxes: Inboxes,
    pub(super) health: Health,
    pub(super) scripts: Scripts,
    pub(super) commands: Wire,
    pub(super) live: Wire,
    pub(super) sequencer: Sequencer,
    /// Commands on the wire, in the order of their replies.
    pub(super) in_flight: VecDeque<(Instant, Pending)>,
    /// Operations that wait for a connection, until then.
    pub(super) parked: VecDeque<(Instant, Request)>,
    /// Subscribe and unsubscribe commands that are not confirmed, in order.
    pub(super) acks: VecDeque<Ack>,
    pub(super) subscribes: HashMap<Ticket, Reply>,
    pub(super) subscribe_deadlines: VecDeque<(Instant, Ticket, Arc<str>)>,
    pub(super) members: Members,
    pub(super) upkeep: Upkeep,
    batches: Batches,
    departures: Departures,
    last_ticket: Ticket,
}

impl Actor {
    pub(super) fn new(config: RedisConfig, inboxes: Inboxes, health: Health) -> Self {
        Self {
            node: keys::node(config.node),
            commands: Wire::new(config.info.clone()),
            live: Wire::new(config.info.clone()),
            config,
            inboxes,
            health,
            scripts: Scripts::new(),
            sequencer: Sequencer::default(),
            in_flight: VecDeque::new(),
            parked: VecDeque::new(),
            acks: VecDeque::new(),
            subscribes: HashMap::new(),
            subscribe_deadlines: VecDeque::new(),
            members: Members::default(),
            upkeep: Upkeep::new(),
            batches: Batches::default(),
            departures: Departures::default(),
            last_ticket: 0,
        }
    }

    /// Whether more operations may be taken from the queue.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() + self.batches.len() < MAX_IN_FLIGHT
            && self.commands.backlog() + self.batches.bytes() < MAX_BACKLOG
    }

    /// Carries out one operation, or starts to; [`Actor::send_ready`] and [`Actor::carry_out`] go on with it.
    pub(super) async fn serve(&mut self, command: Command) {
        let Command { op, reply } = command;
        let now = Instant::now();
        match op {
            Op::Subscribe { channel, retention, since, limit } => {
                let Reply::Shard { shard, .. } = reply else {
                    return self.inboxes.complete(reply, Err(BackplaneError::Unavailable)).await;
                };
                if self.subscribes.len() >= MAX_WAITING {
                    return self.inboxes.complete(reply, Err(BackplaneError::Busy)).await;
                }
                self.last_ticket += 1;
                let ticket = self.last_ticket;
                self.subscribes.insert(ticket, reply);
                self.subscribe_deadlines.push_back((now + OP_WITHIN, ticket, channel.clone()));
                let subscribe = Subscribe { ticket, shard, stream: retention.is_some(), since, limit };
                self.sequencer.subscribe(&channel, subscribe);
            }
            Op::Release { channel } => {
                if let Reply::Shard { shard, .. } = reply {
                    self.sequencer.release(&channel, shard);
                }
                self.inboxes.complete(reply, Ok(Outcome::Done)).await;
            }
            Op::Publish { channel, payload, info, origin, retention, idempotency_key: key } => {
                let mut body = Vec::new();
                envelope::encode_body(&mut body, rand::random(), &payload, info.as_ref(), origin.as_ref());
                self.publish(channel, retention, body, key, reply, now).await;
            }
            Op::History { channel, retention, since, limit, reverse } => {
                // It may be about what was published a moment ago.
                self.send_waiting(&channel);
                let history = History { size: retention.size, since, limit, reverse };
                let command = self.scripts.history(&channel, &history);
                self.request(Request { command, pending: Pending::History(reply, history) }, now).await;
            }
            Op::Presence { channel } => {
                let command = self.scripts.presence(&channel);
                self.request(Request { command, pending: Pending::Presence(reply) }, now).await;
            }
            Op::Enter { channel, info, announce } => {
                self.departures.cancel(&channel, &info.client);
                self.enter(&channel, info, announce);
                self.inboxes.complete(reply, Ok(Outcome::Done)).await;
            }
            Op::Leave { channel, info, announce, grace } => {
                if let Some(displaced) =
                    self.departures.push(Departure { channel, info, announce }, now, grace)
                {
                    self.end_presence(displaced);
                }
                self.inboxes.complete(reply, Ok(Outcome::Done)).await;
            }
        }
    }

    /// Publishes a message; one for a stream may wait for others.
    async fn publish(
        &mut self,
        channel: Arc<str>,
        retention: Option<Retention>,
        body: Vec<u8>,
        key: Option<Arc<str>>,
        reply: Reply,
        now: Instant,
    ) {
        let Some(retention) = retention else {
            let command = self.scripts.pass(&channel, &body, key.as_deref());
            return self.request(Request { command, pending: Pending::Publish(reply) }, now).await;
        };
        if key.is_none() && self.commands.is_up() {
            if let Some(full) = self.batches.push(Batch::new(channel, retention, body, reply)) {
                self.send_batch(full);
            }
            return;
        }
        self.send_waiting(&channel);
        let command = self.scripts.append(&channel, retention, &[body], key.as_deref());
        self.request(Request { command, pending: Pending::Publish(reply) }, now).await;
    }

    /// Sends the publishes of a turn that wait for no others.
    pub(super) fn send_ready(&mut self) {
        while let Some(batch) = self.batches.pop_ready() {
            self.send_batch(batch);
        }
    }

    /// Sends what waits for a channel, so that something else can follow it.
    fn send_waiting(&mut self, channel: &str) {
        if let Some(batch) = self.batches.pop(channel) {
            self.send_batch(batch);
        }
    }

    /// A batch is answered or given up; what waited for it may go.
    pub(super) fn appended(&mut self, channel: &str) {
        if let Some(batch) = self.batches.answered(channel) {
            self.send_batch(batch);
        }
    }

    /// Sends a batch, or keeps it for the next connection: there are few, since [`Actor::has_room`] counts what waits.
    fn send_batch(&mut self, batch: Batch) {
        let Batch { channel, retention, bodies, replies, .. } = batch;
        let command = self.scripts.append(&channel, retention, &bodies, None);
        let request = Request { command, pending: Pending::Append(channel, replies) };
        if self.commands.is_up() {
            self.send(request);
        } else {
            self.parked.push_back((Instant::now() + OP_WITHIN, request));
        }
    }

    /// Sends a command, or keeps it for the next connection.
    async fn request(&mut self, request: Request, now: Instant) {
        if self.commands.is_up() {
            self.send(request);
        } else if self.parked.len() < MAX_WAITING {
            self.parked.push_back((now + OP_WITHIN, request));
        } else {
            self.give_up(request.pending, BackplaneError::Unavailable).await;
        }
    }

    /// Makes a client present. Without a connection it is made so with all the others, once there is one.
    fn enter(&mut self, channel: &Arc<str>, info: ClientInfo, announce: bool) {
        let command = self.scripts.enter(&self.node, channel, &info, announce);
        let first = self.members.insert(channel, info, announce);
        if self.commands.is_up() {
            if first {
                self.send_index("SADD", channel);
            }
            self.send(Request { command, pending: Pending::Ignored });
        }
    }

    /// Carries out the departures that are due. Without a connection they wait for one.
    pub(super) fn depart(&mut self, now: Instant) {
        while self.commands.is_up()
            && let Some(departure) = self.departures.pop(now)
        {
            self.end_presence(departure);
        }
    }

    /// Tries a departure again later; until then the client stays present.
    pub(super) fn depart_later(&mut self, departure: Departure, now: Instant) {
        if let Some(displaced) = self.departures.push(departure, now, DEPART_AGAIN) {
            tracing::error!(client = %displaced.info.client, "too many clients left during an outage; one stays present");
        }
    }

    /// Carries out what was submitted, departures in their grace included, and says goodbye.
    pub(super) async fn finish(&mut self) {
        while self.commands.is_up()
            && let Some(departure) = self.departures.pop_any()
        {
            self.end_presence(departure);
        }
        if self.members.is_empty() {
            let mut forget = redis::cmd("ZREM");
            forget.arg(keys::LEASES).arg(&self.node);
            self.send(Request { command: forget, pending: Pending::Ignored });
        }
        while !self.in_flight.is_empty() || !self.parked.is_empty() {
            tokio::select! {
                event = self.commands.next() => self.on_commands(event).await,
                event = self.live.next() => self.on_live(event).await,
            }
        }
    }

    fn end_presence(&mut self, departure: Departure) {
        let Departure { channel, info, announce } = &departure;
        let last = self.members.remove(channel, &info.client);
        let command = self.scripts.leave(channel, info, *announce);
        let channel = last.then(|| channel.clone());
        self.send(Request { command, pending: Pending::Leave(departure) });
        if let Some(channel) = channel {
            self.send_index("SREM", &channel);
        }
    }

    /// Notes in which channels this node has members, for those who would have to clear up after it.
    pub(super) fn send_index(&mut self, change: &str, channel: &str) {
        let mut command = redis::cmd(change);
        command.arg(keys::node_channels(&self.node)).arg(channel);
        self.send(Request { command, pending: Pending::Ignored });
    }
}
