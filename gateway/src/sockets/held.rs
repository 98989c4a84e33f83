//! Memory that frames take which sockets have not taken: each once, however many wait for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;

use crate::outbound::{FRAME_COST, OutQueue};

/// A frame of this turn.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// Some socket has not taken it, so it is counted.
    held: bool,
}

/// What waits for the sockets of one shard.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Bytes of frames; whoever lets go of one last gives it back, on the shard's thread.
    frames: Arc<AtomicUsize>,
    /// Places that they have in queues.
    places: usize,
}

/// A frame that is counted as long as it lives.
struct Counted {
    frame: Bytes,
    of: Arc<AtomicUsize>,
}

impl Frame {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, held: false }
    }
}

impl Held {
    /// Bytes of it all.
    pub(super) fn bytes(&self) -> usize {
        self.frames.load(Relaxed) + self.places * FRAME_COST
    }

    /// Frames of this turn stay with a socket, by `indices` into `frames`: the last of what was offered to it.
    pub(super) fn hold(
        &self,
        queue: &mut OutQueue,
        indices: impl Iterator<Item = u32>,
        frames: &mut [Frame],
    ) {
        for (waiting, index) in queue.frames_mut().zip(indices) {
            let Some(frame) = frames.get_mut(index as usize) else { continue };
            if !frame.held {
                frame.held = true;
                frame.bytes = self.count(&frame.bytes);
            }
            // The first of them may have lost bytes at its start.
            *waiting = frame.bytes.slice(frame.bytes.len() - waiting.len()..);
        }
    }

    /// A queue had so many places, and has so many now.
    pub(super) fn places(&mut self, before: usize, after: usize) {
        self.places = self.places + after - before;
    }

    fn count(&self, frame: &Bytes) -> Bytes {
        self.frames.fetch_add(frame.len(), Relaxed);
        Bytes::from_owner(Counted { frame: frame.clone(), of: self.frames.clone() })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.fetch_sub(self.frame.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Written;

    fn queue(frames: &[&Frame]) -> OutQueue {
        let mut queue = OutQueue::default();
        frames.iter().for_each(|frame| queue.push(frame.bytes.clone()));
        queue
    }

    #[test]
    fn a_frame_counts_once_however_many_wait_for_it_and_until_the_last_of_them_has_it() {
        let held = Held::default();
        let mut frames = [Frame::new(Bytes::from(vec![1; 1000])), Frame::new(Bytes::from(vec![2; 10]))];
        let mut queues: Vec<_> = (0..100).map(|_| queue(&[&frames[0], &frames[1]])).collect();
        for queue in &mut queues {
            held.hold(queue, [0, 1].into_iter(), &mut frames);
        }
        assert_eq!(held.bytes(), 1010);
        drop(frames);
        queues.truncate(1);
        assert_eq!(held.bytes(), 1010);
        queues.clear();
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn what_a_socket_has_of_a_frame_already_is_not_in_its_queue_again() {
        let held = Held::default();
        let mut frames = [Frame::new(Bytes::from_static(b"begun")), Frame::new(Bytes::from_static(b"next"))];
        let mut queue = queue(&[&frames[0], &frames[1]]);
        let mut socket = [0; 2];
        assert_eq!(queue.write_to(&mut &mut socket[..]).unwrap(), Written::Blocked);
        held.hold(&mut queue, [0, 1].into_iter(), &mut frames);
        let waiting: Vec<_> = queue.frames_mut().map(|frame| frame.to_vec()).collect();
        assert_eq!((socket, waiting), (*b"be", vec![b"gun".to_vec(), b"next".to_vec()]));
    }

    #[test]
    fn places_cost_by_themselves() {
        let mut held = Held::default();
        held.places(0, 3);
        held.places(3, 1);
        assert_eq!(held.bytes(), FRAME_COST);
    }
}
