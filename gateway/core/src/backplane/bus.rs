//! What a bus is asked: to bring what happens in a channel to whoever is there, and to keep nothing.

use std::sync::Arc;

use super::Publish;

/// An operation on the bus. Completes with [`super::Outcome::Done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusOp {
    /// Starts deliveries of a channel to this shard, once per shard, however many subscribers.
    Subscribe {
        /// The channel.
        channel: Arc<str>,
    },
    /// Ends the deliveries of a channel to this shard, however they were started; the last subscriber of the shard is gone. Changes
    /// nothing where there are none.
    Release {
        /// The channel.
        channel: Arc<str>,
    },
    /// Delivers to every subscriber of every node.
    Publish(Publish),
}

impl BusOp {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Subscribe { channel } | Self::Release { channel } => channel.len(),
            Self::Publish(publish) => publish.bytes(),
        }
    }
}
