//! Who has yet to be held against a policy that has been exchanged, and how fast those are told that lose something by it.

use std::{ops::Range, time::Duration};

use crate::drain::Pacer;

/// Connections looked at in one go; most of them lose nothing.
pub(super) const LOOKS: usize = 256;

/// The way through a shard's connections after an exchange.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    /// Slots that are still to be looked at.
    slots: Range<usize>,
    pacer: Pacer,
    /// Monotonic time at which the way goes on.
    resumes: Duration,
}

impl Outdated {
    /// Looks at the first `slots`, and lets at most `rate` connections per second lose something.
    pub(super) fn begin(&mut self, slots: usize, rate: f64, now: Duration) {
        self.slots = 0..slots;
        self.pacer.steer(rate, Duration::MAX, now);
        self.resumes = now;
    }

    /// The slot to look at, if one is due by now.
    pub(super) fn slot(&self, now: Duration) -> Option<usize> {
        (!self.slots.is_empty() && self.resumes <= now).then_some(self.slots.start)
    }

    /// Whether one more may lose something now; otherwise it is its turn later.
    pub(super) fn may_lose(&mut self, now: Duration) -> bool {
        let count = self.pacer.due(now, 1);
        self.pacer.closed(count, now);
        if count == 0 {
            self.resumes = now + self.pacer.next(now);
        }
        count > 0
    }

    /// That slot is done.
    pub(super) fn done(&mut self) {
        self.slots.start += 1;
    }

    /// When the way goes on, as monotonic time.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        (!self.slots.is_empty()).then_some(self.resumes)
    }
}
