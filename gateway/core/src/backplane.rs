//! What sessions ask of the backplane, and what comes back: small vocabularies between shards and whatever serves them. The bus brings
//! what happens to whoever is there, and could be served by what keeps nothing; what needs a stream is asked of the log. A channel's
//! options say which of the two it is on.
//!
//! Contract of every backplane. Each shard has one queue of [`Inbound`]; completions and deliveries of a channel arrive on it in
//! sequence: after [`Outcome::Followed`] the shard receives every publication of the channel with an offset above its position, once and
//! in order, and none up to it. When that cannot be kept any more (a lost epoch, a trimmed gap) the shard receives
//! [`Message::Discontinued`] instead, and no publication of the channel until it follows it again. A channel on the bus has no positions,
//! and is discontinued whenever something of it may have been lost.

mod bus;
mod log;
mod presence;

use std::sync::Arc;

use bytes::Bytes;

pub use self::{
    bus::BusOp,
    log::{Followed, LogOp, Retention, StreamPosition},
    presence::PresenceOp,
};
use crate::key::{ConnectionKey, RequestId};

/// What the fixed part of an operation, a publication or a client holds in memory, its place in a queue included.
const FIXED: usize = 256;

/// A publication's body, with what a raw client needs to get back what another sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A JSON document, verbatim (RFC 8259, UTF-8).
    Json(Bytes),
    /// The payload of a text message (RFC 6455, section 5.6), UTF-8.
    Text(Bytes),
    /// The payload of a binary message.
    Binary(Bytes),
}

/// Who published, or is present (`ClientInfo` of the centrifuge protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The connection's id, unique in the cluster.
    pub client: Arc<str>,
    /// The user's id from the token's `sub`; empty for an anonymous user.
    pub user: Arc<str>,
    /// JSON from the connection token's `info`.
    pub conn_info: Option<Bytes>,
    /// JSON from the subscription token's `info`.
    pub chan_info: Option<Bytes>,
}

/// The raw connection a message came from, so that it is not sent back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Random id of the gateway process.
    pub node: u64,
    /// Shard of that process.
    pub shard: u16,
    /// Connection of that shard.
    pub connection: ConnectionKey,
}

/// One message of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Place in the stream; 0 where the channel keeps no history.
    pub offset: u64,
    /// The body.
    pub payload: Payload,
    /// Who published, unless the server did.
    pub info: Option<ClientInfo>,
    /// Only of raw messages.
    pub sender: Option<Sender>,
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The channel.
    pub channel: Arc<str>,
    /// The body.
    pub payload: Payload,
    /// Who publishes.
    pub info: Option<ClientInfo>,
    /// Only of raw messages.
    pub sender: Option<Sender>,
    /// A second publish with the same key and channel within five minutes yields what the first one did and delivers nothing.
    pub idempotency_key: Option<Arc<str>>,
}

/// An operation on the backplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Live deliveries.
    Bus(BusOp),
    /// Streams.
    Log(LogOp),
    /// Who is there.
    Presence(PresenceOp),
}

impl Op {
    /// Starts deliveries of a channel, after `since` where it keeps a stream, of which `limit` publications are recovered at most.
    #[must_use]
    pub fn subscribe(
        channel: Arc<str>,
        retention: Option<Retention>,
        since: Option<StreamPosition>,
        limit: u32,
    ) -> Self {
        match retention {
            None => Self::Bus(BusOp::Subscribe { channel }),
            Some(_) => Self::Log(LogOp::Follow { channel, since, limit }),
        }
    }

    /// Delivers to every subscriber of every node, and appends to the stream where the channel keeps one.
    #[must_use]
    pub fn publish(publish: Publish, retention: Option<Retention>) -> Self {
        match retention {
            None => Self::Bus(BusOp::Publish(publish)),
            Some(retention) => Self::Log(LogOp::Append { publish, retention }),
        }
    }

    /// What it publishes, if anything.
    #[must_use]
    pub fn as_publish(&self) -> Option<&Publish> {
        match self {
            Self::Bus(BusOp::Publish(publish)) | Self::Log(LogOp::Append { publish, .. }) => Some(publish),
            Self::Bus(_) | Self::Log(_) | Self::Presence(_) => None,
        }
    }

    /// What it holds in memory until it is completed, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        FIXED
            + match self {
                Self::Bus(op) => op.bytes(),
                Self::Log(op) => op.bytes(),
                Self::Presence(op) => op.bytes(),
            }
    }
}

impl From<BusOp> for Op {
    fn from(op: BusOp) -> Self {
        Self::Bus(op)
    }
}

impl From<LogOp> for Op {
    fn from(op: LogOp) -> Self {
        Self::Log(op)
    }
}

impl From<PresenceOp> for Op {
    fn from(op: PresenceOp) -> Self {
        Self::Presence(op)
    }
}

impl Publish {
    fn bytes(&self) -> usize {
        let info = self.info.as_ref().map_or(0, ClientInfo::bytes);
        let key = self.idempotency_key.as_ref().map_or(0, |key| key.len());
        self.channel.len() + self.payload.len() + info + key
    }
}

impl Payload {
    /// Bytes of the body.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::Text(bytes) | Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Publication {
    /// What it holds in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        FIXED + self.payload.len() + self.info.as_ref().map_or(0, ClientInfo::bytes)
    }
}

impl ClientInfo {
    /// What it holds in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let infos = [&self.conn_info, &self.chan_info].into_iter().flatten().map(Bytes::len).sum::<usize>();
        FIXED + self.client.len() + self.user.len() + infos
    }
}

impl Outcome {
    /// What a publish yields, with its place where a stream keeps it.
    #[must_use]
    pub fn published(position: Option<StreamPosition>) -> Self {
        position.map_or(Self::Done, |position| Self::Appended { position })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Followed(Followed { publications, .. }) | Self::Read { publications, .. } => {
                publications.iter().map(|publication| publication.bytes()).sum()
            }
            Self::Listed { clients } => clients.iter().map(ClientInfo::bytes).sum(),
            Self::Done | Self::Appended { .. } | Self::Counted { .. } => 0,
        }
    }
}

impl Inbound {
    /// What it holds in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        FIXED
            + match self {
                Self::Completed { result, .. } => result.as_ref().map_or(0, Outcome::bytes),
                Self::Delivered { message: Message::Publication(publication), .. } => publication.bytes(),
                Self::Delivered { message: Message::Join(info) | Message::Leave(info), .. } => info.bytes(),
                Self::Delivered { message: Message::Discontinued, .. } => 0,
            }
    }
}

/// What a completed operation yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but that it is done.
    Done,
    /// Deliveries follow from here on.
    Followed(Followed),
    /// Stored and on its way.
    Appended {
        /// Its place.
        position: StreamPosition,
    },
    /// A part of the stream.
    Read {
        /// The stream's last position.
        position: StreamPosition,
        /// What was asked for, in the order asked for.
        publications: Vec<Arc<Publication>>,
    },
    /// The clients present, each once.
    Listed {
        /// In order of their client ids.
        clients: Vec<ClientInfo>,
    },
    /// How many are present.
    Counted {
        /// Connections.
        clients: u64,
        /// Users, anonymous ones together as one.
        users: u64,
    },
}

/// Why an operation failed. `label` is the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackplaneError {
    /// The queue to the backplane is full; the operation was not carried out.
    #[error("the backplane's queue is full")]
    Busy,
    /// No connection to the backplane; the operation was not carried out.
    #[error("the backplane is out of reach")]
    Unavailable,
    /// The connection broke or time ran out before the answer: the operation may have been carried out.
    #[error("the backplane did not answer")]
    Unanswered,
    /// `since` names an epoch that is over, or a place that is trimmed away.
    #[error("the stream no longer holds that position")]
    UnrecoverablePosition,
    /// The answer would be larger than asked for.
    #[error("the answer is too large")]
    TooLarge,
}

/// What subscribers of a channel are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A publication.
    Publication(Arc<Publication>),
    /// A client entered.
    Join(Arc<ClientInfo>),
    /// A client left.
    Leave(Arc<ClientInfo>),
    /// Publications may be missing; every subscriber has to subscribe again from where it is.
    Discontinued,
}

/// One item of a shard's queue from the backplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// An operation of this shard is done.
    Completed {
        /// The connection that waits for it.
        connection: ConnectionKey,
        /// Its request.
        request: RequestId,
        /// What came of it.
        result: Result<Outcome, BackplaneError>,
    },
    /// Something happened in a channel this shard has subscribed to.
    Delivered {
        /// The channel.
        channel: Arc<str>,
        /// What happened.
        message: Message,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ChannelOptions, History};

    #[test]
    fn a_channel_that_keeps_history_is_on_the_log_and_any_other_on_the_bus() {
        let publish = || Publish {
            channel: "c".into(),
            payload: Payload::Text("text".into()),
            info: None,
            sender: None,
            idempotency_key: None,
        };
        let since = || Some(StreamPosition { epoch: "e".into(), offset: 7 });
        let retention = Retention::of(&ChannelOptions { history: None, ..ChannelOptions::default() });
        let ops = [Op::subscribe("c".into(), retention, since(), 9), Op::publish(publish(), retention)];
        let expected = [BusOp::Subscribe { channel: "c".into() }, BusOp::Publish(publish())];
        assert_eq!(ops, expected.map(Op::Bus));
        let history = Some(History { size: 3, ttl_seconds: 60 });
        let retention = Retention::of(&ChannelOptions { history, ..ChannelOptions::default() });
        let ops = [Op::subscribe("c".into(), retention, since(), 9), Op::publish(publish(), retention)];
        let retention = Retention { size: 3, ttl: std::time::Duration::from_secs(60) };
        let follow = LogOp::Follow { channel: "c".into(), since: since(), limit: 9 };
        assert_eq!(ops, [follow, LogOp::Append { publish: publish(), retention }].map(Op::Log));
    }
}
