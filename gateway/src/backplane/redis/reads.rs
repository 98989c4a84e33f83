//! Questions whose answers may be large, on their way to Redis: few at a time, one per asker, equal ones asked once.
//!
//! Whoever asks much waits for itself. A question joins an equal one that is not yet on its way, and none that is: its answer may be
//! older than what the asker knows.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use gateway_core::key::ConnectionKey;

use crate::backplane::{Recipient, Waiter};

/// Answers under way at most.
const UNDER_WAY: usize = 4;

/// A connection of a shard; all that came over HTTP are one.
type Asker = Option<(u16, ConnectionKey)>;

/// What waits to be asked, and for whom.
#[derive(Debug)]
pub(super) struct Reads<Q> {
    askers: BTreeMap<Asker, Line<Q>>,
    /// Who may ask next, in turn.
    turns: VecDeque<Asker>,
    /// By question, everyone who waits for its answer and the time since when the first one does.
    waiting: BTreeMap<Q, (Instant, Vec<Waiter>)>,
    under_way: usize,
}

/// One asker's questions. There is a line for whoever has some, or one under way.
#[derive(Debug)]
struct Line<Q> {
    questions: VecDeque<Q>,
    under_way: bool,
}

/// A question whose turn it is; handed back to [`Reads::answered`].
#[derive(Debug)]
pub(super) struct Read<Q> {
    pub(super) question: Q,
    pub(super) waiters: Vec<Waiter>,
    asker: Asker,
}

impl<Q> Default for Reads<Q> {
    fn default() -> Self {
        Self { askers: BTreeMap::new(), turns: VecDeque::new(), waiting: BTreeMap::new(), under_way: 0 }
    }
}

impl<Q: Ord + Clone> Reads<Q> {
    pub(super) fn push(&mut self, question: Q, waiter: Waiter, now: Instant) {
        if let Some((_, waiters)) = self.waiting.get_mut(&question) {
            return waiters.push(waiter);
        }
        let asker = asker(&waiter);
        self.waiting.insert(question.clone(), (now, vec![waiter]));
        let line =
            self.askers.entry(asker).or_insert_with(|| Line { questions: VecDeque::new(), under_way: false });
        if line.questions.is_empty() && !line.under_way {
            self.turns.push_back(asker);
        }
        line.questions.push_back(question);
    }

    /// The next question, unless enough are under way.
    pub(super) fn pop(&mut self) -> Option<Read<Q>> {
        while self.under_way < UNDER_WAY {
            let asker = self.turns.pop_front()?;
            let line = self.askers.get_mut(&asker)?;
            // What is no longer waited for was given up.
            let next = std::iter::from_fn(|| line.questions.pop_front())
                .find_map(|question| self.waiting.remove(&question).map(|(_, waiters)| (question, waiters)));
            let Some((question, waiters)) = next else {
                self.askers.remove(&asker);
                continue;
            };
            line.under_way = true;
            self.under_way += 1;
            return Some(Read { question, waiters, asker });
        }
        None
    }

    /// A question is answered, or given up; those who wait for it are to be told.
    pub(super) fn answered(&mut self, read: Read<Q>) -> Vec<Waiter> {
        let Read { waiters, asker, .. } = read;
        self.under_way -= 1;
        if let Some(line) = self.askers.get_mut(&asker) {
            line.under_way = false;
            if line.questions.is_empty() {
                self.askers.remove(&asker);
            } else {
                self.turns.push_back(asker);
            }
        }
        waiters
    }

    /// Gives up what waits since before `since`.
    pub(super) fn give_up(&mut self, since: Instant) -> Vec<Waiter> {
        let late = self.waiting.extract_if(.., |_, (asked, _)| *asked <= since);
        late.flat_map(|(_, (_, waiters))| waiters).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Questions that are on their way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }
}

fn asker(waiter: &Waiter) -> Asker {
    match waiter.recipient {
        Recipient::Shard { shard, waiter: Some((connection, _)) } => Some((shard, connection)),
        Recipient::Shard { waiter: None, .. } | Recipient::Api(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::budget::Budget;

    fn waiter(slot: u32, request: u32) -> Waiter {
        let waiter = Some((ConnectionKey { slot, generation: 0 }, request));
        Waiter { recipient: Recipient::Shard { shard: 0, waiter }, charge: Budget::new(0).take(0) }
    }

    fn requests(waiters: &[Waiter]) -> Vec<u32> {
        let request = |waiter: &Waiter| match waiter.recipient {
            Recipient::Shard { waiter: Some((_, request)), .. } => request,
            _ => panic!("{waiter:?}"),
        };
        waiters.iter().map(request).collect()
    }

    #[test]
    fn askers_take_turns_whatever_one_of_them_asks_and_only_so_many_answers_are_under_way() {
        let (mut reads, now) = (Reads::default(), Instant::now());
        for number in 0..100 {
            reads.push(number, waiter(0, number), now);
        }
        for slot in 1..6 {
            reads.push(1000 + slot, waiter(slot, 0), now);
        }
        let mut under_way: VecDeque<_> = std::iter::from_fn(|| reads.pop()).collect();
        let questions: Vec<_> = under_way.iter().map(|read| read.question).collect();
        assert_eq!(questions, [0, 1001, 1002, 1003]);
        let mut order = Vec::new();
        while let Some(read) = under_way.pop_front() {
            reads.answered(read);
            under_way.extend(std::iter::from_fn(|| reads.pop()));
            order.extend(under_way.back().map(|read| read.question));
        }
        assert_eq!(order[..3], [1004, 1005, 1], "the flood waits for those that came after it");
        assert_eq!((reads.askers.len(), reads.turns.len(), reads.under_way), (0, 0, 0));
    }

    #[test]
    fn equal_questions_are_asked_once_but_not_with_one_that_is_on_its_way_already() {
        let (mut reads, now) = (Reads::default(), Instant::now());
        reads.push("q", waiter(0, 0), now);
        let first = reads.pop().unwrap();
        for number in 1..250 {
            reads.push("q", waiter(number % 7, number), now);
        }
        let second = reads.pop().unwrap();
        assert_eq!(requests(&first.waiters), [0]);
        assert_eq!(requests(&second.waiters), (1..250).collect::<Vec<_>>());
        assert!(reads.is_empty());
    }

    #[test]
    fn what_waits_too_long_is_given_up_and_never_asked() {
        let (mut reads, now) = (Reads::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        reads.push("early", waiter(0, 1), now);
        reads.push("late", waiter(0, 2), later);
        assert_eq!(requests(&reads.give_up(now)), [1]);
        assert_eq!(reads.pop().map(|read| read.question), Some("late"));
    }
}
