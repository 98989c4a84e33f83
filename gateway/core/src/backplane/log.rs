//! What a log is asked: a stream for each channel, whose publications have places and can be read again for a while.

use std::{sync::Arc, time::Duration};

use super::{Publication, Publish};
use crate::config::ChannelOptions;

/// A place in a channel's stream. Offsets count from 1 within an epoch; an epoch ends when the stream is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPosition {
    /// Opaque name of the stream's life; two positions compare only within one epoch. A channel that nothing was published to has a
    /// [`crate::provisional::ProvisionalEpoch`], which stays good in the stream that begins after it.
    pub epoch: Arc<str>,
    /// Offset of the last publication at this place; 0 before the first.
    pub offset: u64,
}

/// How much of a channel's stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Publications kept at most; at least 1.
    pub size: u32,
    /// Time since the last publication after which the stream is dropped.
    pub ttl: Duration,
}

impl Retention {
    /// What channels with these options keep; one without is served by the bus alone.
    #[must_use]
    pub fn of(options: &ChannelOptions) -> Option<Self> {
        let history = options.history?;
        Some(Self { size: history.size, ttl: Duration::from_secs(history.ttl_seconds.into()) })
    }
}

/// An operation on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Starts deliveries of a channel to this shard right after a position, once per shard, however many subscribers, and reads what
    /// `since` missed. Ends with [`super::BusOp::Release`]. Completes with [`super::Outcome::Followed`].
    Follow {
        /// The channel.
        channel: Arc<str>,
        /// Where the client left off, when it asks for recovery.
        since: Option<StreamPosition>,
        /// Publications recovered at most; with more missed, or more bytes than the backplane reads at once, nothing is recovered.
        limit: u32,
    },
    /// Appends to the stream and delivers to every subscriber of every node. Completes with [`super::Outcome::Appended`].
    Append {
        /// What to append.
        publish: Publish,
        /// How much of the stream to keep.
        retention: Retention,
    },
    /// Reads the stream. Completes with [`super::Outcome::Read`].
    Read {
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
}

impl LogOp {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Follow { channel, .. } | Self::Read { channel, .. } => channel.len(),
            Self::Append { publish, .. } => publish.bytes(),
        }
    }
}

/// Where the deliveries of a channel start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The stream's position; deliveries start right after it.
    pub position: StreamPosition,
    /// What `since` missed, in order; empty unless `recovered`.
    pub publications: Vec<Arc<Publication>>,
    /// Everything after `since` is in `publications`. False when `since` was absent or its gap could not be filled.
    pub recovered: bool,
}
