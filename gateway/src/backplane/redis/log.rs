//! Streams: who follows them, appends to them and reads them.

use std::{sync::Arc, time::Instant};

use gateway_core::{
    backplane::{LogOp, Publish, Retention},
    resp::Resp,
    sequencer::{Follow, Generation},
};

use super::{
    actor::{Actor, Completed},
    batches::Batch,
    bus,
    failure::Failure,
    pending::Pending,
    questions::Question,
    requests::History,
};
use crate::backplane::Waiter;

impl Actor {
    pub(super) fn serve_log(&mut self, op: LogOp, waiter: Waiter) -> Option<Completed> {
        match op {
            LogOp::Follow { channel, since, limit } => {
                return self.subscribe(channel, Some(Follow { since, limit }), waiter);
            }
            LogOp::Append { publish, retention } => self.append(publish, retention, waiter),
            LogOp::Read { channel, retention, since, limit, bytes, reverse } => {
                let bytes = self.config.page_bytes.min(bytes as usize);
                let history = History { size: retention.size, since, limit, bytes, reverse };
                self.reads.push(Question::Read(channel, history), waiter, Instant::now());
            }
        }
        None
    }

    /// Appends a message, which may wait for others.
    fn append(&mut self, publish: Publish, retention: Retention, waiter: Waiter) {
        let body = bus::body(&publish);
        let Publish { channel, idempotency_key: key, .. } = publish;
        if key.is_none() && self.commands.is_up() {
            if let Some(full) = self.batches.push(Batch::new(channel, retention, body, waiter)) {
                self.send_batch(full);
            }
            return;
        }
        self.send_waiting(&channel);
        let command = self.scripts.append(&channel, retention, &[body], key.as_deref());
        self.commands.send_or_park(command, Pending::Publish(waiter));
    }

    /// A stream began in the name of a life of Redis's data that is over, or that this node knows nothing of yet: Redis says which. Clients
    /// that know the channel from before a FLUSHALL would take this stream for its continuation.
    pub(super) fn question_life(&mut self, channel: Arc<str>, generation: Generation, epoch: Arc<str>) {
        let mut get = redis::cmd("GET");
        get.arg(self.keys.store());
        if self.commands.send(&get, Pending::Life(channel.clone(), generation, epoch)).is_err() {
            self.sequencer.read_failed(&channel, generation);
        }
    }

    /// Redis tells the id of this life of its data.
    pub(super) fn on_life(&mut self, channel: Arc<str>, generation: Generation, epoch: &str, id: &Resp) {
        if matches!(id, Resp::Text(id) if **id == *self.scripts.store.as_bytes()) {
            return self.send_rotation(channel, generation, epoch);
        }
        self.sequencer.read_failed(&channel, generation);
        self.commands.fail(Failure::GivenUp("Redis lost its data"));
    }

    /// Sends the publishes of a turn that wait for no others.
    pub(super) fn send_ready(&mut self) {
        while let Some(batch) = self.batches.pop_ready() {
            self.send_batch(batch);
        }
    }

    /// Sends what waits for a channel, so that something else can follow it.
    pub(super) fn send_waiting(&mut self, channel: &str) {
        if let Some(batch) = self.batches.pop(channel) {
            self.send_batch(batch);
        }
    }

    /// A batch is answered or given up; what waited for it may go.
    pub(super) fn appended(&mut self, channel: &str) {
        if let Some(batch) = self.batches.answered(channel) {
            self.send_batch(batch);
        }
    }

    fn send_batch(&mut self, batch: Batch) {
        let Batch { channel, retention, bodies, waiters, .. } = batch;
        let command = self.scripts.append(&channel, retention, &bodies, None);
        self.commands.send_or_park(command, Pending::Append(channel, waiters));
    }
}
