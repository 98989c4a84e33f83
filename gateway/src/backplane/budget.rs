//! What operations may hold in memory while the backplane has not answered them, all together and in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Shared by all that submit operations.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    held: Arc<AtomicUsize>,
    limit: usize,
}

/// What one operation holds; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { held: Arc::default(), limit }
    }

    /// Takes a share that there may not be enough for.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Charge> {
        let charge = self.take(bytes);
        // What this one adds beyond the limit is given back with it.
        (self.held.load(Ordering::Relaxed) <= self.limit).then_some(charge)
    }

    /// Takes a share in any case.
    pub(super) fn take(&self, bytes: usize) -> Charge {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Charge { held: self.held.clone(), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_refused_once_the_budget_is_spent_and_had_again_once_others_are_given_back() {
        let budget = Budget::new(100);
        let first = budget.try_take(60);
        assert!(first.is_some());
        assert!(budget.try_take(41).is_none());
        let second = budget.try_take(40);
        assert!(second.is_some(), "what was refused holds nothing");
        let forced = budget.take(1);
        assert!(budget.try_take(0).is_none());
        drop((first, forced));
        assert!(budget.try_take(60).is_some());
    }
}
