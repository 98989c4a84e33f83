//! Who sends more messages than a client may: it is read no further for a while, so that TCP holds it back, and nothing that it sent is
//! lost. Only one that goes on like that at several times the pace is told to go.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{config::Limits, key::ConnectionKey};

const SECOND: u64 = 1_000_000_000;
/// How long a client may be far above the pace without a break.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long a client with much to handle at once leaves the shard to others.
const REST: Duration = Duration::from_millis(1);

/// What one client has used up (generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When the messages so far are paid for, in nanoseconds of the monotonic time.
    paid_until: u64,
}

/// Until when a client is to be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    until: Duration,
    /// Who is above again within this time after that is far above.
    far: Duration,
}

impl Pace {
    /// Counts messages that were handled. A client that is above the pace has to wait until half of what it may send at once is to be had
    /// again; at once it may send what a second allows, and always twice what subscribing to everything takes.
    pub(super) fn charge(&mut self, messages: u64, limits: &Limits, now: Duration) -> Option<Wait> {
        let rate = u64::from(limits.messages_per_second);
        if rate == 0 {
            return None;
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.paid_until = self.paid_until.max(now).saturating_add(messages * SECOND / rate);
        if self.paid_until <= now + SECOND {
            return None;
        }
        let burst = rate.max(2 * u64::from(limits.subscriptions)) * SECOND / rate;
        (self.paid_until > now + burst).then(|| Wait {
            until: Duration::from_nanos(self.paid_until - burst / 2),
            far: Duration::from_nanos(burst / 8),
        })
    }
}

/// Clients that are held back, or were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    clients: BTreeMap<u32, Paced>,
    /// When each of them may go on, or is forgotten.
    due: BTreeSet<(Duration, u32)>,
}

/// By its slot.
#[derive(Debug)]
struct Paced {
    generation: u32,
    /// Since when it has been far above the pace without a break, if it is above.
    since: Option<Duration>,
    due: Duration,
    wait: Wait,
    is_held: bool,
}

impl Pacing {
    /// Holds a client back. Whether it has been far above the pace for too long.
    pub(super) fn hold(&mut self, key: ConnectionKey, wait: Wait, now: Duration) -> bool {
        let since = self.forget(key).unwrap_or(now);
        self.insert(key, wait, Some(since));
        now.saturating_sub(since) >= PATIENCE
    }

    /// Holds a client back for a moment that is not held against it.
    pub(super) fn rest(&mut self, key: ConnectionKey, now: Duration) {
        let since = self.forget(key);
        self.insert(key, Wait { until: now + REST, far: REST }, since);
    }

    fn insert(&mut self, key: ConnectionKey, wait: Wait, since: Option<Duration>) {
        let paced = Paced { generation: key.generation, since, due: wait.until, wait, is_held: true };
        self.due.insert((wait.until, key.slot));
        self.clients.insert(key.slot, paced);
    }

    /// Whether a client is held back.
    pub(super) fn is_held(&self, key: ConnectionKey) -> bool {
        self.clients.get(&key.slot).is_some_and(|paced| paced.is_held)
    }

    /// A client that may go on by now.
    pub(super) fn go_on(&mut self, now: Duration) -> Option<ConnectionKey> {
        while let Some(&(due, slot)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            let Some(paced) = self.clients.get_mut(&slot) else { continue };
            if !paced.is_held {
                self.clients.remove(&slot);
                continue;
            }
            paced.is_held = false;
            paced.due = now + paced.wait.far;
            self.due.insert((paced.due, slot));
            return Some(ConnectionKey { slot, generation: paced.generation });
        }
        None
    }

    /// When [`Pacing::go_on`] has something to do, as monotonic time.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A client is gone; since when it had been far above the pace.
    pub(super) fn forget(&mut self, key: ConnectionKey) -> Option<Duration> {
        let paced = self.clients.remove(&key.slot)?;
        self.due.remove(&(paced.due, key.slot));
        paced.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ConnectionKey = ConnectionKey { slot: 3, generation: 7 };

    fn limits(messages_per_second: u32) -> Limits {
        Limits { messages_per_second, subscriptions: 10, ..Limits::default() }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_half_of_it_has_to_be_earned() {
        let (mut pace, limits, start) = (Pace::default(), limits(100), seconds(5.0));
        assert_eq!(pace.charge(100, &limits, start), None);
        let wait = pace.charge(1, &limits, start).unwrap();
        assert_eq!(wait, Wait { until: seconds(5.51), far: seconds(0.125) });
        assert_eq!(pace.charge(50, &limits, wait.until), None);
        assert!(pace.charge(1, &limits, wait.until).is_some());
    }

    #[test]
    fn who_may_send_little_can_still_subscribe_to_everything_at_once_and_who_may_send_anything_never_waits() {
        assert_eq!(Pace::default().charge(20, &limits(1), Duration::ZERO), None);
        assert!(Pace::default().charge(21, &limits(1), Duration::ZERO).is_some());
        assert_eq!(Pace::default().charge(u64::MAX, &limits(0), Duration::ZERO), None);
    }

    #[test]
    fn who_keeps_the_pace_never_waits() {
        let (mut pace, limits) = (Pace::default(), limits(10_000));
        for millisecond in 0..100_000 {
            assert_eq!(pace.charge(10, &limits, Duration::from_millis(millisecond)), None);
        }
    }

    /// A client that has `factor` times the pace to send whenever it is read; after how long it is told to go.
    fn told_to_go(factor: u64) -> Option<Duration> {
        let (mut pace, mut pacing, limits) = (Pace::default(), Pacing::default(), limits(1_000));
        let start = seconds(5.0);
        for millisecond in 0..300_000 {
            let now = start + Duration::from_millis(millisecond);
            while pacing.go_on(now).is_some() {}
            if pacing.is_held(KEY) {
                continue;
            }
            if let Some(wait) = pace.charge(factor, &limits, now)
                && pacing.hold(KEY, wait, now)
            {
                return Some(now - start);
            }
        }
        None
    }

    #[test]
    fn only_who_is_several_times_above_the_pace_for_a_minute_is_told_to_go() {
        assert_eq!([told_to_go(1), told_to_go(2), told_to_go(4)], [None, None, None]);
        let after = told_to_go(10).unwrap();
        assert!((60.0..62.0).contains(&after.as_secs_f64()), "{after:?}");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut pacing = Pacing::default();
        let wait = Wait { until: seconds(1.0), far: seconds(0.1) };
        assert!(!pacing.hold(KEY, wait, Duration::ZERO));
        assert_eq!((pacing.is_held(KEY), pacing.next_timeout()), (true, Some(seconds(1.0))));
        pacing.forget(KEY);
        assert_eq!(
            (pacing.is_held(KEY), pacing.next_timeout(), pacing.go_on(seconds(9.0))),
            (false, None, None)
        );
        pacing.hold(KEY, wait, Duration::ZERO);
        assert_eq!(pacing.go_on(seconds(1.0)), Some(KEY));
        assert_eq!((pacing.is_held(KEY), pacing.go_on(seconds(2.0))), (false, None));
        assert!(pacing.clients.is_empty() && pacing.due.is_empty());
    }
}
