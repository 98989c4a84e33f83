//! A shard as a value: some of a gateway's connections, their channels, their timers.
//!
//! [`Shard`] has three kinds of methods, after the model of sans-IO protocol crates: inputs (`open`, `receive`, `hang_up`, `overflow`,
//! `inbound`, `checked`, `evict`, `exchange`, `handle_timeout`), which take the time and put their effects into an [`Outbox`]; [`Shard::next_timeout`], which
//! says when `handle_timeout` is due; and getters. Time never goes back from one input to the next.
//!
//! A connection's life: `open` makes its key. It is over when the shard calls [`Outbox::close`], at most once, or when the socket
//! is gone by itself; in both cases the shell calls [`Shard::hang_up`] once the socket is gone, and only then is the key's slot free
//! for another connection. Inputs for a connection that is over change nothing, and the shard sends nothing to it.

pub(crate) mod broadcast;
#[cfg(test)]
mod close_codes;
mod connection;
mod echo;
mod following;
pub(crate) mod heartbeat;
pub(crate) mod link;
mod opening;
mod outdated;
mod pacing;
mod settings;

use std::{sync::Arc, time::Duration};

use slab::Slab;

use self::{
    broadcast::Broadcast,
    connection::{Connection, Phase},
    following::SHARD,
    link::{Backlog, Link, Shared},
    outdated::{LOOKS, Outdated},
};
pub use self::{opening::Opening, settings::ShardSettings};
use crate::{
    backplane::{Inbound, Message},
    control::{Accepted, Connections},
    key::ConnectionKey,
    outbox::Outbox,
    policy::Policy,
    protocol::{Kind, Protocol},
    time::Now,
    token::CheckedToken,
    transport::Transport,
    wheel::Wheel,
};

/// Granularity of the timers, and the ticks of one turn of their wheel: a little more than the longest of them.
const TICK: Duration = Duration::from_millis(250);
const TICKS: usize = 128;

/// What a shard has counted since its start, connections accepted aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that ended because [`Shard::evict`] sent them elsewhere.
    pub moved: u64,
    /// Times that a raw client stayed although messages of its channel may not have reached it.
    pub raw_gaps: u64,
    /// Messages of raw clients that the backplane did not confirm.
    pub raw_unpublished: u64,
    /// Messages of raw clients that may not publish in their channel.
    pub raw_refused: u64,
    /// Messages, commands and pings that clients sent.
    pub received: u64,
}

/// One shard of a gateway.
pub struct Shard {
    shared: Shared,
    connections: Slab<Connection>,
    /// Of the next connection.
    generation: u32,
    /// One timer per connection, by slot.
    wheel: Wheel<u32>,
    open: Connections,
    /// Where `evict` goes on.
    next_evicted: usize,
    outdated: Outdated,
}

impl Shard {
    /// A shard without connections.
    #[must_use]
    pub fn new(settings: ShardSettings, policy: Arc<Policy>) -> Self {
        Self {
            shared: Shared::new(settings, policy),
            connections: Slab::new(),
            generation: 0,
            wheel: Wheel::new(TICK, TICKS),
            open: Connections::default(),
            next_evicted: 0,
            outdated: Outdated::default(),
        }
    }

    /// What the shard goes by.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.shared.policy
    }

    /// From now on the shard goes by another policy. Connected clients are held against it little by little: together the shards of a
    /// gateway take something from no more of them per second than [`crate::config::Drain::max_reconnects_per_second`].
    pub fn exchange(&mut self, policy: Arc<Policy>, now: Now) {
        let rate = f64::from(policy.drain().max_reconnects_per_second);
        let share = rate / f64::from(self.shared.settings.shards.max(1));
        self.shared.policy = policy;
        self.outdated.begin(self.connections.capacity(), share, now.monotonic);
    }

    /// Holds a connection against the policy in force at once: it was let in under another one.
    pub fn adapt(&mut self, key: ConnectionKey, now: Now, out: &mut impl Outbox) {
        self.with(
            key,
            now,
            out,
            |connection, link| {
                if connection.is_outdated(link) { connection.adapt(link) } else { None }
            },
        );
    }

    /// Takes a connection whose WebSocket handshake is done.
    pub fn open(
        &mut self,
        opening: Opening,
        transport: Transport,
        now: Now,
        out: &mut impl Outbox,
    ) -> ConnectionKey {
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        // A shard has far fewer than 2^32 connections: a file descriptor is an i32.
        let key = ConnectionKey { slot: self.connections.vacant_key() as u32, generation };
        let mut link = self.shared.link(key, transport, now, out);
        let protocol = opening.start(&mut link);
        let first_wake = protocol.first_wake(&link);
        *live(&mut self.open, &*protocol) += 1;
        let timer = self.wheel.insert(key.slot, now.monotonic + first_wake);
        self.connections.insert(Connection::new(generation, timer, transport, protocol));
        self.shared.ask(now, out);
        key
    }

    /// Handles bytes as they came from the socket: any part of any number of frames, which are unmasked in place.
    pub fn receive(&mut self, key: ConnectionKey, bytes: &mut [u8], now: Now, out: &mut impl Outbox) {
        self.with(key, now, out, |connection, link| connection.receive(bytes, link));
    }

    /// The socket is gone, whoever closed it. The key's slot is free afterwards; a key that is not known changes nothing.
    pub fn hang_up(&mut self, key: ConnectionKey, now: Now, out: &mut impl Outbox) {
        self.with(key, now, out, |connection, link| {
            connection.hang_up(link);
            None
        });
        if self.is_known(key) {
            let connection = self.connections.remove(key.slot as usize);
            *live(&mut self.open, &*connection.protocol) -= 1;
            self.shared.pacing.forget(key);
            self.wheel.cancel(connection.timer);
        }
        if self.connections.is_empty() {
            // Their memory goes with the last of them.
            self.connections = Slab::new();
        }
    }

    /// More waits for this client than [`crate::config::Limits::outbound_queue_bytes`], or the process holds too much and this one is among
    /// the slowest. The shell may drop what waits before it sends the close frame that this puts out.
    pub fn overflow(&mut self, key: ConnectionKey, now: Now, out: &mut impl Outbox) {
        self.with(key, now, out, |connection, link| {
            connection.overflow(link);
            None
        });
    }

    /// Handles one item of this shard's queue from the backplane.
    pub fn inbound(&mut self, item: Inbound, now: Now, out: &mut impl Outbox) {
        match item {
            Inbound::Completed { connection: SHARD, request, result } => {
                let delivered = self.shared.following.answered(request, result.is_ok(), now.monotonic);
                if let Some(id) = delivered.and_then(|channel| self.shared.hub.find(&channel)) {
                    self.shared.hub.set_delivered(id, true);
                }
                self.shared.ask(now, out);
            }
            Inbound::Completed { connection, request, result } => {
                self.with(connection, now, out, |connection, link| {
                    connection.complete(request, result, link)
                });
            }
            Inbound::Delivered { channel, message: Message::Discontinued } => {
                self.discontinue(&channel, now, out);
            }
            Inbound::Delivered { channel, message } => self.broadcast(&channel, &message, out),
        }
    }

    /// A token that [`Outbox::check`] was about has been checked. Whether its client is still there.
    pub fn checked(
        &mut self,
        key: ConnectionKey,
        token: CheckedToken,
        now: Now,
        out: &mut impl Outbox,
    ) -> bool {
        let is_known = self.is_known(key);
        self.with(key, now, out, |connection, link| connection.checked(token, link));
        is_known
    }

    /// Sends up to `count` clients elsewhere, each the way its protocol reconnects best, once the backplane has answered what it asked
    /// for; returns how many. [`Tally::moved`] counts each when it is closed. Calls go round the connections, so that repeating it
    /// reaches each once.
    pub fn evict(&mut self, count: u32, now: Now, out: &mut impl Outbox) -> u32 {
        let capacity = self.connections.capacity();
        let mut evicted = 0;
        for _ in 0..capacity {
            if evicted == count {
                break;
            }
            let slot = self.next_evicted % capacity;
            self.next_evicted = slot + 1;
            let Some(Connection { generation, phase: Phase::Open, .. }) = self.connections.get(slot) else {
                continue;
            };
            let key = ConnectionKey { slot: slot as u32, generation: *generation };
            self.with(key, now, out, |connection, link| connection.move_away(link));
            evicted += 1;
        }
        evicted
    }

    /// Handles every timer that is due: pings, unanswered pings, missing connect commands, expired tokens, closing handshakes, and the end
    /// of waits for those who sent too much.
    pub fn handle_timeout(&mut self, now: Now, out: &mut impl Outbox) {
        while let Some(slot) = self.wheel.expired(now.monotonic) {
            let Some(connection) = self.connections.get(slot as usize) else { continue };
            let key = ConnectionKey { slot, generation: connection.generation };
            self.with(key, now, out, |connection, link| connection.handle_timeout(link));
        }
        while let Some(key) = self.shared.pacing.go_on(now.monotonic) {
            // Nothing else has happened to it than that it may be read again.
            self.with(key, now, out, |_, _| None);
        }
        self.adapt_some(now, out);
        self.shared.ask(now, out);
    }

    /// When `handle_timeout` is due, as monotonic time; never without connections.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let Shared { following, pacing, .. } = &self.shared;
        let ways = [following.next_timeout(), pacing.next_timeout(), self.outdated.next_timeout()];
        ways.into_iter().chain([self.wheel.next_deadline()]).flatten().min()
    }

    /// Connections whose sockets are not gone yet; echoes count as raw.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.open
    }

    /// Connections opened so far. A raw one counts as new at once; one of the centrifuge protocol counts when its first message with
    /// a subscribe command is handled: as resumed when one of those commands brings a position to recover from, as new otherwise. One
    /// that subscribes to nothing counts as new within 10 s. Server-side subscriptions count like subscribe commands.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        self.shared.accepted
    }

    /// What else was counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.tally
    }

    /// Bytes that were read of clients and are not handled: of messages that have arrived in part, and of those of whom too much waits.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.held
    }

    /// Whose bytes these are, how many, and since when, as monotonic time.
    pub fn unhandled(&self, now: Now) -> impl Iterator<Item = (ConnectionKey, usize, Duration)> {
        self.connections.iter().filter_map(move |(slot, connection)| {
            let key = ConnectionKey { slot: slot as u32, generation: connection.generation };
            let backlog = self.shared.backlogs.get(&key.slot).map_or(0, Backlog::len);
            let bytes = connection.held() + backlog;
            let since = connection.message_since().unwrap_or(now.monotonic);
            (bytes > 0 && connection.phase < Phase::Closing).then_some((key, bytes, since))
        })
    }

    /// Channels that a connection of this shard is subscribed to, or about to be.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.shared.hub.len()
    }

    /// Goes some way through the connections after an exchange of the policy.
    fn adapt_some(&mut self, now: Now, out: &mut impl Outbox) {
        for _ in 0..LOOKS {
            let Some(slot) = self.outdated.slot(now.monotonic) else { return };
            if let Some(connection) = self.connections.get(slot) {
                let key = ConnectionKey { slot: slot as u32, generation: connection.generation };
                let link = self.shared.link(key, connection.transport, now, out);
                if connection.is_outdated(&link) {
                    if !self.outdated.may_lose(now.monotonic) {
                        return;
                    }
                    self.with(key, now, out, |connection, link| connection.adapt(link));
                }
            }
            self.outdated.done();
        }
    }

    fn is_known(&self, key: ConnectionKey) -> bool {
        self.connections.get(key.slot as usize).is_some_and(|c| c.generation == key.generation)
    }

    /// Lets a connection handle an input, and what that gives it room for; its timer is set to what it answers.
    fn with(
        &mut self,
        key: ConnectionKey,
        now: Now,
        out: &mut dyn Outbox,
        handle: impl FnOnce(&mut Connection, &mut Link<'_>) -> Option<Duration>,
    ) {
        let connection = self.connections.get_mut(key.slot as usize);
        let Some(connection) = connection.filter(|c| c.generation == key.generation) else { return };
        let before = connection.held();
        let mut link = self.shared.link(key, connection.transport, now, out);
        let wake = handle(connection, &mut link);
        if let Some(wake) = connection.catch_up(&mut link).or(wake) {
            self.wheel.reschedule(&connection.timer, now.monotonic + wake);
        }
        self.shared.held = self.shared.held + connection.held() - before;
    }

    /// Sends a channel's message to its subscribers.
    fn broadcast(&mut self, channel: &str, message: &Message, out: &mut impl Outbox) {
        let Shared { settings, policy, hub, deflate, .. } = &mut self.shared;
        let Some(id) = hub.find(channel) else { return };
        let from = match message {
            Message::Publication(publication) => publication.sender.and_then(|from| settings.own(from)),
            _ => None,
        };
        let limit = policy.limits().outbound_queue_bytes as usize;
        let mut broadcast = Broadcast::new(channel, message, from, limit, deflate);
        for slot in hub.subscribers(id) {
            let Some(connection) = self.connections.get_mut(slot as usize) else { continue };
            let key = ConnectionKey { slot, generation: connection.generation };
            if let Some(bytes) = connection.protocol.push(&mut broadcast, key, connection.transport) {
                out.send(key, bytes);
            }
        }
    }

    /// Publications of a channel may be missing.
    fn discontinue(&mut self, channel: &Arc<str>, now: Now, out: &mut impl Outbox) {
        let Some(id) = self.shared.hub.find(channel) else { return };
        self.shared.hub.set_delivered(id, false);
        for slot in self.shared.hub.subscribers(id).collect::<Vec<_>>() {
            let Some(connection) = self.connections.get(slot as usize) else { continue };
            let key = ConnectionKey { slot, generation: connection.generation };
            self.with(key, now, out, |connection, link| connection.discontinued(id, channel, link));
        }
        // Who is still there cannot ask again itself.
        if self.shared.hub.find(channel).is_some_and(|id| self.shared.hub.has_subscribers(id)) {
            self.shared.following.want(channel.clone());
            self.shared.ask(now, out);
        }
    }
}

/// The counter that a connection belongs to.
fn live<'a>(open: &'a mut Connections, protocol: &dyn Protocol) -> &'a mut u32 {
    match protocol.kind() {
        Kind::Centrifuge => &mut open.centrifuge,
        Kind::Raw => &mut open.raw,
    }
}
