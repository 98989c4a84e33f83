//! Clients that entered and are not announced yet. Each of many that enter a channel together would be told to all who are in it; so the
//! first ones are announced at once, the others one after the other, and who is gone before its turn is not announced at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::pace::Pace;

/// Joins of one channel that a node announces at once, and how many per second then.
const AT_ONCE: u32 = 64;
const PER_SECOND: u32 = 64;

/// Channels that somebody entered of late.
#[derive(Debug, Default)]
pub(super) struct Joins {
    lines: BTreeMap<Arc<str>, Line>,
    /// When each of them announces the next one, or can be forgotten.
    due: BTreeSet<(Instant, Arc<str>)>,
    last_turn: u64,
}

#[derive(Debug)]
struct Line {
    pace: Pace,
    /// Clients that wait, by their turn.
    waiting: BTreeMap<u64, Arc<str>>,
    turns: BTreeMap<Arc<str>, u64>,
    due: Instant,
}

impl Joins {
    /// Whether a client that has entered is to be announced at once; otherwise its turn is later.
    pub(super) fn enter(&mut self, channel: &Arc<str>, client: &Arc<str>, now: Instant) -> bool {
        let line = self.lines.entry(channel.clone()).or_insert_with(|| {
            self.due.insert((now, channel.clone()));
            let pace = Pace::new(AT_ONCE, PER_SECOND);
            Line { pace, waiting: BTreeMap::new(), turns: BTreeMap::new(), due: now }
        });
        if line.turns.contains_key(client) {
            return false;
        }
        if line.waiting.is_empty() && line.pace.may(now) {
            return true;
        }
        self.last_turn += 1;
        line.waiting.insert(self.last_turn, client.clone());
        line.turns.insert(client.clone(), self.last_turn);
        let next = line.pace.next(now);
        reschedule(&mut self.due, channel, line, next);
        false
    }

    /// A client is gone. Whether that was before its turn, so that nobody knows that it came.
    pub(super) fn leave(&mut self, channel: &str, client: &str) -> bool {
        let Some(line) = self.lines.get_mut(channel) else { return false };
        let turn = line.turns.remove(client);
        turn.is_some_and(|turn| line.waiting.remove(&turn).is_some())
    }

    /// A channel and the client that is to be announced there now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Arc<str>, Arc<str>)> {
        loop {
            let (_, channel) = self.due.first().filter(|(due, _)| *due <= now)?.clone();
            let line = self.lines.get_mut(&channel)?;
            let next = if line.waiting.is_empty() { line.pace.paid_until(now) } else { line.pace.next(now) };
            if next > now {
                reschedule(&mut self.due, &channel, line, next);
            } else if let Some((_, client)) = line.waiting.pop_first() {
                line.turns.remove(&client);
                line.pace.charge(1, now);
                return Some((channel, client));
            } else {
                self.due.remove(&(line.due, channel.clone()));
                self.lines.remove(&channel);
            }
        }
    }

    /// When [`Joins::pop`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}

fn reschedule(
    schedule: &mut BTreeSet<(Instant, Arc<str>)>,
    channel: &Arc<str>,
    line: &mut Line,
    due: Instant,
) {
    schedule.remove(&(line.due, channel.clone()));
    schedule.insert((due, channel.clone()));
    line.due = due;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(number: u32) -> Arc<str> {
        number.to_string().into()
    }

    #[test]
    fn the_first_are_announced_at_once_and_the_others_in_order_at_a_pace_but_not_who_is_gone_by_then() {
        let (mut joins, start, room) = (Joins::default(), Instant::now(), Arc::from("room"));
        let at_once = (0..128).filter(|client| joins.enter(&room, &name(*client), start)).count();
        assert_eq!((at_once, joins.pop(start)), (64, None));
        assert!(joins.enter(&"other".into(), &name(0), start), "channels do not wait for each other");
        assert!(!joins.enter(&room, &name(64), start), "who waits keeps its turn");
        assert_eq!([3, 65, 65].map(|client| joins.leave(&room, &name(client))), [false, true, false]);
        let mut announced = Vec::new();
        for milliseconds in 1..=1_000 {
            while let Some((channel, client)) = joins.pop(start + Duration::from_millis(milliseconds)) {
                assert_eq!(channel, room);
                announced.push((milliseconds, client));
            }
        }
        let clients: Vec<_> = announced.iter().map(|(_, client)| client.clone()).collect();
        let expected: Vec<_> = (64..128).filter(|client| *client != 65).map(name).collect();
        assert_eq!(clients, expected);
        let early = announced.iter().filter(|(at, _)| *at <= 500).count();
        assert!((31..=33).contains(&early), "{early} in half a second");
        assert_eq!(joins.pop(start + Duration::from_secs(3)), None);
        assert!(joins.lines.is_empty() && joins.due.is_empty(), "a channel that is quiet is forgotten");
    }
}
