//! One channel: who gets its messages, who waits for it, and its stream.

use std::sync::Arc;

use super::{
    Effect, Entry, Follow, Generation, Page, Read, ShardSet, Subscribe,
    stream::{Found, Stream},
    window::Window,
};
use crate::backplane::{Followed, Message, Outcome};

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) generation: Generation,
    registered: bool,
    pub(super) interest: ShardSet,
    pub(super) waiting: Vec<Waiting>,
    stream: Stream,
    /// Live messages were cut off, and there is no stream that would tell what was missed.
    missed: bool,
    /// A read failed; reading waits for the store.
    stalled: bool,
}

/// A subscribe that is not completed.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) subscribe: Subscribe,
    /// The read under way was issued after it came, so that read settles it.
    read: bool,
}

impl Waiting {
    pub(super) fn new(subscribe: Subscribe) -> Self {
        Self { subscribe, read: false }
    }
}

pub(super) fn deliver(name: &Arc<str>, shards: ShardSet, message: Message, effects: &mut Vec<Effect>) {
    if !shards.is_empty() {
        effects.push(Effect::Deliver { channel: name.clone(), shards, message });
    }
}

impl Channel {
    pub(super) fn new(page_bytes: usize) -> Self {
        Self {
            generation: 0,
            registered: false,
            interest: ShardSet::default(),
            waiting: Vec::new(),
            stream: Stream::new(page_bytes),
            missed: false,
            stalled: false,
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.interest.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.stream.held_bytes()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.registered && !self.stream.is_doubtful()
    }

    pub(super) fn register(&mut self, name: &Arc<str>, generation: Generation, effects: &mut Vec<Effect>) {
        self.lose();
        self.generation = generation;
        effects.push(Effect::Register { channel: name.clone(), generation });
    }

    /// Live messages may be missing from here on; answers to earlier questions say nothing about that.
    pub(super) fn lose(&mut self) {
        self.missed |= self.registered && !self.interest.is_empty() && !self.stream.has_position();
        self.registered = false;
        self.generation = 0;
        self.stalled = false;
        self.stream.doubt();
    }

    pub(super) fn registered(&mut self, name: &Arc<str>, effects: &mut Vec<Effect>) {
        self.registered = true;
        // Only now, so that those who subscribe again find a backplane that works.
        if std::mem::take(&mut self.missed) {
            self.discontinue(name, effects);
        }
    }

    pub(super) fn stall(&mut self) {
        self.stalled = true;
        self.stream.abandon_read();
    }

    pub(super) fn resume(&mut self) -> bool {
        std::mem::take(&mut self.stalled)
    }

    pub(super) fn live(
        &mut self,
        name: &Arc<str>,
        epoch: &Arc<str>,
        entry: Entry,
        room: usize,
        effects: &mut Vec<Effect>,
    ) {
        if self.stream.has_position() || self.waiting.iter().any(|waiting| waiting.subscribe.follow.is_some())
        {
            self.stream.live(epoch, entry, room);
            self.deliver_next(name, effects);
        } else {
            deliver(name, self.interest, Message::Publication(entry.publication), effects);
        }
    }

    pub(super) fn page(&mut self, name: &Arc<str>, page: Page, effects: &mut Vec<Effect>) {
        let top = page.top.offset;
        match self.stream.page(page) {
            Found::Nothing => {}
            Found::Over => self.discontinue(name, effects),
            Found::RolledBack { epoch } => {
                effects.push(Effect::Rotate { channel: name.clone(), generation: self.generation, epoch });
            }
            Found::Window(mut window) => {
                for entry in self.deliver_next(name, effects) {
                    window.push(entry);
                }
                if self.stream.is_trustworthy() {
                    self.answer(Some((&window, top)), effects);
                }
            }
        }
    }

    /// Tells the subscribers that they may have missed something, and starts anew.
    pub(super) fn discontinue(&mut self, name: &Arc<str>, effects: &mut Vec<Effect>) {
        deliver(name, self.interest, Message::Discontinued, effects);
        self.interest = ShardSet::default();
        self.stream.forget();
        self.waiting.iter_mut().for_each(|waiting| waiting.read = false);
    }

    /// Answers who can be answered, and reads what has to be known to go on.
    pub(super) fn advance(&mut self, name: &Arc<str>, effects: &mut Vec<Effect>) {
        // Who comes during a read waits for its end, so that a wave of subscribes is looked through once per read.
        if !self.registered || self.stalled || self.stream.is_reading() {
            return;
        }
        self.answer(None, effects);
        let follows = self.waiting.iter().filter_map(|waiting| waiting.subscribe.follow.as_ref());
        // A place that the stream never had says nothing about what the others miss.
        let wanted = follows.clone().filter_map(|follow| follow.since.as_ref());
        let since = wanted.filter(|since| self.stream.may_have(since)).map(|since| since.offset).min();
        let limit = follows.map(|follow| follow.limit).max();
        let needed = limit.is_some() || self.stream.has_position() && self.stream.is_doubtful();
        if !needed {
            return;
        }
        let range = self.stream.start_read(since, limit.unwrap_or(0));
        self.waiting.iter_mut().for_each(|waiting| waiting.read = true);
        effects.push(Effect::Read(Read {
            channel: name.clone(),
            generation: self.generation,
            range,
            bytes: self.stream.page_bytes(),
        }));
    }

    fn deliver_next(&mut self, name: &Arc<str>, effects: &mut Vec<Effect>) -> Vec<Entry> {
        let entries = self.stream.take_next();
        for entry in &entries {
            deliver(name, self.interest, Message::Publication(entry.publication.clone()), effects);
        }
        entries
    }

    /// Completes the subscribes that can be; a read that just ended settles all that waited for it.
    fn answer(&mut self, read: Option<(&Window, u64)>, effects: &mut Vec<Effect>) {
        let Self { waiting, interest, stream, .. } = self;
        waiting.retain_mut(|waiting| {
            let Some(outcome) = waiting.outcome(stream, read) else {
                // What a read did not settle needs another.
                waiting.read &= read.is_none();
                return true;
            };
            interest.insert(waiting.subscribe.shard);
            effects.push(Effect::Complete { ticket: waiting.subscribe.ticket, result: Ok(outcome) });
            false
        });
    }
}

impl Waiting {
    fn outcome(&self, stream: &Stream, read: Option<(&Window, u64)>) -> Option<Outcome> {
        let Some(Follow { since, limit }) = &self.subscribe.follow else { return Some(Outcome::Done) };
        let position = stream.trusted_position()?;
        let answer = |publications, recovered| {
            Some(Outcome::Followed(Followed { position: position.clone(), publications, recovered }))
        };
        let Some(since) = since else {
            return answer(Vec::new(), false);
        };
        if !stream.knows(&since.epoch) {
            // The client may know of a stream whose first message is on its way here.
            let settled = !stream.is_provisional() || self.read && read.is_some();
            return settled.then(|| answer(Vec::new(), false)).flatten();
        }
        let Some(missed) = position.offset.checked_sub(since.offset) else {
            // The client saw more than this node: what it saw is on its way here, or the client is mistaken.
            let mistaken = self.read && read.is_some_and(|(_, top)| top < since.offset);
            return mistaken.then(|| answer(Vec::new(), false)).flatten();
        };
        if missed == 0 {
            return answer(Vec::new(), true);
        }
        if missed > u64::from(*limit) {
            return answer(Vec::new(), false);
        }
        let (window, _) = read?;
        match window.after(since.offset) {
            Some(publications) => answer(publications, true),
            None if self.read => answer(Vec::new(), false),
            None => None,
        }
    }
}
