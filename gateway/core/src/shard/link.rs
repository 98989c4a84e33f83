//! What a session may reach while it handles one input: its shard's index, its shard's outbox, the time.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{ShardSettings, Tally, following::Following, pacing::Pacing};
use crate::{
    backplane::{BusOp, Op},
    control::Accepted,
    frame::{Deflate, FrameError, Inflated},
    hub::{ChannelId, Hub, Left},
    key::{ConnectionKey, RequestId},
    outbox::Outbox,
    policy::Policy,
    time::Now,
    transport::{Goodbye, Message, Transport},
};

/// What one connection may have waiting for the backplane, its subscriptions aside, which have a limit of their own: it is read no
/// further then, until half of that is answered. In units of [`UNIT`], so that it is a MiB and one message at most.
pub(crate) const MAX_WAITING: usize = 256;
const UNIT: usize = 4096;

/// What a message of so many bytes counts against [`MAX_WAITING`].
pub(crate) fn weight(bytes: usize) -> u32 {
    // A message is far smaller than 2^32 of them.
    1 + (bytes / UNIT) as u32
}

/// What was read of a connection and is handled once less of it waits: at most one message's commands, and one read's bytes.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Commands of a message that was handled in part.
    pub(super) lines: String,
    /// What came after it.
    pub(super) bytes: Vec<u8>,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.lines.len() + self.bytes.len()
    }
}

/// What the connections of a shard share.
pub(super) struct Shared {
    pub(super) settings: ShardSettings,
    pub(super) policy: Arc<Policy>,
    pub(super) hub: Hub,
    pub(super) accepted: Accepted,
    pub(super) tally: Tally,
    pub(super) following: Following,
    pub(super) pacing: Pacing,
    /// By slot; only connections that are not read at present have one.
    pub(super) backlogs: BTreeMap<u32, Backlog>,
    /// For those that negotiated compression.
    pub(super) deflate: Deflate,
    /// Bytes of messages that have arrived in part, and of the backlogs.
    pub(super) held: usize,
    /// Where messages are written before they are sent; empty in between.
    scratch: Vec<u8>,
}

/// What stays allocated of the scratch.
const SCRATCH: usize = 64 * 1024;

impl Shared {
    pub(super) fn new(settings: ShardSettings, policy: Arc<Policy>) -> Self {
        Self {
            settings,
            policy,
            hub: Hub::default(),
            accepted: Accepted::default(),
            tally: Tally::default(),
            following: Following::default(),
            pacing: Pacing::default(),
            backlogs: BTreeMap::new(),
            deflate: Deflate::default(),
            held: 0,
            scratch: Vec::new(),
        }
    }

    /// The access of one connection, while it handles one input.
    pub(super) fn link<'a>(
        &'a mut self,
        key: ConnectionKey,
        transport: Transport,
        now: Now,
        out: &'a mut dyn Outbox,
    ) -> Link<'a> {
        let Self {
            settings,
            policy,
            hub,
            accepted,
            tally,
            following,
            pacing,
            backlogs,
            held,
            deflate,
            scratch,
        } = self;
        Link {
            key,
            transport,
            now,
            settings,
            policy,
            hub,
            accepted,
            tally,
            following,
            pacing,
            backlogs,
            held,
            deflate,
            scratch,
            out,
        }
    }

    /// Asks the backplane for the channels that the shard follows.
    pub(super) fn ask(&mut self, now: Now, out: &mut dyn Outbox) {
        self.following.ask(&self.policy, now.monotonic, out);
    }
}

/// One connection's access to its shard.
pub(crate) struct Link<'a> {
    pub(crate) key: ConnectionKey,
    transport: Transport,
    pub(crate) now: Now,
    pub(crate) settings: &'a ShardSettings,
    pub(crate) policy: &'a Policy,
    pub(crate) hub: &'a mut Hub,
    pub(crate) accepted: &'a mut Accepted,
    pub(crate) tally: &'a mut Tally,
    following: &'a mut Following,
    pub(super) pacing: &'a mut Pacing,
    backlogs: &'a mut BTreeMap<u32, Backlog>,
    deflate: &'a mut Deflate,
    held: &'a mut usize,
    scratch: &'a mut Vec<u8>,
    pub(crate) out: &'a mut dyn Outbox,
}

impl Link<'_> {
    /// Sends a message to this connection.
    pub(crate) fn send(&mut self, message: Message<'_>) {
        self.out.send(self.key, &self.transport.message(message, self.deflate));
    }

    /// Sends a text message, which is UTF-8 as it is written.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        write(self.scratch);
        self.out.send(self.key, &self.transport.message(Message::Text(self.scratch), self.deflate));
        self.scratch.shrink_to(SCRATCH);
    }

    /// Sends what was written for several already.
    pub(crate) fn forward(&mut self, bytes: &Bytes) {
        self.out.send(self.key, bytes);
    }

    /// A compressed message of this connection, as it was.
    pub(super) fn inflate(&mut self, is_text: bool, payload: &[u8]) -> Result<Inflated, FrameError> {
        let limit = self.policy.limits().max_message_bytes as usize;
        self.deflate.inflate(is_text, payload, limit)
    }

    /// Takes its memory back once it is handled.
    pub(super) fn recycle(&mut self, message: Inflated) {
        self.deflate.recycle(message);
    }

    /// Bytes that may be sent to this client before it reads too slowly.
    pub(crate) fn room(&self) -> usize {
        let limit = self.policy.limits().outbound_queue_bytes as usize;
        limit.saturating_sub(self.out.waiting(self.key))
    }

    /// Asks the client for a sign of life.
    pub(crate) fn ping(&mut self) {
        self.out.send(self.key, &self.transport.ping());
    }

    /// Answers the client's ping.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        self.out.send(self.key, &self.transport.pong(payload));
    }

    /// Tells the client that this is the end.
    pub(super) fn say_goodbye(&mut self, goodbye: Goodbye) {
        self.out.send(self.key, &self.transport.goodbye(goodbye));
    }

    /// Submits an operation whose completion comes back to this connection.
    pub(crate) fn request(&mut self, request: RequestId, op: Op) {
        self.out.submit(Some((self.key, request)), op);
    }

    /// Submits an operation that nobody waits for.
    pub(crate) fn tell(&mut self, op: impl Into<Op>) {
        self.out.submit(None, op.into());
    }

    /// Keeps commands of a message for later.
    pub(crate) fn keep_lines(&mut self, lines: &str) {
        if !lines.is_empty() {
            *self.held += lines.len();
            self.backlog().lines.push_str(lines);
        }
    }

    /// Keeps what came after them.
    pub(super) fn keep_bytes(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            *self.held += bytes.len();
            self.backlog().bytes.extend_from_slice(bytes);
        }
    }

    /// Takes what was kept.
    pub(super) fn take_backlog(&mut self) -> Backlog {
        let backlog = self.backlogs.remove(&self.key.slot).unwrap_or_default();
        *self.held -= backlog.len();
        backlog
    }

    fn backlog(&mut self) -> &mut Backlog {
        self.backlogs.entry(self.key.slot).or_default()
    }

    /// This connection gets what happens in a channel, from as soon as the backplane delivers it. The shard sees to that.
    pub(crate) fn follow(&mut self, name: &str) -> ChannelId {
        let channel = self.hub.follow(name, self.key.slot);
        if !self.hub.is_delivered(channel) {
            self.following.want(self.hub.name(channel));
        }
        channel
    }

    /// This connection is no longer subscribed.
    pub(crate) fn leave(&mut self, channel: ChannelId) {
        let left = self.hub.leave(channel, self.key.slot);
        self.release(left);
    }

    /// This connection's subscription failed, or it no longer waits for it.
    pub(crate) fn abandon(&mut self, channel: ChannelId) {
        let left = self.hub.abandon(channel);
        self.release(left);
    }

    fn release(&mut self, left: Left) {
        // Operations are carried out in order: a later subscribe starts the deliveries anew.
        if let Left::Vacated(channel) = left {
            self.following.forget(&channel);
            self.tell(BusOp::Release { channel });
        }
    }
}
