//! Fan-out in an open loop: messages are offered at a rate whatever becomes of them, as by users who know nothing of the server's load.

use std::time::Duration;

use super::{
    AT_ONCE, Size,
    paced::{Offer, Outcome},
    rest,
};
use crate::{
    load::{Load, LoadError},
    peers::{Peer, Places, Running},
    say,
    table::{Measured, percentile},
};

/// Publishers take turns, so that none waits for an answer before its next message.
const PUBLISHERS: usize = 32;
/// Messages per second at which latency is told.
const RATES: [f64; 3] = [50.0, 100.0, 200.0];
/// What is told of it.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
const MEASURED: Duration = Duration::from_secs(10);
/// For caches, buffers and compilers to take their sizes; and what is offered meanwhile.
const WARM_UP: Duration = Duration::from_secs(1);
const WARM_UP_RATE: f64 = 20.0;
/// A rate is kept up with when the last subscriber has 99 % of the messages within this time.
const BOUND_MILLIS: f64 = 100.0;
/// Rates that are tried for the highest: twenty to a factor of ten, from 10 to 10,000 messages per second.
const RUNGS: usize = 61;
const TRIED: Duration = Duration::from_secs(3);
/// So that one of a hundred is one.
const TRIED_SAMPLES: u64 = 100;

pub fn measure(peer: Peer, places: &Places, size: Size) -> Result<Vec<Measured>, LoadError> {
    let mut server = Server { peer, places, subscribers: size.subscribers / 10, running: None };
    let mut measured = Vec::new();
    for rate in RATES {
        let name =
            |what: &str| format!("{} subscribers, {rate} messages/s offered: {what}", server.subscribers);
        let kept_up = name("kept up with");
        let names = SHARES.map(|(text, share)| (name(&format!("to the last, {text} (ms)")), share));
        let latencies = server.offer(rate, MEASURED, 0)?;
        measured.push(Measured::fact(kept_up, f64::from(u8::from(latencies.is_some()))));
        if let Some(latencies) = latencies {
            measured.extend(names.map(|(name, share)| Measured::lower(name, percentile(&latencies, share))));
        }
    }
    let highest = highest(RUNGS, |rung| {
        let latencies = server.offer(rate_of(rung), TRIED, TRIED_SAMPLES)?;
        Ok::<_, LoadError>(latencies.is_some_and(|sorted| percentile(&sorted, 0.99) <= BOUND_MILLIS))
    })?;
    let rate = highest.map_or(0.0, rate_of);
    let name =
        format!("{} subscribers, highest rate with p99 to the last ≤ {BOUND_MILLIS} ms", server.subscribers);
    measured.push(Measured::higher(format!("{name}: messages/s"), rate));
    measured.push(Measured::higher(format!("{name}: deliveries/s"), rate * server.subscribers as f64));
    Ok(measured)
}

/// A server with its clients, until it falls behind; then the next one.
struct Server<'a> {
    peer: Peer,
    places: &'a Places,
    subscribers: usize,
    running: Option<(Load, Running)>,
}

impl Server<'_> {
    /// Latencies at a rate, sorted; nothing when the server does not keep up with it.
    fn offer(&mut self, rate: f64, time: Duration, samples: u64) -> Result<Option<Vec<Duration>>, LoadError> {
        let (mut load, running) = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        match offer(self.subscribers, rate, time, samples).make(&mut load) {
            Ok(Outcome::Served(latencies)) => {
                self.running = Some((load, running));
                Ok(Some(latencies))
            }
            Ok(Outcome::Behind(_)) => Ok(None),
            // Servers close who is too slow for what they have queued, or stop reading from publishers.
            Err(error) => {
                say(&format!("{}: {rate:.0} messages/s: {error}", self.peer.name()));
                Ok(None)
            }
        }
    }

    fn start(&self) -> Result<(Load, Running), LoadError> {
        let running = Running::start(self.peer, self.places)?;
        let mut load = Load::new()?;
        load.open(&running.subscriber(), self.subscribers, AT_ONCE)?;
        load.open(&running.publisher(), PUBLISHERS, AT_ONCE)?;
        rest(&mut load)?;
        offer(self.subscribers, WARM_UP_RATE, WARM_UP, 0).make(&mut load)?;
        Ok((load, running))
    }
}

fn offer(subscribers: usize, rate: f64, time: Duration, samples: u64) -> Offer {
    Offer { subscribers, publishers: PUBLISHERS, rate, time, samples }
}

fn rate_of(rung: usize) -> f64 {
    10.0 * 10_f64.powf(rung as f64 / 20.0)
}

/// The highest of the rungs that hold, by halving; whether one holds is asked of few of them.
fn highest<E>(rungs: usize, mut holds: impl FnMut(usize) -> Result<bool, E>) -> Result<Option<usize>, E> {
    let (mut held, mut beyond) = (0, rungs);
    while held < beyond {
        let rung = usize::midpoint(held, beyond);
        if holds(rung)? {
            held = rung + 1;
        } else {
            beyond = rung;
        }
    }
    Ok(held.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rung_that_holds_is_found_with_few_attempts() {
        for limit in 0..=RUNGS {
            let mut asked = 0;
            let found = highest(RUNGS, |rung| {
                asked += 1;
                Ok::<_, ()>(rung < limit)
            });
            assert_eq!(found, Ok(limit.checked_sub(1)));
            assert!(asked <= 6, "{asked} attempts");
        }
    }

    #[test]
    fn rungs_reach_from_ten_to_ten_thousand() {
        assert!((rate_of(0) - 10.0).abs() < 1e-6 && (rate_of(RUNGS - 1) - 10_000.0).abs() < 1e-6);
    }
}
