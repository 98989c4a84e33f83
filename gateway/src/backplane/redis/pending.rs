//! What replies of Redis are for.

use std::sync::Arc;

use gateway_core::sequencer::Generation;

use super::questions::Asked;
use crate::backplane::{Waiter, departures::Departure};

/// What a reply is for.
pub(super) enum Pending {
    /// A publish that waits for no others.
    Publish(Waiter),
    /// A batch of publishes to a channel.
    Append(Arc<str>, Vec<Waiter>),
    /// What clients wait for.
    Answer(Box<Asked>),
    /// A read of the sequencer's.
    Page(Arc<str>, Generation),
    /// The id of this life of Redis's data, for the sequencer, which read of an epoch that began in another.
    Life(Arc<str>, Generation, Arc<str>),
    /// A new epoch for the sequencer.
    Rotation(Arc<str>, Generation),
    /// A client is present in a channel.
    Enter(Arc<str>, Arc<str>),
    Leave(Departure),
    /// Whether this node's lease is renewed, and the nodes whose lease is over.
    Lease,
    /// Whether a node is given up for dead.
    GiveUp(Arc<str>),
    /// Some of a dead node's channels.
    Scan(Arc<str>),
    /// Some of a dead node's clients in a channel are no longer present.
    Sweep(Arc<str>, Arc<str>),
    /// A dead node is forgotten.
    Bury(Arc<str>),
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
