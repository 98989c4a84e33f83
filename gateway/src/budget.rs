//! Bytes that many may hold together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A number of bytes, shared by all threads.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
}

/// What one holder has of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    of: Arc<Budget>,
}

impl Budget {
    /// Nobody holds anything of it.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0) })
    }

    /// A holder of nothing.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { bytes: 0, of: self.clone() }
    }
}

impl Held {
    /// Takes so many bytes more, if they are there.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let of = &self.of;
        let taken = of
            .held
            .fetch_update(Relaxed, Relaxed, |held| held.checked_add(bytes).filter(|held| *held <= of.limit));
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_and_no_more_than_there_is_can_be_had() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (budget.hold(), budget.hold());
        assert_eq!(
            [first.grow(6), second.grow(5), second.grow(4), first.grow(1)],
            [true, false, true, false]
        );
        drop(first);
        assert_eq!([second.grow(6), second.grow(1), second.grow(usize::MAX)], [true, false, false]);
        drop(second);
        assert!(budget.hold().grow(10));
    }
}
