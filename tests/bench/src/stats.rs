//! What the control port takes and answers. JSON, camelCase; rates per second, times in the unit that the name ends with.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// A client protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// The centrifuge protocol at /connection/websocket, with recovery.
    #[default]
    Centrifuge,
    /// Bare messages at /raw/{channel}.
    Raw,
}

/// Body of `POST /clients`: how many clients there should be, from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientsRequest {
    /// Which clients this is about; those of the other protocol stay as they are.
    pub protocol: Protocol,
    /// Clients wanted; when there are more, those that leave are chosen at random.
    pub count: usize,
    /// Channels over which clients are spread: `fleet-0` and so on. Each client is in one of them.
    pub channels: usize,
    /// Clients started or stopped per second.
    pub per_second: f64,
}

impl Default for ClientsRequest {
    fn default() -> Self {
        Self { protocol: Protocol::Centrifuge, count: 0, channels: 10, per_second: 200.0 }
    }
}

/// Body of `POST /publish`: what is published from now on, instead of what was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PublishRequest {
    /// Form of the messages, which also says where they are posted.
    pub form: Form,
    /// Channels published to: `fleet-0` and so on.
    pub channels: usize,
    /// Messages per second and channel; 0 stops.
    pub per_second: f64,
    /// Messages per channel after which publishing stops by itself.
    pub total: Option<u64>,
    /// Size in bytes that messages are padded to; binary ones stay as small as they are.
    pub size: usize,
    /// Gateways like `http://10.0.0.1:8000`, each of which gets the messages of every so many-th channel; the fleet's target when empty.
    pub urls: Vec<String>,
}

impl Default for PublishRequest {
    fn default() -> Self {
        Self { form: Form::Json, channels: 10, per_second: 0.0, total: None, size: 0, urls: Vec::new() }
    }
}

/// Form of published messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// To /api/publish, with an idempotency key and tried until acknowledged.
    #[default]
    Json,
    /// To /raw/{channel} as text, each once: there is no key for another try.
    Text,
    /// The same as bytes that are no UTF-8.
    Binary,
}

/// Body of `POST /abuse`: connections of the kind that a gateway has to survive; 0 ends them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AbuseRequest {
    /// What they do.
    pub kind: Abuse,
    /// How many there are from now on.
    pub count: usize,
    /// The channel that those subscribe to who never read.
    #[serde(default)]
    pub channel: usize,
}

/// What an abusive connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Abuse {
    /// Sends half a handshake and waits; opens another one when it is thrown out.
    HalfOpen,
    /// Subscribes to a channel and never reads.
    NeverReads,
}

/// Body of `POST /probe`: a TCP connection is opened there, and closed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Where.
    pub address: SocketAddr,
}

/// Answer of `POST /probe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// The connection was made.
    Reached,
    /// It was turned down: nobody listens there, or a firewall says so.
    Refused,
    /// Nobody answered.
    TimedOut,
}

/// Answer of `GET /stats`: what happened since the last `POST /reset`, and how things are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Milliseconds since the last reset.
    pub phase_millis: u64,
    /// Clients now.
    pub clients: Clients,
    /// Messages that reached clients, or did not.
    pub deliveries: Deliveries,
    /// Messages sent.
    pub published: Published,
    /// Connections that ended and came back.
    pub reconnects: Reconnects,
    /// From publishing to delivery, recovered messages included.
    pub latency: Summary,
    /// Gateways that centrifuge clients are or were connected to, by the name they give.
    pub nodes: BTreeMap<String, Node>,
    /// Abusive connections open now, and how many the gateway has ended.
    pub abuse: BTreeMap<Abuse, Abused>,
    /// The longest time this process let a due timer wait: moments are that much uncertain.
    pub stall_millis: u64,
}

/// Clients now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// Asked for.
    pub wanted: u64,
    /// With an open connection.
    pub connected: u64,
    /// Subscribed to their channel.
    pub subscribed: u64,
    /// Turned away for good by a terminal close code.
    pub terminated: u64,
}

/// Messages that reached clients, or did not. Lost, duplicated and out of order are to be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    /// Delivered for the first time.
    pub delivered: u64,
    /// Skipped: a later message of the channel was delivered, and the client was not told.
    pub lost: u64,
    /// Delivered again.
    pub duplicated: u64,
    /// Delivered after a later one.
    pub out_of_order: u64,
    /// Acknowledged to the publisher, and yet to be delivered; final once it no longer falls.
    pub behind: u64,
    /// Subscriptions resumed with everything that was missed.
    pub recovered: u64,
    /// Subscriptions that came back with `recovered: false`: the client knows that it may have missed something.
    pub told_not_recovered: u64,
    /// Subscriptions ended by the server, to be taken up again.
    pub unsubscribed: u64,
    /// Most of them within any one second.
    pub peak_unsubscribed_per_second: u64,
}

/// Messages sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Accepted by a gateway.
    pub acknowledged: u64,
    /// Tries that failed. Those with an idempotency key are followed by another one; others may have been carried out.
    pub failed_tries: u64,
    /// Those of them that were not answered in time, or not at all.
    pub unanswered_tries: u64,
    /// Channels that are being published to.
    pub running: u64,
    /// Why the last failed try failed.
    pub last_error: Option<String>,
}

/// Connections that ended and came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnects {
    /// Connections that ended without the client wanting it.
    pub closed: u64,
    /// Clients that connected again.
    pub reconnected: u64,
    /// Most connections that ended within any one second.
    pub peak_closed_per_second: u64,
    /// Most connections that ended within any ten seconds.
    pub peak_closed_per_ten_seconds: u64,
    /// Most clients that connected again within any one second.
    pub peak_reconnected_per_second: u64,
    /// Connections that ended, in each second since the reset.
    pub closed_per_second: Vec<u64>,
    /// Clients that connected again, in each second since the reset.
    pub reconnected_per_second: Vec<u64>,
    /// How many clients lost their connection so many times.
    pub clients_by_closes: BTreeMap<u64, u64>,
    /// Connections that ended, by close code; 1006 is one without a close frame (RFC 6455, section 7.1.5).
    pub close_codes: BTreeMap<u16, u64>,
    /// Handshakes refused, by HTTP status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections that could not be made or gave no answer in time.
    pub unreachable: u64,
    /// Why the last of them failed.
    pub last_unreachable: Option<String>,
    /// From the end of a connection to the next one.
    pub without_connection: Summary,
}

impl Reconnects {
    /// How often the client that was moved most was moved.
    #[must_use]
    pub fn most_of_one_client(&self) -> u64 {
        self.clients_by_closes.keys().next_back().copied().unwrap_or(0)
    }
}

/// Durations, summed up. Quantiles are at most 3 % off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_micros: u64,
    /// 99 % of them took no longer.
    pub p99_micros: u64,
    /// 99.9 % of them took no longer.
    pub p999_micros: u64,
    /// The longest.
    pub max_micros: u64,
}

/// A gateway as its clients see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Clients connected now.
    pub connected: u64,
    /// Messages delivered by it since the reset.
    pub delivered: u64,
    /// When a client first connected to it: Unix time.
    pub first_connection_millis: u64,
}

/// Abusive connections of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abused {
    /// Open now.
    pub open: u64,
    /// Ended by the gateway so far.
    pub ended: u64,
}
