//! Clients whose presence ends once their grace is over.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::backplane::ClientInfo;

/// Departures that wait at most.
const LIMIT: usize = 262_144;

/// An `Op::Leave` that is due, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    pub(super) channel: Arc<str>,
    pub(super) info: ClientInfo,
    pub(super) announce: bool,
}

/// When a departure is due; the counter tells apart those due together.
type Due = (Instant, u64);

/// Departures in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Departures {
    queue: BTreeMap<Due, Departure>,
    due: HashMap<(Arc<str>, Arc<str>), Due>,
    counter: u64,
}

impl Departures {
    /// Adds a departure. With too many waiting, the earliest is due now.
    pub(super) fn push(&mut self, departure: Departure, now: Instant, grace: Duration) -> Option<Departure> {
        self.counter += 1;
        let due = (now + grace, self.counter);
        if let Some(earlier) = self.due.insert(key(&departure), due) {
            self.queue.remove(&earlier);
        }
        self.queue.insert(due, departure);
        if self.queue.len() > LIMIT { self.pop_any() } else { None }
    }

    /// The client is back: its presence does not end.
    pub(super) fn cancel(&mut self, channel: &Arc<str>, client: &Arc<str>) {
        if let Some(due) = self.due.remove(&(channel.clone(), client.clone())) {
            self.queue.remove(&due);
        }
    }

    /// When the next departure is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next departure, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Departure> {
        self.take(|due| due <= now)
    }

    /// The next departure, due or not.
    pub(super) fn pop_any(&mut self) -> Option<Departure> {
        self.take(|_| true)
    }

    fn take(&mut self, ready: impl FnOnce(Instant) -> bool) -> Option<Departure> {
        let entry = self.queue.first_entry()?;
        if !ready(entry.key().0) {
            return None;
        }
        let departure = entry.remove();
        self.due.remove(&key(&departure));
        Some(departure)
    }
}

fn key(departure: &Departure) -> (Arc<str>, Arc<str>) {
    (departure.channel.clone(), departure.info.client.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn departure(client: &str) -> Departure {
        let info = ClientInfo { client: client.into(), user: "u".into(), conn_info: None, chan_info: None };
        Departure { channel: "c".into(), info, announce: true }
    }

    #[test]
    fn departures_are_carried_out_in_order_once_their_grace_is_over() {
        let now = Instant::now();
        let mut departures = Departures::default();
        assert_eq!(departures.push(departure("late"), now, GRACE * 2), None);
        assert_eq!(departures.push(departure("first"), now, GRACE), None);
        assert_eq!(departures.push(departure("second"), now, GRACE), None);
        assert_eq!(departures.next_due(), Some(now + GRACE));
        assert_eq!(departures.pop(now), None);
        assert_eq!(departures.pop(now + GRACE), Some(departure("first")));
        assert_eq!(departures.pop(now + GRACE), Some(departure("second")));
        assert_eq!(departures.pop(now + GRACE), None);
        assert_eq!(departures.pop_any(), Some(departure("late")));
    }

    #[test]
    fn a_client_that_comes_back_in_its_grace_does_not_depart() {
        let now = Instant::now();
        let mut departures = Departures::default();
        assert_eq!(departures.push(departure("a"), now, GRACE), None);
        departures.cancel(&"c".into(), &"a".into());
        assert_eq!(departures.pop_any(), None);
        assert_eq!(departures.next_due(), None);
    }
}
