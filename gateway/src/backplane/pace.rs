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

/// A pace that two kinds of work have together. Where both wait they go by turns, so that neither keeps the other from being done.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedPace {
    pace: Pace,
    next: Turn,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Second,
}

impl SharedPace {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, next: Turn::First }
    }

    /// Of which kind one more may be done now, if any waits; it is counted then.
    pub(super) fn turn(&mut self, first_waits: bool, second_waits: bool, now: Instant) -> Option<Turn> {
        let turn = match (first_waits, second_waits) {
            (false, false) => return None,
            (true, false) => Turn::First,
            (false, true) => Turn::Second,
            (true, true) => self.next,
        };
        let may = self.pace.may(now);
        may.then(|| {
            self.next = if turn == Turn::First { Turn::Second } else { Turn::First };
            turn
        })
    }

    /// Counts what was done in any case.
    pub(super) fn charge(&mut self, count: u32, now: Instant) {
        self.pace.charge(count, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_kinds_of_work_neither_keeps_the_other_from_being_done_however_little_may_be_done_at_once() {
        for at_once in [1, 2, 7] {
            let (mut shared, start) = (SharedPace::new(Pace::new(at_once, 1_000)), Instant::now());
            let mut done = [0_u32; 2];
            for millisecond in 0..1_000 {
                while let Some(turn) = shared.turn(true, true, start + Duration::from_millis(millisecond)) {
                    done[turn as usize] += 1;
                }
            }
            assert!(done[0].abs_diff(done[1]) <= 1 && done[0] + done[1] >= 1_000, "{at_once}: {done:?}");
        }
    }

    #[test]
    fn work_of_one_kind_takes_the_whole_pace_while_no_other_waits() {
        let (mut shared, now) = (SharedPace::new(Pace::new(10, 100)), Instant::now());
        let turns = [(); 6].map(|()| shared.turn(false, true, now));
        assert_eq!(turns, [Some(Turn::Second); 6]);
        assert_eq!(shared.turn(false, false, now), None);
        assert_eq!(
            [(); 5].map(|()| shared.turn(true, false, now)),
            [[Some(Turn::First); 4].as_slice(), &[None]].concat()[..]
        );
    }

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
