//! What one turn of a shard sends: frames in order, and for each socket a chain of those that it gets.

use bytes::Bytes;

use super::{
    held::{Frame, Held},
    link::NONE,
};
use crate::outbound::OutQueue;

/// What one turn may collect before it is written, whatever else waits: bytes of frames that differ, and places that they go to. The
/// more messages a socket gets at once, the less each costs, so these are bounds on memory and nothing else.
const BYTES: usize = 1024 * 1024;
const PLACES: usize = 512 * 1024;

/// The frames of a turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// In order; those of a socket are chained.
    places: Vec<Place>,
    /// The frames themselves: one that goes to many in a row is here once.
    frames: Vec<Frame>,
    bytes: usize,
}

/// Where a frame goes.
#[derive(Debug)]
struct Place {
    /// Index into the turn's frames.
    frame: u32,
    /// The same socket's next place.
    next: u32,
}

impl Turn {
    /// Adds a frame behind the place `tail`, if there is one; its own place.
    pub(super) fn add(&mut self, frame: &Bytes, tail: u32) -> u32 {
        let index = self.places.len() as u32;
        if tail != NONE {
            self.places[tail as usize].next = index;
        }
        let is_last = |last: &Frame| last.bytes.as_ptr() == frame.as_ptr() && last.bytes.len() == frame.len();
        if !self.frames.last().is_some_and(is_last) {
            self.bytes += frame.len();
            self.frames.push(Frame::new(frame.clone()));
        }
        self.places.push(Place { frame: self.frames.len() as u32 - 1, next: NONE });
        index
    }

    /// Whether it has to be written before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES || self.places.len() >= PLACES
    }

    /// Puts the frames of the chain that begins at `head` into `run`; how many they are.
    pub(super) fn gather(&self, head: u32, run: &mut OutQueue) -> u64 {
        let mut index = head;
        let mut count = 0;
        while index != NONE {
            let place = &self.places[index as usize];
            run.push(self.frames[place.frame as usize].bytes.clone());
            index = place.next;
            count += 1;
        }
        count
    }

    /// Bytes of that chain.
    pub(super) fn bytes(&self, head: u32) -> usize {
        chain(&self.places, head).map(|frame| self.frames[frame as usize].bytes.len()).sum()
    }

    /// The end of that chain stays in a socket's queue, which holds nothing else.
    pub(super) fn hold(&mut self, head: u32, queue: &mut OutQueue, held: &Held) {
        let taken = chain(&self.places, head).count() - queue.len();
        held.hold(queue, chain(&self.places, head).skip(taken), &mut self.frames);
    }

    /// Everything is written, or waits elsewhere.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.frames.clear();
        self.bytes = 0;
    }
}

/// Indices of the frames of the chain that begins at `head`.
fn chain(places: &[Place], head: u32) -> impl Iterator<Item = u32> {
    let places = std::iter::successors(places.get(head as usize), |place| places.get(place.next as usize));
    places.map(|place| place.frame)
}
