//! One client's place in one channel: which message comes next, and which are missing.

use std::{collections::BTreeSet, rc::Rc};

/// Missing messages remembered per client and channel; further ones are counted and stay lost.
const MAX_MISSING: usize = 10_000;

/// A place in a channel's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Grows by one with each message.
    pub offset: u64,
    /// Names the history that the offset belongs to.
    pub epoch: Rc<str>,
}

/// What is expected next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Expect {
    /// Whatever comes: the channel has no positions, so counting starts with the first message.
    #[default]
    Anything,
    /// The message after this place in the stream.
    After(Position),
    /// The message after the highest one so far.
    Next,
}

/// What a delivery turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next message, or one after a gap.
    New,
    /// A message that was missing, delivered after a later one.
    OutOfOrder,
    /// A message that was delivered before.
    Duplicate,
}

/// One client's place in one channel.
#[derive(Clone, Debug, Default)]
pub struct Track {
    expect: Expect,
    highest: u64,
    missing: BTreeSet<u64>,
    /// Missing, and no longer remembered one by one.
    forgotten: u64,
}

impl Track {
    /// Counting starts anew: at a place in the stream, or with the next message when the channel has none.
    pub fn restart(&mut self, position: Option<Position>) {
        self.expect = position.map_or(Expect::Anything, Expect::After);
    }

    /// Takes a delivery. `offset` is the message's place in the stream; it tells how many messages came before it since the start.
    pub fn deliver(&mut self, sequence: u64, offset: Option<u64>) -> Verdict {
        if sequence <= self.highest {
            return if self.missing.remove(&sequence) { Verdict::OutOfOrder } else { Verdict::Duplicate };
        }
        let expected = match (&self.expect, offset) {
            (Expect::Next, _) => self.highest + 1,
            (Expect::After(start), Some(offset)) => {
                let skipped = offset.saturating_sub(start.offset.saturating_add(1));
                sequence.saturating_sub(skipped).max(self.highest + 1)
            }
            (Expect::After(_), None) | (Expect::Anything, _) => sequence,
        };
        for missing in expected..sequence {
            if self.missing.len() < MAX_MISSING {
                self.missing.insert(missing);
            } else {
                self.forgotten += sequence - missing;
                break;
            }
        }
        self.highest = sequence;
        self.expect = Expect::Next;
        Verdict::New
    }

    /// Messages skipped so far and not delivered since, those aside that no gateway has accepted.
    #[must_use]
    pub fn lost(&self, unaccepted: &BTreeSet<u64>) -> u64 {
        self.missing.difference(unaccepted).count() as u64 + self.forgotten
    }

    /// Messages up to `sequence`, which was published at `position`, that this client has yet to get; likewise.
    #[must_use]
    pub fn behind(&self, sequence: u64, position: Option<&Position>, unaccepted: &BTreeSet<u64>) -> u64 {
        match (&self.expect, position) {
            (Expect::Next, _) if sequence > self.highest => {
                let unaccepted = unaccepted.range(self.highest + 1..=sequence).count();
                sequence - self.highest - unaccepted as u64
            }
            (Expect::Next, _) => 0,
            (Expect::After(start), Some(last)) if start.epoch == last.epoch => {
                last.offset.saturating_sub(start.offset)
            }
            (Expect::After(_) | Expect::Anything, _) => 0,
        }
    }

    /// A new phase: what is missing was counted in the one before.
    pub fn forgive(&mut self) {
        self.missing.clear();
        self.forgotten = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { offset, epoch: "epoch".into() }
    }

    fn track(start: u64, deliveries: &[(u64, u64)]) -> (Track, Vec<Verdict>) {
        let mut track = Track::default();
        track.restart(Some(at(start)));
        let verdicts =
            deliveries.iter().map(|(sequence, offset)| track.deliver(*sequence, Some(*offset))).collect();
        (track, verdicts)
    }

    #[test]
    fn messages_in_order_are_new_and_none_is_lost() {
        let (track, verdicts) = track(7, &[(3, 8), (4, 9), (5, 10)]);
        assert_eq!((verdicts, track.lost(&BTreeSet::new())), (vec![Verdict::New; 3], 0));
    }

    #[test]
    fn a_gap_is_lost_even_before_the_first_delivery() {
        let (track, _) = track(7, &[(3, 10), (6, 13)]);
        assert_eq!(track.lost(&BTreeSet::new()), 4, "1 and 2 after the start, then 4 and 5");
    }

    #[test]
    fn a_late_message_is_out_of_order_and_not_lost() {
        let (track, verdicts) = track(0, &[(1, 1), (3, 3), (2, 2)]);
        assert_eq!((verdicts[2], track.lost(&BTreeSet::new())), (Verdict::OutOfOrder, 0));
    }

    #[test]
    fn a_message_that_comes_again_is_a_duplicate_even_after_a_restart() {
        let (mut track, verdicts) = track(0, &[(1, 1), (1, 1)]);
        assert_eq!(verdicts, [Verdict::New, Verdict::Duplicate]);
        track.restart(Some(at(40)));
        assert_eq!(track.deliver(1, Some(41)), Verdict::Duplicate);
    }

    #[test]
    fn a_client_that_was_told_starts_counting_at_its_new_position() {
        let (mut track, _) = track(0, &[(1, 1)]);
        track.restart(Some(at(2)));
        assert_eq!(track.deliver(9, Some(3)), Verdict::New);
        assert_eq!(track.lost(&BTreeSet::new()), 0);
        track.restart(Some(at(3)));
        assert_eq!(track.deliver(12, Some(6)), Verdict::New);
        assert_eq!(track.lost(&BTreeSet::new()), 2, "10 and 11 came after the new position");
    }

    #[test]
    fn what_was_acknowledged_and_not_delivered_is_behind() {
        let (track, _) = track(0, &[(1, 1)]);
        assert_eq!(track.behind(5, Some(&at(5)), &BTreeSet::new()), 4);
        let mut silent = Track::default();
        silent.restart(Some(at(3)));
        assert_eq!(silent.behind(5, Some(&at(5)), &BTreeSet::new()), 2);
        let other = Position { offset: 5, epoch: "other".into() };
        assert_eq!(
            silent.behind(5, Some(&other), &BTreeSet::new()),
            0,
            "it was published into another history"
        );
    }

    #[test]
    fn what_is_missing_beyond_the_memory_is_still_counted() {
        let (track, _) = track(0, &[(50_001, 50_001)]);
        assert_eq!(track.lost(&BTreeSet::new()), 50_000);
    }

    #[test]
    fn what_no_gateway_accepted_is_neither_lost_nor_behind() {
        let (track, _) = track(0, &[(1, 1), (4, 2)]);
        assert_eq!(track.lost(&[2, 9].into()), 1, "3 was accepted");
        assert_eq!(track.behind(6, None, &[2, 5, 9].into()), 1, "6 was accepted");
    }
}
