//! Publishes to channels with a stream, on their way to Redis: while one is under way, those that follow it wait for each other, and then
//! go together, as one script and one live message. So a busy channel costs Redis little more per message than one without a stream,
//! and a quiet one waits for nothing.

use std::{collections::BTreeMap, mem, sync::Arc};

use gateway_core::backplane::Retention;

use crate::backplane::Waiter;

/// Publishes of one batch at most, and their bytes: Redis serves nobody else meanwhile. A full batch waits for nothing.
const MOST: usize = 64;
const MOST_BYTES: usize = 64 * 1024;

/// Publishes to one channel, in order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) channel: Arc<str>,
    pub(super) retention: Retention,
    /// As [`super::envelope::encode_body`] writes them.
    pub(super) bodies: Vec<Vec<u8>>,
    /// Whom to tell, in the order of the bodies.
    pub(super) waiters: Vec<Waiter>,
    bytes: usize,
}

/// What waits, and what it waits for.
#[derive(Debug, Default)]
pub(super) struct Batches {
    lines: BTreeMap<Arc<str>, Line>,
    /// Channels whose batch waits for nothing but the end of the turn.
    ready: Vec<Arc<str>>,
    waiting: usize,
    bytes: usize,
}

/// One channel; there is none that is idle.
#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    next: Option<Batch>,
}

impl Batch {
    /// One publish by itself.
    pub(super) fn new(channel: Arc<str>, retention: Retention, body: Vec<u8>, waiter: Waiter) -> Self {
        let bytes = body.len();
        Self { channel, retention, bodies: vec![body], waiters: vec![waiter], bytes }
    }
}

impl Batches {
    /// Publishes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a publish; yields the batch before it when that is full, and so has to go now.
    pub(super) fn push(&mut self, publish: Batch) -> Option<Batch> {
        self.waiting += publish.bodies.len();
        self.bytes += publish.bytes;
        let line = self.lines.entry(publish.channel.clone()).or_default();
        let Some(batch) = &mut line.next else {
            if line.under_way == 0 {
                self.ready.push(publish.channel.clone());
            }
            line.next = Some(publish);
            return None;
        };
        if batch.bodies.len() < MOST && batch.bytes + publish.bytes <= MOST_BYTES {
            batch.bytes += publish.bytes;
            batch.bodies.extend(publish.bodies);
            batch.waiters.extend(publish.waiters);
            return None;
        }
        let full = mem::replace(batch, publish);
        Some(self.depart(full))
    }

    /// The next batch that does not wait for an answer.
    pub(super) fn pop_ready(&mut self) -> Option<Batch> {
        while let Some(channel) = self.ready.pop() {
            if let Some(batch) = self.pop(&channel) {
                return Some(batch);
            }
        }
        None
    }

    /// The batch of a channel, whatever it waits for.
    pub(super) fn pop(&mut self, channel: &str) -> Option<Batch> {
        let batch = self.lines.get_mut(channel)?.next.take()?;
        Some(self.depart(batch))
    }

    /// A batch of the channel is answered, or given up; yields the one that waited for it.
    pub(super) fn answered(&mut self, channel: &str) -> Option<Batch> {
        let line = self.lines.get_mut(channel)?;
        line.under_way = line.under_way.saturating_sub(1);
        if line.under_way > 0 {
            return None;
        }
        let next = self.pop(channel);
        if next.is_none() {
            self.lines.remove(channel);
        }
        next
    }

    fn depart(&mut self, batch: Batch) -> Batch {
        self.waiting -= batch.bodies.len();
        self.bytes -= batch.bytes;
        if let Some(line) = self.lines.get_mut(&batch.channel) {
            line.under_way += 1;
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{backplane::Recipient, budget::Budget};

    const RETENTION: Retention = Retention { size: 1, ttl: Duration::ZERO };

    fn publish(channel: &str, body: &[u8]) -> Batch {
        let waiter =
            Waiter { recipient: Recipient::Shard { shard: 0, waiter: None }, charge: Budget::new(0).take(0) };
        Batch::new(channel.into(), RETENTION, body.to_vec(), waiter)
    }

    fn bodies(batch: Option<Batch>) -> Vec<Vec<u8>> {
        batch.map(|batch| batch.bodies).unwrap_or_default()
    }

    #[test]
    fn what_comes_while_a_batch_is_under_way_waits_for_its_answer_and_goes_together() {
        let mut batches = Batches::default();
        assert!(batches.push(publish("a", b"1")).is_none());
        assert!(batches.push(publish("a", b"2")).is_none());
        assert_eq!(bodies(batches.pop_ready()), [b"1", b"2"]);
        for body in [b"3", b"4"] {
            assert!(batches.push(publish("a", body)).is_none());
        }
        assert_eq!((batches.pop_ready().is_none(), batches.len(), batches.bytes()), (true, 2, 2));
        assert_eq!(bodies(batches.answered("a")), [b"3", b"4"]);
        assert!(batches.answered("a").is_none());
        assert_eq!((batches.lines.len(), batches.len(), batches.bytes()), (0, 0, 0));
    }

    #[test]
    fn channels_do_not_wait_for_each_other() {
        let mut batches = Batches::default();
        for channel in ["a", "b"] {
            assert!(batches.push(publish(channel, b"1")).is_none());
            assert_eq!(bodies(batches.pop_ready()), [b"1"]);
        }
    }

    #[test]
    fn a_full_batch_waits_for_nothing_and_the_next_one_for_all_before_it() {
        let mut batches = Batches::default();
        assert!(batches.push(publish("a", &[0; MOST_BYTES])).is_none());
        assert_eq!(bodies(batches.push(publish("a", b"1"))).len(), 1);
        for _ in 1..MOST {
            assert!(batches.push(publish("a", b"1")).is_none());
        }
        assert_eq!(bodies(batches.push(publish("a", b"2"))).len(), MOST);
        assert!(batches.answered("a").is_none());
        assert_eq!(bodies(batches.answered("a")), [b"2"]);
    }
}
