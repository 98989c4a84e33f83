//! The pace of a node's drain: how many connections to close, and when.

use std::{collections::VecDeque, time::Duration};

use crate::control::{DrainProgress, DrainTrigger};

const SECOND: Duration = Duration::from_secs(1);

/// Beyond this, a rate is no rate any more.
const MAX_RATE: f64 = 1e6;

/// Paces a drain: a token bucket of at most 100 ms worth of connections, and a log of the last second that keeps every second within
/// the rate even when the bucket is emptied late in one and early in the next. Times are monotonic, since the process started.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Connections per second.
    rate: f64,
    deadline: Duration,
    /// Connections that may be closed, as of `refilled`.
    tokens: f64,
    refilled: Duration,
    /// What was closed within the last second.
    recent: VecDeque<(Duration, u32)>,
    /// Sum of `recent`.
    in_window: u32,
    moved: u64,
}

impl Pacer {
    /// A drain at `rate` connections per second, which may be fractional, and 0 to pause; what remains at `deadline` is due at once.
    #[must_use]
    pub fn new(rate: f64, deadline: Duration, now: Duration) -> Self {
        let rate = rate.clamp(0.0, MAX_RATE);
        let (recent, rate) = (VecDeque::new(), if rate.is_nan() { 0.0 } else { rate });
        Self { rate, deadline, tokens: 1.0, refilled: now, recent, in_window: 0, moved: 0 }
    }

    /// Changes the pace or the deadline of the drain under way. The second that is running counts against the new rate.
    pub fn steer(&mut self, rate: f64, deadline: Duration, now: Duration) {
        self.refill(now);
        let Self { rate, deadline, .. } = Self::new(rate, deadline, now);
        (self.rate, self.deadline) = (rate, deadline);
        self.tokens = self.tokens.min(self.burst());
    }

    /// How many of the `remaining` connections to close now; the caller closes them.
    pub fn due(&mut self, now: Duration, remaining: u32) -> u32 {
        self.refill(now);
        let count = if now >= self.deadline {
            remaining
        } else if self.rate > 0.0 {
            (self.tokens as u32).min(self.room()).min(remaining)
        } else {
            0
        };
        if count > 0 {
            self.tokens = (self.tokens - f64::from(count)).max(0.0);
            self.recent.push_back((now, count));
            self.in_window = self.in_window.saturating_add(count);
            self.moved += u64::from(count);
        }
        count
    }

    /// Time from `now` until [`Self::due`] has more to say, provided that connections remain.
    #[must_use]
    pub fn next(&self, now: Duration) -> Duration {
        let until_deadline = self.deadline.saturating_sub(now);
        if self.rate == 0.0 {
            return until_deadline;
        }
        let missing = ((1.0 - self.tokens) / self.rate).max(0.0);
        // Rounded up, since a nanosecond early is a wake-up for nothing.
        let token = Duration::try_from_secs_f64(missing).map_or(until_deadline, |wait| {
            self.refilled.saturating_add(wait + Duration::from_nanos(1)).saturating_sub(now)
        });
        let window = match self.recent.front() {
            Some((at, _)) if self.room() == 0 => (*at + SECOND).saturating_sub(now),
            _ => Duration::ZERO,
        };
        token.max(window).min(until_deadline)
    }

    /// How far the drain is.
    #[must_use]
    pub fn progress(&self, trigger: DrainTrigger, remaining: u32, now: Duration) -> DrainProgress {
        DrainProgress {
            trigger,
            connections_per_second: self.rate,
            moved: self.moved,
            remaining,
            seconds_left: self.deadline.saturating_sub(now).as_secs(),
        }
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate).min(self.burst());
        self.refilled = self.refilled.max(now);
        while let Some((_, count)) = self.recent.pop_front_if(|(at, _)| *at + SECOND <= now) {
            self.in_window -= count;
        }
    }

    /// Connections that may be closed at one moment.
    fn burst(&self) -> f64 {
        (self.rate / 10.0).max(1.0)
    }

    /// Connections that may still be closed in the second up to now.
    fn room(&self) -> u32 {
        (self.rate.ceil() as u32).saturating_sub(self.in_window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Lets the pacer itself say when to ask it again.
    fn drain(pacer: &mut Pacer, mut now: Duration, mut remaining: u32) -> Vec<(Duration, u32)> {
        let mut closed = Vec::new();
        while remaining > 0 {
            let count = pacer.due(now, remaining);
            remaining -= count;
            closed.push((now, count));
            now += pacer.next(now);
        }
        closed
    }

    /// The most connections closed in any second, seconds being half-open.
    fn busiest_second(closed: &[(Duration, u32)]) -> u32 {
        let within =
            |start: Duration| closed.iter().filter(move |(at, _)| (start..start + SECOND).contains(at));
        closed.iter().map(|(start, _)| within(*start).map(|(_, count)| count).sum()).max().unwrap_or(0)
    }

    #[test]
    fn connections_are_spread_evenly_over_the_drain() {
        let closed = drain(&mut Pacer::new(200.0, HOUR, millis(5)), millis(5), 2_000);
        assert!(closed.iter().all(|(_, count)| *count == 1));
        let took = closed.last().unwrap().0 - millis(5);
        assert!((millis(9_990)..=millis(10_060)).contains(&took), "{took:?}");
    }

    #[test]
    fn what_remains_at_the_deadline_is_due_at_once() {
        let mut pacer = Pacer::new(1.0, millis(2_500), millis(0));
        let closed: Vec<u32> = drain(&mut pacer, millis(0), 1_000).iter().map(|(_, count)| *count).collect();
        assert_eq!(closed, [1, 1, 1, 997]);
        assert_eq!(pacer.progress(DrainTrigger::Requested, 0, millis(2_500)).moved, 1_000);
    }

    #[test]
    fn a_paused_drain_waits_for_its_deadline() {
        let mut pacer = Pacer::new(0.0, millis(60_000), millis(0));
        assert_eq!((pacer.due(millis(59_999), 10), pacer.next(millis(59_999))), (0, millis(1)));
        assert_eq!(pacer.due(millis(60_000), 10), 10);
    }

    #[test]
    fn less_than_one_connection_per_second_is_a_pace_too() {
        let closed = drain(&mut Pacer::new(0.25, HOUR, millis(0)), millis(0), 3);
        assert_eq!(closed.iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [0, 4, 8]);
    }

    #[test]
    fn a_rate_that_is_no_number_pauses() {
        for rate in [f64::NAN, -3.0] {
            assert_eq!(Pacer::new(rate, HOUR, millis(0)).due(millis(900), 10), 0);
        }
    }

    #[test]
    fn progress_tells_the_pace_in_force() {
        let mut pacer = Pacer::new(50.0, HOUR, millis(0));
        assert_eq!(pacer.due(millis(0), 9), 1);
        pacer.steer(2.5, millis(90_000), millis(100));
        let expected = DrainProgress {
            trigger: DrainTrigger::Terminated,
            connections_per_second: 2.5,
            moved: 1,
            remaining: 8,
            seconds_left: 80,
        };
        assert_eq!(pacer.progress(DrainTrigger::Terminated, 8, millis(10_000)), expected);
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate_however_irregularly_it_is_asked(
            rate in 0.1..3_000.0_f64,
            pauses in prop::collection::vec(prop_oneof![0..20_u64, 0..1_500_u64], 1..300),
        ) {
            let mut pacer = Pacer::new(rate, HOUR, millis(0));
            let mut now = millis(0);
            let mut closed = Vec::new();
            for pause in pauses {
                closed.push((now, pacer.due(now, u32::MAX)));
                now += millis(pause);
            }
            prop_assert!(f64::from(busiest_second(&closed)) <= rate + 1.0);
            prop_assert!(closed.iter().all(|(_, count)| f64::from(*count) <= (rate / 10.0).max(1.0)));
        }

        #[test]
        fn a_drain_ends_with_nobody_left_in_the_time_its_rate_takes(rate in 0.5..2_000.0_f64, connections in 1..3_000_u32) {
            let closed = drain(&mut Pacer::new(rate, 100 * HOUR, millis(0)), millis(0), connections);
            prop_assert_eq!(closed.iter().map(|(_, count)| count).sum::<u32>(), connections);
            let took = closed.last().unwrap().0.as_secs_f64();
            prop_assert!(took <= f64::from(connections) / rate * 1.01 + 1.0, "{took}");
        }

        #[test]
        fn a_change_of_rate_is_never_a_burst(changes in prop::collection::vec((0.0..2_000.0_f64, 0..150_u64), 1..20)) {
            let mut pacer = Pacer::new(0.0, HOUR, millis(0));
            let mut now = millis(1_000);
            let mut closed: Vec<(Duration, u32)> = Vec::new();
            for (rate, steps) in changes {
                pacer.steer(rate, HOUR, now);
                for _ in 0..steps {
                    let count = pacer.due(now, u32::MAX);
                    closed.retain(|(at, count)| *count > 0 && *at > now - SECOND);
                    closed.push((now, count));
                    let within: u32 = closed.iter().map(|(_, count)| count).sum();
                    prop_assert!(count == 0 || f64::from(within) <= rate + 1.0);
                    now += millis(10);
                }
            }
        }
    }
}
