//! What one turn of a shard sends: frames in order, and for each socket a chain of those that it gets.

use std::mem;

use bytes::Bytes;

use super::held::{Frame, Held};
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
    /// The same socket's next place; of the last one the first.
    next: u32,
}

impl Turn {
    /// Adds a frame to the chain that ends at the place `tail`, if there is one; its own place, which is the end now.
    pub(super) fn add(&mut self, frame: &Bytes, tail: u32) -> u32 {
        let index = self.places.len() as u32;
        let last = self.places.get_mut(tail as usize);
        let next = last.map_or(index, |last| mem::replace(&mut last.next, index));
        let is_last = |last: &Frame| last.bytes.as_ptr() == frame.as_ptr() && last.bytes.len() == frame.len();
        if !self.frames.last().is_some_and(is_last) {
            self.bytes += frame.len();
            self.frames.push(Frame::new(frame.clone()));
        }
        self.places.push(Place { frame: self.frames.len() as u32 - 1, next });
        index
    }

    /// Whether it has to be written before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES || self.places.len() >= PLACES
    }

    /// Puts the frames of the chain that ends at `tail` into `run`; how many they are.
    pub(super) fn gather(&self, tail: u32, run: &mut OutQueue) -> u64 {
        let mut count = 0;
        for frame in chain(&self.places, tail) {
            run.push(self.frames[frame as usize].bytes.clone());
            count += 1;
        }
        count
    }

    /// The end of that chain stays in a socket's queue, which holds nothing else.
    pub(super) fn hold(&mut self, tail: u32, queue: &mut OutQueue, held: &Held) {
        let taken = chain(&self.places, tail).count() - queue.len();
        held.hold(queue, chain(&self.places, tail).skip(taken), &mut self.frames);
    }

    /// Everything is written, or waits elsewhere.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.frames.clear();
        self.bytes = 0;
    }
}

/// Indices of the frames of the chain that ends at `tail`, in order.
fn chain(places: &[Place], tail: u32) -> impl Iterator<Item = u32> {
    let after = |index: u32| places.get(index as usize);
    let mut next = after(tail).map(|last| last.next);
    std::iter::from_fn(move || {
        let index = next?;
        let place = after(index)?;
        next = (index != tail).then_some(place.next);
        Some(place.frame)
    })
}
