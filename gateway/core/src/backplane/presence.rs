//! What presence is asked: to know the clients in each channel, on whichever node they are, and to tell of those that come and go.

use std::{sync::Arc, time::Duration};

use super::ClientInfo;

/// An operation on presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceOp {
    /// Makes a client present in a channel, and tells its subscribers when `announce`. Completes with [`super::Outcome::Done`].
    Enter {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        info: ClientInfo,
        /// Deliver [`super::Message::Join`].
        announce: bool,
    },
    /// Ends a client's presence. With `grace` the end waits that long, so that a moved client's user is never absent in between; a
    /// client that enters again in the meantime stays. Completes with [`super::Outcome::Done`].
    Leave {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        info: ClientInfo,
        /// Deliver [`super::Message::Leave`].
        announce: bool,
        /// How long to wait; zero for a client that said goodbye.
        grace: Duration,
    },
    /// Reads who is present. Completes with [`super::Outcome::Listed`].
    List {
        /// The channel.
        channel: Arc<str>,
        /// Bytes of the clients at most, as [`ClientInfo::bytes`] counts them; with more the operation is refused.
        limit: u32,
    },
    /// Counts who is present. Completes with [`super::Outcome::Counted`].
    Count {
        /// The channel.
        channel: Arc<str>,
    },
}

impl PresenceOp {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Enter { channel, info, .. } | Self::Leave { channel, info, .. } => {
                channel.len() + info.bytes()
            }
            Self::List { channel, .. } | Self::Count { channel } => channel.len(),
        }
    }
}
