//! Clients whose presence ends once their grace is over.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::backplane::ClientInfo;

/// Bytes of the departures that wait at most.
const LIMIT: usize = 64 * 1024 * 1024;

/// A `PresenceOp::Leave` that is due, or will be.
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
    bytes: usize,
}

impl Departures {
    /// Adds a departure; [`Departures::pop_excess`] says what comes of there being too many.
    pub(super) fn push(&mut self, departure: Departure, now: Instant, grace: Duration) {
        self.cancel(&departure.channel, &departure.info.client);
        self.counter += 1;
        let due = (now + grace, self.counter);
        self.due.insert(key(&departure), due);
        self.bytes += departure.info.bytes();
        self.queue.insert(due, departure);
    }

    /// The client is back: its presence does not end.
    pub(super) fn cancel(&mut self, channel: &Arc<str>, client: &Arc<str>) {
        if let Some(due) = self.due.remove(&(channel.clone(), client.clone()))
            && let Some(departure) = self.queue.remove(&due)
        {
            self.bytes -= departure.info.bytes();
        }
    }

    /// The earliest departure, while there are more than can wait.
    pub(super) fn pop_excess(&mut self) -> Option<Departure> {
        let excess = self.bytes > LIMIT;
        self.take(|_| excess)
    }

    /// Bytes of those that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the next departure is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    /// Whether one is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    /// The next departure, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Departure> {
        self.take(|due| due <= now)
    }

    fn take(&mut self, ready: impl FnOnce(Instant) -> bool) -> Option<Departure> {
        let entry = self.queue.first_entry()?;
        if !ready(entry.key().0) {
            return None;
        }
        let departure = entry.remove();
        self.bytes -= departure.info.bytes();
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
        departures.push(departure("late"), now, GRACE * 2);
        departures.push(departure("first"), now, GRACE);
        departures.push(departure("second"), now, GRACE);
        assert_eq!(departures.next_due(), Some(now + GRACE));
        assert_eq!(departures.pop(now), None);
        let due: Vec<_> = std::iter::from_fn(|| departures.pop(now + GRACE)).collect();
        assert_eq!(due, [departure("first"), departure("second")]);
        assert_eq!(departures.pop(now + GRACE * 2), Some(departure("late")));
        assert_eq!(departures.bytes, 0);
    }

    #[test]
    fn a_client_that_comes_back_in_its_grace_does_not_depart() {
        let now = Instant::now();
        let mut departures = Departures::default();
        departures.push(departure("a"), now, GRACE);
        departures.cancel(&"c".into(), &"a".into());
        assert_eq!((departures.pop(now + GRACE), departures.next_due(), departures.bytes), (None, None, 0));
    }

    #[test]
    fn the_earliest_departures_do_not_wait_when_all_of_them_hold_too_much() {
        let now = Instant::now();
        let mut departures = Departures::default();
        for number in 0..6 {
            let mut departure = departure(&number.to_string());
            departure.info.conn_info = Some(vec![0; LIMIT / 4].into());
            departures.push(departure, now, GRACE);
        }
        let excess = std::iter::from_fn(|| departures.pop_excess()).map(|departure| departure.info.client);
        assert_eq!(excess.collect::<Vec<_>>(), ["0".into(), "1".into(), "2".into()] as [Arc<str>; 3]);
    }
}
