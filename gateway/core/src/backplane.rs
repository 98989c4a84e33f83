//! What sessions ask of the backplane, and what comes back: the vocabulary between shards and whichever backplane serves them.
//!
//! Contract of every backplane. Each shard has one queue of [`Inbound`]; completions and deliveries of a channel arrive on it in
//! sequence: after `Subscribed { position, .. }` the shard receives every publication of the channel with a higher offset, once and
//! in order, and none up to `position.offset`. When that cannot be kept any more (a lost epoch, a trimmed gap) the shard receives
//! [`Message::Discontinued`] instead, and no publication of the channel until it subscribes again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    config::History,
    key::{ConnectionKey, RequestId},
};

/// What the fixed part of an operation, a publication or a client holds in memory, its place in a queue included.
const FIXED: usize = 256;

/// A place in a channel's stream. Offsets count from 1 within an epoch; an epoch ends when the stream is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPosition {
    /// Opaque name of the stream's life; two positions compare only within one epoch. A channel that nothing was published to has a
    /// [`crate::provisional::ProvisionalEpoch`], which stays good in the stream that begins after it.
    pub epoch: Arc<str>,
    /// Offset of the last publication at this place; 0 before the first.
    pub offset: u64,
}

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
pub struct Origin {
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
    pub origin: Option<Origin>,
}

/// How much of a channel's stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Publications kept at most; at least 1.
    pub size: u32,
    /// Time since the last publication after which the stream is dropped.
    pub ttl: Duration,
}

impl From<History> for Retention {
    fn from(history: History) -> Self {
        Self { size: history.size, ttl: Duration::from_secs(history.ttl_seconds.into()) }
    }
}

/// An operation on the backplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Starts deliveries of a channel to this shard (once per shard, however many subscribers) and reads what `since` missed.
    /// Completes with [`Outcome::Subscribed`].
    Subscribe {
        /// The channel.
        channel: Arc<str>,
        /// Whether the channel keeps a stream: its position is then in the answer.
        retention: Option<Retention>,
        /// Where the client left off, when it asks for recovery.
        since: Option<StreamPosition>,
        /// Publications recovered at most; with more missed, or more bytes than the backplane reads at once, nothing is recovered.
        limit: u32,
    },
    /// Ends the deliveries that `Subscribe` started; the last subscriber of the shard is gone. Changes nothing where there are none.
    Release {
        /// The channel.
        channel: Arc<str>,
    },
    /// Appends to the stream (when the channel keeps one) and delivers to every subscriber of every node.
    /// Completes with [`Outcome::Published`].
    Publish {
        /// The channel.
        channel: Arc<str>,
        /// The body.
        payload: Payload,
        /// Who publishes.
        info: Option<ClientInfo>,
        /// Only of raw messages.
        origin: Option<Origin>,
        /// How much of the stream to keep.
        retention: Option<Retention>,
        /// A second publish with the same key and channel within five minutes returns the first one's position and delivers nothing.
        idempotency_key: Option<Arc<str>>,
    },
    /// Reads the stream. Completes with [`Outcome::History`].
    History {
        /// The channel.
        channel: Arc<str>,
        /// How much of the stream is kept.
        retention: Retention,
        /// Exclusive start; from the oldest (or newest, when `reverse`) when absent.
        since: Option<StreamPosition>,
        /// Publications returned at most; 0 asks for the position alone.
        limit: u32,
        /// Their bytes at most, as [`Publication::bytes`] counts them, unless it is a single one; the backplane may return fewer.
        bytes: u32,
        /// Newest first.
        reverse: bool,
    },
    /// Makes a client present in a channel, and tells its subscribers when `announce`.
    Enter {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        info: ClientInfo,
        /// Deliver [`Message::Join`].
        announce: bool,
    },
    /// Ends a client's presence. With `grace` the end waits that long, so that a moved client's user is never absent in between; a
    /// client that enters again in the meantime stays.
    Leave {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        info: ClientInfo,
        /// Deliver [`Message::Leave`].
        announce: bool,
        /// How long to wait; zero for a client that said goodbye.
        grace: Duration,
    },
    /// Reads who is present. Completes with [`Outcome::Presence`].
    Presence {
        /// The channel.
        channel: Arc<str>,
        /// Bytes of the clients at most, as [`ClientInfo::bytes`] counts them; with more the operation is refused.
        limit: u32,
    },
    /// Counts who is present. Completes with [`Outcome::PresenceStats`].
    PresenceStats {
        /// The channel.
        channel: Arc<str>,
    },
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
    fn bytes(&self) -> usize {
        match self {
            Self::Subscribed { publications, .. } | Self::History { publications, .. } => {
                publications.iter().map(|publication| publication.bytes()).sum()
            }
            Self::Presence { clients } => clients.iter().map(ClientInfo::bytes).sum(),
            Self::Published { .. } | Self::PresenceStats { .. } | Self::Done => 0,
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

impl Op {
    /// What it holds in memory until it is completed, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let (channel, more) = match self {
            Self::Publish { channel, payload, info, idempotency_key, .. } => {
                let key = idempotency_key.as_ref().map_or(0, |key| key.len());
                (channel, payload.len() + info.as_ref().map_or(0, ClientInfo::bytes) + key)
            }
            Self::Enter { channel, info, .. } | Self::Leave { channel, info, .. } => (channel, info.bytes()),
            Self::Subscribe { channel, .. }
            | Self::Release { channel }
            | Self::History { channel, .. }
            | Self::Presence { channel, .. }
            | Self::PresenceStats { channel } => (channel, 0),
        };
        FIXED + channel.len() + more
    }
}

/// What a completed operation yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Deliveries follow from here on.
    Subscribed {
        /// The stream's position, when the channel keeps one; deliveries start right after it.
        position: Option<StreamPosition>,
        /// What `since` missed, in order; empty unless `recovered`.
        publications: Vec<Arc<Publication>>,
        /// Everything after `since` is in `publications`. False when `since` was absent or its gap could not be filled.
        recovered: bool,
    },
    /// Stored and on its way.
    Published {
        /// Its place, when the channel keeps a stream.
        position: Option<StreamPosition>,
    },
    /// A part of the stream.
    History {
        /// The stream's last position.
        position: StreamPosition,
        /// What was asked for, in the order asked for.
        publications: Vec<Arc<Publication>>,
    },
    /// The clients present, each once.
    Presence {
        /// In order of their client ids.
        clients: Vec<ClientInfo>,
    },
    /// How many are present.
    PresenceStats {
        /// Connections.
        clients: u64,
        /// Users, anonymous ones together as one.
        users: u64,
    },
    /// `Release`, `Enter` and `Leave` yield nothing.
    Done,
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
