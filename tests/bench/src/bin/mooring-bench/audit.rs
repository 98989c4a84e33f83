//! Whether every subscriber got every message once and in order, and how long the last of them waited.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

/// One run's messages and who has got them.
#[derive(Debug)]
pub struct Audit {
    subscribers: u32,
    publishers: Vec<Publisher>,
    /// By subscriber, then publisher: the next sequence.
    expected: Vec<u32>,
    tally: Tally,
    /// Until the last subscriber had a message, for each message that reached all.
    latencies: Vec<Duration>,
}

#[derive(Clone, Debug, Default)]
struct Publisher {
    sent: u32,
    /// Those that have not reached everybody, oldest first.
    open: VecDeque<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    at: Duration,
    missing: u32,
}

/// What went well, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages that arrived as they should.
    pub delivered: u64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Messages that arrived again, or after a later one.
    pub repeated: u64,
}

impl Audit {
    pub fn new(subscribers: usize, publishers: usize) -> Self {
        Self {
            subscribers: subscribers as u32,
            publishers: vec![Publisher::default(); publishers],
            expected: vec![0; subscribers * publishers],
            tally: Tally::default(),
            latencies: Vec::new(),
        }
    }

    /// A publisher sends its next message now; its sequence.
    pub fn publish(&mut self, publisher: usize, now: Duration) -> u32 {
        let publisher = &mut self.publishers[publisher];
        let sequence = publisher.sent;
        publisher.sent += 1;
        publisher.open.push_back(Open { at: now, missing: self.subscribers });
        sequence
    }

    /// A message arrived. Whether it has now reached every subscriber.
    pub fn receive(
        &mut self,
        subscriber: usize,
        publisher: usize,
        sequence: u32,
        now: impl FnOnce() -> Duration,
    ) -> bool {
        let width = self.publishers.len();
        let Some(state) = self.publishers.get_mut(publisher) else { return false };
        let expected = &mut self.expected[subscriber * width + publisher];
        if sequence < *expected || sequence >= state.sent {
            self.tally.repeated += 1;
            return false;
        }
        // What was skipped is lost; if it comes later, it is out of order and counted again.
        self.tally.lost += u64::from(sequence - *expected);
        *expected = sequence + 1;
        self.tally.delivered += 1;
        let oldest = state.sent - state.open.len() as u32;
        let Some(open) = sequence.checked_sub(oldest).and_then(|i| state.open.get_mut(i as usize)) else {
            return false;
        };
        open.missing -= 1;
        let complete = open.missing == 0;
        if complete {
            self.latencies.push(now().saturating_sub(open.at));
            while state.open.pop_front_if(|open| open.missing == 0).is_some() {}
        }
        complete
    }

    /// Whether every message has reached everybody.
    pub fn is_settled(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.open.is_empty())
    }

    /// Messages that have not reached everybody, with those that came after them.
    pub fn waiting(&self) -> usize {
        self.publishers.iter().map(|publisher| publisher.open.len()).sum()
    }

    /// How many messages of a publisher a subscriber has got, when none is lost.
    pub fn seen(&self, subscriber: usize, publisher: usize) -> u32 {
        self.expected[subscriber * self.publishers.len() + publisher]
    }

    pub fn delivered(&self) -> u64 {
        self.tally.delivered
    }

    /// Ends the run: what has not arrived is lost.
    pub fn finish(mut self) -> (Tally, Vec<Duration>) {
        let width = self.publishers.len();
        for (i, expected) in self.expected.iter().enumerate() {
            self.tally.lost += u64::from(self.publishers[i % width].sent - expected);
        }
        (self.tally, self.latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_message_is_done_when_the_last_subscriber_has_it() {
        let mut audit = Audit::new(2, 1);
        assert_eq!(audit.publish(0, secs(1)), 0);
        assert!(!audit.receive(0, 0, 0, || secs(2)));
        assert!(!audit.is_settled());
        assert_eq!(audit.waiting(), 1);
        assert!(audit.receive(1, 0, 0, || secs(4)));
        assert!(audit.is_settled());
        assert_eq!(audit.waiting(), 0);
        assert_eq!(audit.finish(), (Tally { delivered: 2, ..Tally::default() }, vec![secs(3)]));
    }

    #[test]
    fn what_is_skipped_is_lost_and_what_comes_again_or_late_is_repeated() {
        let mut audit = Audit::new(1, 1);
        assert_eq!([(); 4].map(|()| audit.publish(0, secs(0))), [0, 1, 2, 3]);
        for sequence in [0, 0, 2, 1] {
            audit.receive(0, 0, sequence, || secs(1));
        }
        assert_eq!(audit.finish().0, Tally { delivered: 2, lost: 2, repeated: 2 });
    }

    #[test]
    fn publishers_are_counted_apart() {
        let mut audit = Audit::new(1, 2);
        assert_eq!([0, 1].map(|publisher| audit.publish(publisher, secs(0))), [0, 0]);
        audit.receive(0, 1, 0, || secs(1));
        assert_eq!(audit.finish().0, Tally { delivered: 1, lost: 1, repeated: 0 });
    }
}
