//! What is on its way to Redis, and what its replies are for.

use std::sync::Arc;

use gateway_core::sequencer::Generation;
use redis::Cmd;

use super::requests::History;
use crate::backplane::{Reply, departures::Departure};

/// A command and what its reply is for.
pub(super) struct Request {
    pub(super) command: Cmd,
    pub(super) pending: Pending,
}

/// What a reply is for.
pub(super) enum Pending {
    Publish(Reply),
    /// A batch of publishes to a channel.
    Append(Arc<str>, Vec<Reply>),
    History(Reply, History),
    Presence(Reply),
    /// A read of the sequencer's.
    Page(Arc<str>, Generation),
    /// A new epoch for the sequencer.
    Rotation(Arc<str>, Generation),
    Leave(Departure),
    /// The nodes whose lease is over.
    Lease,
    /// The channels of a dead node.
    Remains(String),
    /// A script is loaded.
    Script,
    /// Nobody asks.
    Ignored,
}

/// What the next confirmation on the connection for live messages is for.
pub(super) enum Ack {
    Registered(Arc<str>, Generation),
    Unregistered,
    /// A canary would be heard.
    Canary,
}
