//! What connections begin with.

use super::{echo::Echo, link::Link};
use crate::{centrifuge::session as centrifuge, protocol::Protocol, raw, token::EntryToken};

/// What a new connection speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The centrifuge protocol, JSON.
    Centrifuge,
    /// Bare messages in one channel.
    Raw {
        /// As the client names it; a [`crate::centrifuge::command::valid_channel`].
        channel: String,
        /// What its token says; absent for who showed none.
        token: Option<EntryToken>,
    },
    /// Sends every message back; for conformance suites and benchmarks.
    Echo,
}

impl Opening {
    /// Bare messages in one channel, for whoever asks for them.
    pub fn raw(channel: impl Into<String>) -> Self {
        Self::Raw { channel: channel.into(), token: None }
    }

    pub(super) fn start(self, link: &mut Link<'_>) -> Box<dyn Protocol> {
        match self {
            Self::Centrifuge => Box::new(centrifuge::Session::default()),
            Self::Raw { channel, token } => Box::new(raw::Session::open(&channel, token.as_ref(), link)),
            Self::Echo => {
                link.accepted.new += 1;
                Box::new(Echo)
            }
        }
    }
}
