//! The pace of a node's drain: how many connections to close, and when.

use std::{collections::VecDeque, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

/// Beyond this, a rate is no rate any more.
const MAX_RATE: f64 = 1e6;

/// Paces drains: a token bucket of at most 100 ms worth of connections, and a log of what was closed in the last second. What is due
/// counts from when it is due until a second after it was closed, so that every second keeps to the rate, however
/// late the connections are closed. Times are monotonic, since the process started.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Connections per second.
    rate: f64,
    deadline: Duration,
    /// Connections that may be closed, as of `refilled`.
    tokens: f64,
    refilled: Duration,
    /// Connections that are due and not yet closed.
    pending: u32,
    /// What was closed within the last second.
    recent: VecDeque<(Duration, u32)>,
    /// Sum of `recent`.
    in_window: u32,
}

impl Pacer {
    /// From now on `rate` connections per second, which may be fractional, and 0 to pause; what remains at `deadline` is due at once.
    /// The second that is running counts against the new rate.
    pub fn steer(&mut self, rate: f64, deadline: Duration, now: Duration) {
        self.refill(now);
        self.rate = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, MAX_RATE) };
        self.deadline = deadline;
        self.tokens = self.tokens.min(self.burst());
    }

    /// How many of the `remaining` connections to close now. The caller closes them, which [`Self::closed`] is told, or says that
    /// it will not, by [`Self::withdraw`]. Until then they count as remaining.
    pub fn due(&mut self, now: Duration, remaining: u32) -> u32 {
        self.refill(now);
        let remaining = remaining.saturating_sub(self.pending);
        let count = if now >= self.deadline {
            remaining
        } else if self.rate > 0.0 {
            (self.tokens as u32).min(self.room()).min(remaining)
        } else {
            0
        };
        self.tokens = (self.tokens - f64::from(count)).max(0.0);
        self.pending = self.pending.saturating_add(count);
        count
    }

    /// So many connections that were due were closed, by `now` at the latest.
    pub fn closed(&mut self, count: u32, now: Duration) {
        self.withdraw(count);
        if count > 0 {
            self.recent.push_back((now, count));
            self.in_window = self.in_window.saturating_add(count);
        }
    }

    /// So many connections that were due will not be closed; others are due in their place.
    pub fn withdraw(&mut self, count: u32) {
        self.pending = self.pending.saturating_sub(count);
    }

    /// Connections that are due and neither closed nor withdrawn.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Time from `now` until [`Self::due`] has more to say, provided that connections remain and none is closed or withdrawn meanwhile.
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

    /// Connections that may still be due in the second up to now.
    fn room(&self) -> u32 {
        (self.rate.ceil() as u32).saturating_sub(self.in_window.saturating_add(self.pending))
    }
}

impl Default for Pacer {
    /// Nothing is due before [`Pacer::steer`].
    fn default() -> Self {
        Self {
            rate: 0.0,
            deadline: Duration::MAX,
            tokens: 1.0,
            refilled: Duration::ZERO,
            pending: 0,
            recent: VecDeque::new(),
            in_window: 0,
        }
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

    fn pacer(rate: f64, deadline: Duration) -> Pacer {
        let mut pacer = Pacer::default();
        pacer.steer(rate, deadline, millis(0));
        pacer
    }

    /// Closes what is due, at once.
    fn close(pacer: &mut Pacer, now: Duration, remaining: u32) -> u32 {
        let count = pacer.due(now, remaining);
        pacer.closed(count, now);
        count
    }

    /// Lets the pacer itself say when to ask it again.
    fn drain(pacer: &mut Pacer, mut now: Duration, mut remaining: u32) -> Vec<(Duration, u32)> {
        let mut closed = Vec::new();
        while remaining > 0 {
            let count = close(pacer, now, remaining);
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
        let closed = drain(&mut pacer(200.0, HOUR), millis(0), 2_000);
        assert!(closed.iter().all(|(_, count)| *count == 1));
        let took = closed.last().unwrap().0;
        assert!((millis(9_990)..=millis(10_060)).contains(&took), "{took:?}");
    }

    #[test]
    fn what_remains_at_the_deadline_is_due_at_once() {
        let mut pacer = pacer(1.0, millis(2_500));
        let closed: Vec<u32> = drain(&mut pacer, millis(0), 1_000).iter().map(|(_, count)| *count).collect();
        assert_eq!(closed, [1, 1, 1, 997]);
    }

    #[test]
    fn what_is_due_already_is_not_due_again_at_the_deadline() {
        let mut pacer = pacer(1.0, millis(500));
        assert_eq!((pacer.due(millis(0), 10), pacer.due(millis(500), 10)), (1, 9));
        assert_eq!((pacer.due(millis(600), 10), pacer.pending()), (0, 10));
    }

    #[test]
    fn nothing_is_due_without_a_drain() {
        assert_eq!(Pacer::default().due(HOUR, 10), 0);
    }

    #[test]
    fn a_paused_drain_waits_for_its_deadline() {
        let mut pacer = pacer(0.0, millis(60_000));
        assert_eq!((pacer.due(millis(59_999), 10), pacer.next(millis(59_999))), (0, millis(1)));
        assert_eq!(pacer.due(millis(60_000), 10), 10);
    }

    #[test]
    fn less_than_one_connection_per_second_is_a_pace_too() {
        let closed = drain(&mut pacer(0.25, HOUR), millis(0), 3);
        assert_eq!(closed.iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [0, 4, 8]);
    }

    #[test]
    fn a_rate_that_is_no_number_pauses() {
        for rate in [f64::NAN, -3.0] {
            assert_eq!(pacer(rate, HOUR).due(millis(900), 10), 0);
        }
    }

    #[test]
    fn what_is_withdrawn_makes_room_for_others_and_what_is_closed_does_so_a_second_later() {
        let mut pacer = pacer(1.0, HOUR);
        assert_eq!((pacer.due(millis(0), 10), pacer.due(millis(5_000), 10)), (1, 0));
        pacer.withdraw(1);
        assert_eq!(pacer.due(millis(5_000), 10), 1);
        pacer.closed(1, millis(8_000));
        assert_eq!((pacer.due(millis(8_999), 9), pacer.next(millis(8_999))), (0, millis(1)));
        assert_eq!(pacer.due(millis(9_000), 9), 1);
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate_however_irregularly_it_is_asked(
            rate in 0.1..3_000.0_f64,
            pauses in prop::collection::vec(prop_oneof![0..20_u64, 0..1_500_u64], 1..300),
        ) {
            let mut pacer = pacer(rate, HOUR);
            let mut now = millis(0);
            let mut closed = Vec::new();
            for pause in pauses {
                closed.push((now, close(&mut pacer, now, u32::MAX)));
                now += millis(pause);
            }
            prop_assert!(f64::from(busiest_second(&closed)) <= rate.ceil());
            prop_assert!(closed.iter().all(|(_, count)| f64::from(*count) <= (rate / 10.0).max(1.0)));
        }

        #[test]
        fn no_second_sees_more_than_the_rate_however_late_what_is_due_is_closed(
            rate in 0.1..3_000.0_f64,
            turns in prop::collection::vec((0..100_u64, prop::bool::weighted(0.3), prop::bool::weighted(0.5)), 1..300),
        ) {
            let mut pacer = pacer(rate, HOUR);
            let mut now = millis(0);
            let (mut waiting, mut untold) = (0, 0);
            let mut closed = Vec::new();
            for (pause, closes, tells) in turns {
                waiting += pacer.due(now, u32::MAX);
                now += millis(pause);
                if closes {
                    closed.push((now, waiting));
                    untold += std::mem::take(&mut waiting);
                }
                if tells {
                    pacer.closed(std::mem::take(&mut untold), now);
                }
            }
            prop_assert!(f64::from(busiest_second(&closed)) <= rate.ceil());
        }

        #[test]
        fn a_drain_ends_with_nobody_left_in_the_time_its_rate_takes(rate in 0.5..2_000.0_f64, connections in 1..3_000_u32) {
            let closed = drain(&mut pacer(rate, 100 * HOUR), millis(0), connections);
            prop_assert_eq!(closed.iter().map(|(_, count)| count).sum::<u32>(), connections);
            let took = closed.last().unwrap().0.as_secs_f64();
            prop_assert!(took <= f64::from(connections) / rate * 1.01 + 1.0, "{took}");
        }

        #[test]
        fn a_change_of_rate_is_never_a_burst(changes in prop::collection::vec((0.0..2_000.0_f64, 0..150_u64), 1..20)) {
            let mut pacer = Pacer::default();
            let mut now = millis(1_000);
            let mut closed: Vec<(Duration, u32)> = Vec::new();
            for (rate, steps) in changes {
                pacer.steer(rate, HOUR, now);
                for _ in 0..steps {
                    let count = close(&mut pacer, now, u32::MAX);
                    closed.retain(|(at, count)| *count > 0 && *at > now - SECOND);
                    closed.push((now, count));
                    let within: u32 = closed.iter().map(|(_, count)| count).sum();
                    prop_assert!(count == 0 || f64::from(within) <= rate.ceil());
                    now += millis(10);
                }
            }
        }
    }
}
