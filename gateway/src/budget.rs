//! Bytes that many may hold together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A number of bytes, shared by all threads; on a cache line of its own, since many are counted beside each other.
#[derive(Debug)]
#[repr(align(64))]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
}

/// What one holder has of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    of: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Nobody holds anything of it.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0) })
    }

    /// What all holders have together.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Whether holders have more than there is: some are given theirs in any case.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.held() > self.limit
    }

    /// Whether so many bytes more would leave less than a quarter.
    #[must_use]
    pub fn is_scarce(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) > self.limit / 4 * 3
    }

    /// Takes a share in any case.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: usize) -> Charge {
        self.add(bytes);
        Charge { of: self.clone(), bytes }
    }

    /// Takes a share that there may not be enough for.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let mut charge = Charge { of: self.clone(), bytes: 0 };
        charge.try_grow(bytes).then_some(charge)
    }

    /// Counts bytes that are given back by [`Budget::sub`]; how many are held with them.
    pub(crate) fn add(&self, bytes: usize) -> usize {
        self.held.fetch_add(bytes, Relaxed).saturating_add(bytes)
    }

    /// Gives bytes back; whether with them holders had more than there is.
    pub(crate) fn sub(&self, bytes: usize) -> bool {
        self.held.fetch_sub(bytes, Relaxed) > self.limit
    }
}

impl Charge {
    /// Takes so many bytes more, if they are there.
    #[must_use]
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let fits = self.of.add(bytes) <= self.of.limit;
        if fits {
            self.bytes += bytes;
        } else {
            self.of.sub(bytes);
        }
        fits
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.of.sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_and_no_more_than_there_is_can_be_had() {
        let budget = Budget::new(10);
        let mut first = budget.try_take(6).unwrap();
        assert!(budget.try_take(5).is_none());
        let mut second = budget.try_take(4).unwrap();
        assert_eq!([first.try_grow(1), second.try_grow(0)], [false, true], "what was refused holds nothing");
        drop(first);
        assert_eq!(
            [second.try_grow(6), second.try_grow(1), second.try_grow(usize::MAX)],
            [true, false, false]
        );
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn who_takes_a_share_in_any_case_leaves_none_to_those_who_ask() {
        let budget = Budget::new(100);
        let asked = budget.try_take(60);
        let forced = budget.take(41);
        assert!(budget.is_exceeded() && budget.try_take(0).is_none());
        drop((asked, forced));
        assert!(!budget.is_exceeded() && budget.try_take(100).is_some());
    }
}
