//! The channels that clients are in and messages are published to.

use crate::stats::Protocol;

/// A channel. The two protocols have names of their own: the same number is not the same channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    /// Who is in it.
    pub protocol: Protocol,
    /// From 0 in each protocol.
    pub number: usize,
}

impl Channel {
    /// As the protocol names it.
    #[must_use]
    pub fn name(self) -> String {
        format!("fleet-{}", self.number)
    }

    /// Where its clients connect.
    #[must_use]
    pub fn path(self) -> String {
        match self.protocol {
            Protocol::Centrifuge => "/connection/websocket".to_owned(),
            Protocol::Raw => format!("/raw/{}", self.name()),
        }
    }
}
