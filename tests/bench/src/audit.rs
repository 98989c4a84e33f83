//! Counts what reaches clients and what does not. Pure: what happened and when are arguments; times are since the process started.
//!
//! Messages are numbered per channel by their publisher, so a delivery shows what was skipped, came twice or came late. Counting
//! starts at the position that a subscription starts from. A client that recovers is expected to miss nothing; one that is told
//! `recovered: false` starts anew at its new position.

mod histogram;
mod moments;
mod track;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use slab::Slab;

pub use self::track::Position;
use self::{
    histogram::Histogram,
    moments::Moments,
    track::{Track, Verdict},
};
use crate::{
    channel::Channel,
    stats::{Abuse, Abused, Clients, Deliveries, Node, Protocol, Published, Reconnects, Stats},
};

const SECOND: Duration = Duration::from_secs(1);
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// A client, as the auditor knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(usize);

/// How a subscription starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a position, or with the next message where the channel has none.
    Fresh(Option<Position>),
    /// Where the client left off, with everything it missed to follow.
    Recovered,
    /// The client asked to recover and was told that it can't; it goes on from there.
    NotRecovered(Option<Position>),
}

#[derive(Debug)]
struct Client {
    channel: Channel,
    state: State,
    node: Option<String>,
    closes: u64,
    track: Track,
    /// When the last message that it got was sent.
    heard: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected yet.
    New,
    Connected,
    Subscribed,
    /// Without connection since then.
    Away(Duration),
    Terminated,
}

/// The last message of a channel that a gateway accepted.
#[derive(Debug)]
struct Acknowledged {
    sequence: u64,
    position: Option<Position>,
}

/// The books of one fleet.
#[derive(Debug)]
pub struct Auditor {
    /// Unix time at which the process started.
    epoch: Duration,
    phase: Duration,
    clients: Slab<Client>,
    acknowledged: BTreeMap<Channel, Acknowledged>,
    /// Messages that were sent once and that no gateway accepted: they may arrive or not.
    unaccepted: BTreeMap<Channel, BTreeSet<u64>>,
    /// Of this phase, from here on; what clients that are still there lost is in their tracks.
    deliveries: Deliveries,
    published: Published,
    unsubscribes: Moments,
    closes: Moments,
    comebacks: Moments,
    close_codes: BTreeMap<u16, u64>,
    refused: BTreeMap<u16, u64>,
    unreachable: u64,
    last_unreachable: Option<String>,
    without_connection: Histogram,
    latency: Histogram,
    nodes: BTreeMap<String, Node>,
    abuse: BTreeMap<Abuse, Abused>,
    stall: Duration,
}

impl Auditor {
    /// Nothing happened yet. `epoch` is the Unix time from which all other times count.
    #[must_use]
    pub fn new(epoch: Duration) -> Self {
        Self {
            epoch,
            phase: Duration::ZERO,
            clients: Slab::new(),
            acknowledged: BTreeMap::new(),
            unaccepted: BTreeMap::new(),
            deliveries: Deliveries::default(),
            published: Published::default(),
            unsubscribes: Moments::default(),
            closes: Moments::default(),
            comebacks: Moments::default(),
            close_codes: BTreeMap::new(),
            refused: BTreeMap::new(),
            unreachable: 0,
            last_unreachable: None,
            without_connection: Histogram::default(),
            latency: Histogram::default(),
            nodes: BTreeMap::new(),
            abuse: BTreeMap::new(),
            stall: Duration::ZERO,
        }
    }

    /// A client enters the fleet; it will be in one channel.
    pub fn entered(&mut self, channel: Channel) -> ClientId {
        let (track, heard) = (Track::default(), Duration::ZERO);
        let client = Client { channel, state: State::New, node: None, closes: 0, track, heard };
        ClientId(self.clients.insert(client))
    }

    /// A client leaves the fleet because it was asked to.
    pub fn left(&mut self, id: ClientId) {
        self.disconnect(id);
        let client = self.clients.remove(id.0);
        self.deliveries.lost += client.track.lost(self.unaccepted_in(client.channel));
    }

    /// A client has a connection, to the gateway of that name where the protocol tells it.
    pub fn connected(&mut self, id: ClientId, node: Option<&str>, now: Duration) {
        let client = &mut self.clients[id.0];
        if let State::Away(since) = client.state {
            self.comebacks.record(now);
            self.without_connection.record(now.saturating_sub(since));
        }
        client.state = State::Connected;
        client.node = node.map(str::to_owned);
        if let Some(name) = node {
            let first_connection_millis = millis(self.epoch + now);
            let new = || Node { first_connection_millis, ..Node::default() };
            self.nodes.entry(name.to_owned()).or_insert_with(new).connected += 1;
        }
    }

    /// A subscription is confirmed.
    pub fn subscribed(&mut self, id: ClientId, start: Start) {
        let client = &mut self.clients[id.0];
        client.state = State::Subscribed;
        match start {
            Start::Fresh(position) => client.track.restart(position),
            Start::Recovered => self.deliveries.recovered += 1,
            Start::NotRecovered(position) => {
                self.deliveries.told_not_recovered += 1;
                client.track.restart(position);
            }
        }
    }

    /// The server ended a subscription; the client subscribes again.
    pub fn unsubscribed(&mut self, id: ClientId, now: Duration) {
        self.clients[id.0].state = State::Connected;
        self.unsubscribes.record(now);
    }

    /// A message arrived; `offset` is its place in the stream, where there is one.
    pub fn delivered(
        &mut self,
        id: ClientId,
        sequence: u64,
        offset: Option<u64>,
        sent: Duration,
        now: Duration,
    ) {
        let client = &mut self.clients[id.0];
        match client.track.deliver(sequence, offset) {
            Verdict::New => self.deliveries.delivered += 1,
            Verdict::Duplicate => self.deliveries.duplicated += 1,
            Verdict::OutOfOrder => {
                self.deliveries.delivered += 1;
                self.deliveries.out_of_order += 1;
            }
        }
        client.heard = client.heard.max(sent);
        self.latency.record(now.saturating_sub(sent));
        if let Some(node) = client.node.as_ref().and_then(|name| self.nodes.get_mut(name)) {
            node.delivered += 1;
        }
    }

    /// A connection ended without the client wanting it; 1006 when there was no close frame. `terminal` codes forbid coming back.
    pub fn closed(&mut self, id: ClientId, code: u16, terminal: bool, now: Duration) {
        self.disconnect(id);
        let client = &mut self.clients[id.0];
        client.state = if terminal { State::Terminated } else { State::Away(now) };
        client.closes += 1;
        self.closes.record(now);
        *self.close_codes.entry(code).or_default() += 1;
    }

    /// A handshake was answered with this HTTP status instead of 101.
    pub fn refused(&mut self, status: u16) {
        *self.refused.entry(status).or_default() += 1;
    }

    /// A connection could not be made, or gave no answer in time.
    pub fn unreachable(&mut self, error: String) {
        self.unreachable += 1;
        self.last_unreachable = Some(error);
    }

    /// A gateway accepted a message.
    pub fn acknowledged(&mut self, channel: Channel, sequence: u64, position: Option<Position>) {
        self.published.acknowledged += 1;
        self.acknowledged.insert(channel, Acknowledged { sequence, position });
    }

    /// A try to publish failed; whether a gateway answered it.
    pub fn publish_failed(&mut self, error: String, answered: bool) {
        self.published.failed_tries += 1;
        self.published.unanswered_tries += u64::from(!answered);
        self.published.last_error = Some(error);
    }

    /// A message was given up after a try that failed.
    pub fn unaccepted(&mut self, channel: Channel, sequence: u64) {
        self.unaccepted.entry(channel).or_default().insert(sequence);
    }

    /// Publishing to a channel started, or ended.
    pub fn publishing(&mut self, runs: bool) {
        let running = &mut self.published.running;
        *running = if runs { *running + 1 } else { running.saturating_sub(1) };
    }

    /// An abusive connection was opened.
    pub fn abuse_opened(&mut self, kind: Abuse) {
        self.abuse.entry(kind).or_default().open += 1;
    }

    /// An abusive connection is over; by the gateway's hand, or by ours.
    pub fn abuse_closed(&mut self, kind: Abuse, by_gateway: bool) {
        let abused = self.abuse.entry(kind).or_default();
        abused.open = abused.open.saturating_sub(1);
        abused.ended += u64::from(by_gateway);
    }

    /// A timer fired that much too late.
    pub fn stalled(&mut self, late: Duration) {
        self.stall = self.stall.max(late);
    }

    /// A new phase begins: counters start from 0, while clients keep their connections and places.
    pub fn reset(&mut self, now: Duration) {
        self.phase = now;
        self.deliveries = Deliveries::default();
        self.published = Published { running: self.published.running, ..Published::default() };
        self.unsubscribes.clear();
        self.closes.clear();
        self.comebacks.clear();
        self.close_codes.clear();
        self.refused.clear();
        self.unreachable = 0;
        self.last_unreachable = None;
        self.without_connection = Histogram::default();
        self.latency = Histogram::default();
        self.stall = Duration::ZERO;
        self.nodes.retain(|_, node| node.connected > 0);
        self.nodes.values_mut().for_each(|node| node.delivered = 0);
        for (_, client) in &mut self.clients {
            client.closes = 0;
            client.track.forgive();
        }
    }

    /// Everything so far. `wanted` is the number of clients asked for.
    #[must_use]
    pub fn stats(&self, wanted: u64, now: Duration) -> Stats {
        Stats {
            phase_millis: millis(now.saturating_sub(self.phase)),
            clients: self.count_clients(wanted),
            deliveries: self.count_deliveries(),
            published: self.published.clone(),
            reconnects: self.count_reconnects(),
            latency: self.latency.summary(),
            nodes: self.nodes.clone(),
            abuse: self.abuse.clone(),
            stall_millis: millis(self.stall),
        }
    }

    /// Whether every client has got a message that was sent at that time or later.
    #[must_use]
    pub fn all_heard_since(&self, time: Duration) -> bool {
        self.clients.iter().all(|(_, client)| client.state == State::Subscribed && client.heard >= time)
    }

    /// Clients of a protocol that lost something, or are behind.
    #[must_use]
    pub fn losers(&self, protocol: Protocol) -> u64 {
        let clients = self.clients.iter().filter(|(_, client)| client.channel.protocol == protocol);
        clients.filter(|(_, client)| self.lost(client) + self.behind(client) > 0).count() as u64
    }

    fn lost(&self, client: &Client) -> u64 {
        client.track.lost(self.unaccepted_in(client.channel))
    }

    fn behind(&self, client: &Client) -> u64 {
        let Some(last) = self.acknowledged.get(&client.channel) else { return 0 };
        client.track.behind(last.sequence, last.position.as_ref(), self.unaccepted_in(client.channel))
    }

    fn unaccepted_in(&self, channel: Channel) -> &BTreeSet<u64> {
        static NONE: BTreeSet<u64> = BTreeSet::new();
        self.unaccepted.get(&channel).unwrap_or(&NONE)
    }

    fn count_clients(&self, wanted: u64) -> Clients {
        let mut clients = Clients { wanted, ..Clients::default() };
        for (_, client) in &self.clients {
            clients.connected += u64::from(matches!(client.state, State::Connected | State::Subscribed));
            clients.subscribed += u64::from(client.state == State::Subscribed);
            clients.terminated += u64::from(client.state == State::Terminated);
        }
        clients
    }

    fn count_deliveries(&self) -> Deliveries {
        let mut deliveries = Deliveries {
            unsubscribed: self.unsubscribes.count(),
            peak_unsubscribed_per_second: self.unsubscribes.peak(SECOND),
            ..self.deliveries
        };
        for (_, client) in &self.clients {
            deliveries.lost += self.lost(client);
            deliveries.behind += self.behind(client);
        }
        deliveries
    }

    fn count_reconnects(&self) -> Reconnects {
        let mut clients_by_closes = BTreeMap::new();
        for (_, client) in &self.clients {
            *clients_by_closes.entry(client.closes).or_default() += 1;
        }
        Reconnects {
            closed: self.closes.count(),
            reconnected: self.comebacks.count(),
            peak_closed_per_second: self.closes.peak(SECOND),
            peak_closed_per_ten_seconds: self.closes.peak(TEN_SECONDS),
            peak_reconnected_per_second: self.comebacks.peak(SECOND),
            closed_per_second: self.closes.per_second(self.phase),
            reconnected_per_second: self.comebacks.per_second(self.phase),
            clients_by_closes,
            close_codes: self.close_codes.clone(),
            refused: self.refused.clone(),
            unreachable: self.unreachable,
            last_unreachable: self.last_unreachable.clone(),
            without_connection: self.without_connection.summary(),
        }
    }

    /// Takes a client off its gateway's count.
    fn disconnect(&mut self, id: ClientId) {
        let node = self.clients[id.0].node.take();
        if let Some(node) = node.and_then(|name| self.nodes.get_mut(&name)) {
            node.connected = node.connected.saturating_sub(1);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
