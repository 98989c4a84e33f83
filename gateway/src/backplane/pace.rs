//! How fast what can wait is done: so much at once, and then so much per second.

use std::time::{Duration, Instant};

/// What is used up (generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// What may be done at once, as time.
    at_once: Duration,
    /// When what was done is paid for.
    paid_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(at_once: u32, per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self { interval, at_once: interval * at_once, paid_until: None }
    }

    /// Whether one more may be done now; it is counted then.
    pub(super) fn may(&mut self, now: Instant) -> bool {
        let may = self.next(now) <= now;
        if may {
            self.charge(1, now);
        }
        may
    }

    /// Counts what was done in any case.
    pub(super) fn charge(&mut self, count: u32, now: Instant) {
        self.paid_until = Some(self.paid_until(now) + self.interval * count);
    }

    /// When one more may be done.
    pub(super) fn next(&self, now: Instant) -> Instant {
        (self.paid_until(now) + self.interval).checked_sub(self.at_once).map_or(now, |next| next.max(now))
    }

    /// When everything is paid for.
    pub(super) fn paid_until(&self, now: Instant) -> Instant {
        self.paid_until.map_or(now, |paid| paid.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_may_be_done_at_once_and_then_so_much_per_second_and_what_is_done_in_any_case_is_made_up_for() {
        let (mut pace, start) = (Pace::new(10, 100), Instant::now());
        let done = |pace: &mut Pace, milliseconds| {
            let now = start + Duration::from_millis(milliseconds);
            std::iter::repeat_with(|| pace.may(now)).take_while(|may| *may).count()
        };
        assert_eq!([0, 5, 10, 110, 5_000].map(|at| done(&mut pace, at)), [10, 0, 1, 10, 10]);
        pace.charge(100, start + Duration::from_secs(5));
        assert_eq!([5_999, 6_010].map(|at| done(&mut pace, at)), [0, 1]);
    }
}
