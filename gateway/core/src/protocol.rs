//! What a connection speaks: a state machine that is given whole messages and gives whole messages, whatever carries them.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    backplane::{BackplaneError, Outcome},
    frame::Inflated,
    hub::ChannelId,
    key::{ConnectionKey, RequestId},
    shard::{broadcast::Broadcast, heartbeat::Heartbeat, link::Link},
    token::CheckedToken,
    transport::{Goodbye, Transport},
};

/// A whole message from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> From<&'a Inflated> for Received<'a> {
    fn from(message: &'a Inflated) -> Self {
        match message {
            Inflated::Text(text) => Self::Text(text),
            Inflated::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// What a connection is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Centrifuge,
    Raw,
}

/// Why the gateway ends a connection, when its protocol has no say in whether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client is sent elsewhere.
    Moved,
    /// The client reads too slowly, or what is held for it is needed.
    Slow,
    /// The client has sent several times what it may for too long.
    Flood,
}

/// What the end of a connection says about its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It said goodbye.
    ForGood,
    /// It may be on its way to another connection.
    MayReturn,
}

/// One connection's protocol. Whatever returns a [`Goodbye`] ends the connection, and [`Protocol::end`] is called.
pub(crate) trait Protocol: fmt::Debug {
    fn kind(&self) -> Kind;

    /// How its clients are told that the connection ends.
    fn goodbye(&self, cause: Cause) -> Goodbye;

    /// How long after its opening the connection's timer fires first.
    fn first_wake(&self, link: &Link<'_>) -> Duration;

    /// Handles a message.
    fn receive(&mut self, message: Received<'_>, link: &mut Link<'_>) -> Result<(), Goodbye>;

    /// Takes a completion; one that nothing waits for any more is of no interest.
    fn complete(
        &mut self,
        request: RequestId,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye>;

    /// A token that the client brought has been checked.
    fn checked(&mut self, _: CheckedToken) {}

    /// What this client, the connection `key`, is sent of something that happened in a channel it is in.
    fn push<'b>(
        &mut self,
        broadcast: &'b mut Broadcast<'_>,
        key: ConnectionKey,
        transport: Transport,
    ) -> Option<&'b Bytes>;

    /// Publications of a channel it is in may be missing.
    fn discontinued(
        &mut self,
        channel: ChannelId,
        name: &Arc<str>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye>;

    /// Handles the connection's timer. Returns the time until the next one.
    fn beat(&mut self, heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye>;

    /// Whether the client holds what the policy in force does not give it, or lacks what it does.
    fn is_outdated(&self, link: &Link<'_>) -> bool;

    /// Adapts what the client holds to the policy in force.
    fn adapt(&mut self, link: &mut Link<'_>) -> Result<(), Goodbye>;

    /// Whether the backplane has answered everything that the client asked for.
    fn is_settled(&self) -> bool;

    /// Whether so much of what the client asked for, its subscriptions aside, waits for the backplane.
    fn is_waiting_for(&self, count: usize) -> bool;

    /// Leaves every channel; nothing is said to the client any more.
    fn end(&mut self, parting: Parting, link: &mut Link<'_>);
}
