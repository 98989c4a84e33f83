//! Keeps the contract of [`crate::backplane`] for all shards of one node, whatever pub/sub drops, repeats or delays.
//!
//! Per channel with a stream it knows the last publication handed to the shards. A live message right after it is delivered; any
//! other doubt (a gap, another epoch, a new connection) is settled by reading the stream, never by guessing: what the read shows to
//! be missing is delivered in order, and what it cannot show any more discontinues the channel. A channel has one read under way at
//! most, and it serves every subscriber that waits, so a wave of reconnects costs the store a few reads.
//!
//! Each publication carries a random tag. Two publications with one offset but different tags mean that the store lost the end of
//! its stream and counts again from an earlier offset; the epoch is then replaced before subscribers are told. So that tags can be
//! compared, a store keeps one publication more than it is asked to.
//!
//! A channel that nothing was published to has no stream yet, only a [`ProvisionalEpoch`]: its first publication turns that into the
//! stream's own, and positions in it stay good.
//!
//! What is read and held for one channel is bounded in bytes. Of more than a client can be sent at once nothing is recovered; what the
//! node itself missed is read page by page.
//!
//! Channels without a stream have nothing to be read: after live messages were cut off they are discontinued, once they arrive again.

mod channel;
mod shard_set;
mod stream;
mod window;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use shard_set::ShardSet;

use self::channel::{Channel, Waiting};
use crate::{
    backplane::{BackplaneError, Message, Outcome, Publication, StreamPosition},
    provisional::ProvisionalEpoch,
};

/// How long a store keeps a stream's position beyond its publications, so that a client that comes back late learns whether it missed
/// something.
pub const POSITION_OUTLIVES: Duration = Duration::from_secs(30 * 24 * 3600);

/// Bytes of live messages that are held at most, of all channels together; more are let go and read again.
const HELD_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of publications that are read or held for a channel at once, unless told otherwise.
const PAGE_BYTES: usize = 1024 * 1024;

/// Identifies a subscribe whose completion is awaited; chosen by the caller.
pub type Ticket = u64;

/// Tells apart the registrations of one channel; an answer that belongs to an earlier one is ignored.
pub type Generation = u64;

/// A publication of a stream, and the random number it was stored with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Drawn for each publish.
    pub tag: u64,
    /// Its offset is its place in the stream.
    pub publication: Arc<Publication>,
}

/// What a read of a stream found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The stream's last position; at 0 in a provisional epoch where there is no stream.
    pub top: StreamPosition,
    /// The channel's provisional epoch when the stream began, unless it replaced another stream.
    pub began: Option<ProvisionalEpoch>,
    /// Tag of the publication at `top`; 0 when there never was one.
    pub tag: u64,
    /// What is left of the range asked for, ascending.
    pub entries: Vec<Entry>,
}

impl Page {
    /// Whether an epoch is the stream's, or the provisional one that it had before.
    #[must_use]
    pub fn is_of(&self, epoch: &str) -> bool {
        let continues = |(began, known): (ProvisionalEpoch, _)| began.continues(known, POSITION_OUTLIVES);
        *self.top.epoch == *epoch
            || self.provisional().zip(ProvisionalEpoch::parse(epoch)).is_some_and(continues)
    }

    /// The provisional epoch that came before the stream's, or is it; none where the stream replaced another.
    fn provisional(&self) -> Option<ProvisionalEpoch> {
        self.began.or_else(|| ProvisionalEpoch::parse(&self.top.epoch))
    }
}

/// Parts of a stream to be read: what came up to a place and what follows it. Answered by [`Sequencer::page`] or
/// [`Sequencer::read_failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The channel.
    pub channel: Arc<str>,
    /// Handed back with the answer.
    pub generation: Generation,
    /// Which parts.
    pub range: Range,
    /// Bytes of publications that either part has at most, unless it is a single one.
    pub bytes: usize,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The place; the stream's end when absent.
    pub pivot: Option<u64>,
    /// First offset of what came up to it.
    pub from: u64,
    /// Entries up to it at most: the last ones.
    pub up_to: u32,
    /// Entries after it at most: the first ones.
    pub after: u32,
}

/// What the caller has to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Subscribe to the channel's live messages; answer with [`Sequencer::registered`].
    Register {
        /// The channel.
        channel: Arc<str>,
        /// Handed back with the answer.
        generation: Generation,
    },
    /// Live messages of the channel are no longer needed.
    Unregister {
        /// The channel.
        channel: Arc<str>,
    },
    /// Read a stream.
    Read(Read),
    /// Replace the stream's epoch if it still is `epoch`, and keep its publications; answer with [`Sequencer::rotated`] or
    /// [`Sequencer::read_failed`].
    Rotate {
        /// The channel.
        channel: Arc<str>,
        /// Handed back with the answer.
        generation: Generation,
        /// The epoch that is over.
        epoch: Arc<str>,
    },
    /// Put a message into the queues of these shards.
    Deliver {
        /// The channel.
        channel: Arc<str>,
        /// Whose queues.
        shards: ShardSet,
        /// What happened.
        message: Message,
    },
    /// Complete a subscribe, in the same queue.
    Complete {
        /// Which one.
        ticket: Ticket,
        /// What came of it.
        result: Result<Outcome, BackplaneError>,
    },
}

/// A subscribe of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Names its completion.
    pub ticket: Ticket,
    /// Who subscribes.
    pub shard: u16,
    /// What is wanted of the channel's stream, if it keeps one.
    pub follow: Option<Follow>,
}

/// From where on a stream is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Where the client left off.
    pub since: Option<StreamPosition>,
    /// Publications recovered at most.
    pub limit: u32,
}

/// The channels of one node. Every method may leave effects for [`Sequencer::take_effects`].
#[derive(Debug)]
pub struct Sequencer {
    channels: BTreeMap<Arc<str>, Channel>,
    effects: Vec<Effect>,
    generation: Generation,
    connected: bool,
    page_bytes: usize,
    held_bytes: usize,
}

impl Default for Sequencer {
    fn default() -> Self {
        Self::new(PAGE_BYTES)
    }
}

impl Sequencer {
    /// A node without channels. `page_bytes` are the bytes of publications that are read or held for a channel at once, and so those
    /// that a client is given when it comes back.
    #[must_use]
    pub fn new(page_bytes: usize) -> Self {
        Self {
            channels: BTreeMap::new(),
            effects: Vec::new(),
            generation: 0,
            connected: false,
            page_bytes: page_bytes.max(1),
            held_bytes: 0,
        }
    }

    /// What is to be done now.
    #[must_use]
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Channels that someone is subscribed to, or about to be.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Bytes of live messages that are held until what comes before them is read, of all channels.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether every channel is registered and no publication of it is known to be missing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.connected && self.channels.values().all(Channel::is_settled)
    }

    /// Live messages can be subscribed to (again): registers every channel.
    pub fn connected(&mut self) {
        self.connected = true;
        self.held_bytes = 0;
        for (name, channel) in &mut self.channels {
            self.generation += 1;
            channel.register(name, self.generation, &mut self.effects);
        }
    }

    /// Live messages may have been lost from here on.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.held_bytes = 0;
        self.channels.values_mut().for_each(Channel::lose);
    }

    /// A shard subscribes.
    pub fn subscribe(&mut self, name: &Arc<str>, subscribe: Subscribe) {
        if !self.channels.contains_key(name) {
            let mut channel = Channel::new(self.page_bytes);
            if self.connected {
                self.generation += 1;
                channel.register(name, self.generation, &mut self.effects);
            }
            self.channels.insert(name.clone(), channel);
        }
        self.with(name, |_, channel, _| channel.waiting.push(Waiting::new(subscribe)));
    }

    /// Gives up a subscribe; false when it is completed already.
    pub fn cancel(&mut self, name: &str, ticket: Ticket) -> bool {
        let mut cancelled = false;
        self.with(name, |_, channel, _| {
            let before = channel.waiting.len();
            channel.waiting.retain(|waiting| waiting.subscribe.ticket != ticket);
            cancelled = channel.waiting.len() < before;
        });
        cancelled
    }

    /// A shard needs the channel no more. Its subscribes under way, which nobody waits for then, fail.
    pub fn release(&mut self, name: &str, shard: u16) {
        self.with(name, |_, channel, effects| {
            channel.interest.remove(shard);
            let given_up = channel.waiting.extract_if(.., |waiting| waiting.subscribe.shard == shard);
            effects.extend(given_up.map(|waiting| Effect::Complete {
                ticket: waiting.subscribe.ticket,
                result: Err(BackplaneError::Unavailable),
            }));
        });
    }

    /// Live messages of the channel arrive from here on.
    pub fn registered(&mut self, name: &str, generation: Generation) {
        self.with(name, |name, channel, effects| {
            if channel.generation == generation {
                channel.registered(name, effects);
            }
        });
    }

    /// A live message of a stream.
    pub fn live(&mut self, name: &str, epoch: &Arc<str>, entry: Entry) {
        let room = HELD_BYTES.saturating_sub(self.held_bytes);
        self.with(name, |name, channel, effects| channel.live(name, epoch, entry, room, effects));
    }

    /// A live message that has no place in a stream.
    pub fn pass(&mut self, name: &str, message: Message) {
        if let Some((name, channel)) = self.channels.get_key_value(name) {
            channel::deliver(name, channel.interest, message, &mut self.effects);
        }
    }

    /// A read is done.
    pub fn page(&mut self, name: &str, generation: Generation, page: Page) {
        self.with(name, |name, channel, effects| {
            if channel.generation == generation {
                channel.page(name, page, effects);
            }
        });
    }

    /// An epoch is replaced.
    pub fn rotated(&mut self, name: &str, generation: Generation) {
        self.with(name, |name, channel, effects| {
            if channel.generation == generation {
                channel.discontinue(name, effects);
            }
        });
    }

    /// A read or a rotation failed; it is repeated after [`Sequencer::retry`].
    pub fn read_failed(&mut self, name: &str, generation: Generation) {
        if let Some(channel) = self.channels.get_mut(name).filter(|channel| channel.generation == generation)
        {
            channel.stall();
        }
    }

    /// Streams can be read (again).
    pub fn retry(&mut self) {
        let stalled = self.channels.iter_mut().filter_map(|(name, c)| c.resume().then(|| name.clone()));
        for name in stalled.collect::<Vec<_>>() {
            self.with(&name, |_, _, _| {});
        }
    }

    /// Changes a channel, then does what follows from the change.
    fn with(&mut self, name: &str, change: impl FnOnce(&Arc<str>, &mut Channel, &mut Vec<Effect>)) {
        let Some((name, _)) = self.channels.get_key_value(name) else { return };
        let name = name.clone();
        let Some(channel) = self.channels.get_mut(&name) else { return };
        let held = channel.held_bytes();
        change(&name, channel, &mut self.effects);
        channel.advance(&name, &mut self.effects);
        self.held_bytes = self.held_bytes + channel.held_bytes() - held;
        if channel.is_unused() {
            self.held_bytes -= channel.held_bytes();
            self.channels.remove(&name);
            if self.connected {
                self.effects.push(Effect::Unregister { channel: name });
            }
        }
    }
}
