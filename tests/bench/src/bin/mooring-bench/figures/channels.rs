//! Channels with one publisher each: whether every subscriber got every message of its channel once and in order.

use std::time::{Duration, Instant};

use crate::{
    audit::{Audit, Tally},
    load::{Load, LoadError},
};

/// For the last messages to arrive.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// The channels. Their subscribers are connections in a row, those of a channel beside each other.
pub struct Channels {
    audits: Vec<Audit>,
    /// Of one channel.
    subscribers: usize,
    /// The connection of the first channel's first subscriber.
    first: usize,
    started: Instant,
}

impl Channels {
    pub fn new(channels: usize, subscribers: usize, first: usize) -> Self {
        let audits = (0..channels).map(|_| Audit::new(subscribers, 1)).collect();
        Self { audits, subscribers, first, started: Instant::now() }
    }

    /// Notes that a channel's next message is published now. What names its publisher, and its sequence.
    pub fn publish(&mut self, channel: usize) -> (u8, u32) {
        (mark(channel), self.audits[channel].publish(0, self.started.elapsed()))
    }

    /// Takes what arrives; how many messages have thereby reached all subscribers of their channel.
    pub fn turn(&mut self, load: &mut Load, wait: Duration) -> Result<u64, LoadError> {
        let Self { audits, subscribers, first, started } = self;
        let mut complete = 0;
        load.turn(wait, |connection, (publisher, sequence)| {
            let place = connection - *first;
            let channel = place / *subscribers;
            // A message of another channel is nobody's: it counts as lost where it belongs.
            if publisher == mark(channel) {
                let now = || started.elapsed();
                complete += u64::from(audits[channel].receive(place % *subscribers, 0, sequence, now));
            }
        })?;
        Ok(complete)
    }

    /// How many messages of its channel a connection has got.
    pub fn seen(&self, connection: usize) -> u32 {
        let place = connection - self.first;
        self.audits[place / self.subscribers].seen(place % self.subscribers, 0)
    }

    /// Waits until all has arrived, as long as that may take, and ends.
    pub fn finish(mut self, load: &mut Load) -> Result<Tally, LoadError> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        while !self.audits.iter().all(Audit::is_settled) && Instant::now() < deadline {
            self.turn(load, Duration::from_millis(100))?;
        }
        let tallies = self.audits.into_iter().map(|audit| audit.finish().0);
        Ok(tallies.fold(Tally::default(), |a, b| Tally {
            delivered: a.delivered + b.delivered,
            lost: a.lost + b.lost,
            repeated: a.repeated + b.repeated,
        }))
    }
}

/// What a channel's messages name as their publisher; neighbours differ.
fn mark(channel: usize) -> u8 {
    (channel % 256) as u8
}
