//! Publishes that came together and go to Redis together, by channel: one script for all of them, and one live message.

use std::{collections::BTreeMap, mem, sync::Arc};

use gateway_core::backplane::Retention;

use crate::backplane::Reply;

/// Publishes of one batch at most, and their bytes: Redis serves nobody else meanwhile.
const MOST: usize = 64;
const MOST_BYTES: usize = 64 * 1024;

/// Publishes to one channel with a stream, in order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) channel: Arc<str>,
    pub(super) retention: Retention,
    /// As [`super::envelope::encode_body`] writes them.
    pub(super) bodies: Vec<Vec<u8>>,
    /// Whom to tell, in the order of the bodies.
    pub(super) replies: Vec<Reply>,
    bytes: usize,
}

/// What is not sent yet.
#[derive(Debug, Default)]
pub(super) struct Batches(BTreeMap<Arc<str>, Batch>);

impl Batch {
    /// One publish by itself.
    pub(super) fn new(channel: Arc<str>, retention: Retention, body: Vec<u8>, reply: Reply) -> Self {
        let bytes = body.len();
        Self { channel, retention, bodies: vec![body], replies: vec![reply], bytes }
    }
}

impl Batches {
    /// Adds a publish; yields its channel's batch when that has to go.
    pub(super) fn push(&mut self, next: Batch) -> Option<Batch> {
        let Some(batch) = self.0.get_mut(&next.channel) else {
            self.0.insert(next.channel.clone(), next);
            return None;
        };
        if batch.bodies.len() < MOST && batch.bytes + next.bytes <= MOST_BYTES {
            batch.bytes += next.bytes;
            batch.bodies.extend(next.bodies);
            batch.replies.extend(next.replies);
            return None;
        }
        Some(mem::replace(batch, next))
    }

    /// All batches.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Batch> + use<> {
        mem::take(&mut self.0).into_values()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RETENTION: Retention = Retention { size: 1, ttl: Duration::ZERO };

    fn publish(channel: &str, body: Vec<u8>) -> Batch {
        Batch::new(channel.into(), RETENTION, body, Reply::Shard { shard: 0, waiter: None })
    }

    #[test]
    fn publishes_of_a_channel_are_together_and_in_order() {
        let mut batches = Batches::default();
        for (channel, body) in [("b", 1), ("a", 2), ("b", 3)] {
            assert!(batches.push(publish(channel, vec![body])).is_none());
        }
        let taken: Vec<_> = batches.take().map(|batch| (batch.bodies, batch.replies.len())).collect();
        assert_eq!(taken, [(vec![vec![2]], 1), (vec![vec![1], vec![3]], 2)]);
        assert_eq!(batches.take().count(), 0);
    }

    #[test]
    fn a_batch_goes_before_it_has_too_many_publishes_or_bytes() {
        let mut batches = Batches::default();
        for _ in 0..MOST {
            assert!(batches.push(publish("many", vec![0])).is_none());
        }
        assert_eq!(batches.push(publish("many", vec![1])).unwrap().bodies.len(), MOST);
        assert!(batches.push(publish("large", vec![0; MOST_BYTES])).is_none());
        assert_eq!(batches.push(publish("large", vec![1])).unwrap().bodies, [vec![0; MOST_BYTES]]);
    }
}
