//! Messages that are published when they are due, whatever became of those before: what a server that falls behind costs shows in full,
//! since nobody waits for it (no coordinated omission).

use std::time::{Duration, Instant};

use crate::{
    audit::{Audit, Tally},
    load::{Load, LoadError},
};

/// For the last messages to arrive.
const DRAIN: Duration = Duration::from_secs(3);
/// The poll waits whole milliseconds.
const POLL_STEP: Duration = Duration::from_millis(1);

/// What is offered to a server: subscribers are the first connections of a load, publishers follow.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub subscribers: usize,
    pub publishers: usize,
    /// Messages per second.
    pub rate: f64,
    /// How long, and how many messages at least.
    pub time: Duration,
    pub samples: u64,
}

/// What became of an offer.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every message reached every subscriber, once and in order: how long the last one waited, sorted.
    Served(Vec<Duration>),
    /// More waited than may, or something did not arrive as it should.
    Behind(Tally),
}

/// When messages are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    rate: f64,
    published: u64,
}

impl Schedule {
    /// The next message's time.
    fn next(&self) -> Duration {
        Duration::from_secs_f64(self.published as f64 / self.rate)
    }

    /// Takes a message that is due; when it was.
    fn due(&mut self, now: Duration) -> Option<Duration> {
        let next = self.next();
        (next <= now).then(|| {
            self.published += 1;
            next
        })
    }

    /// How long to wait for what arrives without being late for the next message.
    fn wait(&self, now: Duration) -> Duration {
        let left = self.next().saturating_sub(now);
        if left < 2 * POLL_STEP { Duration::ZERO } else { left - POLL_STEP }
    }
}

impl Offer {
    /// Publishes on schedule, on the publishers in turn, and takes what arrives.
    pub fn make(&self, load: &mut Load) -> Result<Outcome, LoadError> {
        // With more on their way than in a second, or than publishers one each, the server has fallen behind.
        let most_waiting = self.publishers.max(self.rate as usize);
        let mut audit = Audit::new(self.subscribers, self.publishers);
        let mut schedule = Schedule { rate: self.rate, published: 0 };
        let started = Instant::now();
        while started.elapsed() < self.time || schedule.published < self.samples {
            while let Some(due) = schedule.due(started.elapsed()) {
                let publisher = (schedule.published as usize - 1) % self.publishers;
                // From when it was due: a generator that is late must not hide a server that is.
                let sequence = audit.publish(publisher, due);
                load.publish(self.subscribers + publisher, publisher as u8, sequence)?;
                if audit.waiting() > most_waiting {
                    return Ok(Outcome::Behind(audit.finish().0));
                }
            }
            take(load, &mut audit, started, schedule.wait(started.elapsed()))?;
        }
        let deadline = Instant::now() + DRAIN;
        while !audit.is_settled() && Instant::now() < deadline {
            take(load, &mut audit, started, Duration::from_millis(100))?;
        }
        Ok(match audit.finish() {
            (Tally { lost: 0, repeated: 0, .. }, mut latencies) => {
                latencies.sort_unstable();
                Outcome::Served(latencies)
            }
            (wrong, _) => Outcome::Behind(wrong),
        })
    }
}

fn take(load: &mut Load, audit: &mut Audit, started: Instant, wait: Duration) -> Result<(), LoadError> {
    load.turn(wait, |connection, (publisher, sequence)| {
        audit.receive(connection, publisher.into(), sequence, || started.elapsed());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_schedule_does_not_wait_for_those_who_are_late() {
        let mut schedule = Schedule { rate: 100.0, published: 0 };
        assert_eq!(schedule.due(millis(0)), Some(millis(0)));
        assert_eq!(schedule.due(millis(9)), None);
        // After a pause all that was due meanwhile is, each from its own time.
        assert_eq!(
            [(); 4].map(|()| schedule.due(millis(35))),
            [Some(millis(10)), Some(millis(20)), Some(millis(30)), None]
        );
        assert_eq!(schedule.due(millis(40)), Some(millis(40)));
    }

    #[test]
    fn a_schedule_keeps_its_rate_over_any_number_of_messages() {
        let mut schedule = Schedule { rate: 3.0, published: 0 };
        let published = std::iter::from_fn(|| schedule.due(Duration::from_secs(100_000))).count();
        assert_eq!(published, 300_001);
    }

    #[test]
    fn the_poll_ends_before_the_next_message_is_due() {
        let schedule = Schedule { rate: 100.0, published: 1 };
        let waits = [0, 8, 9, 10, 20].map(|now| schedule.wait(millis(now)));
        assert_eq!(waits, [millis(9), millis(1), Duration::ZERO, Duration::ZERO, Duration::ZERO]);
    }
}
