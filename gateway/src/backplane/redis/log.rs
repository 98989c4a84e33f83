//! Publishes.

use std::sync::Arc;

use gateway_core::{
    backplane::{ClientInfo, Origin, Payload, Retention},
    resp::Resp,
    sequencer::Generation,
};

use super::{actor::Actor, batches::Batch, envelope, failure::Failure, pending::Pending};
use crate::backplane::Waiter;

/// A publication as Redis keeps it.
pub(super) fn body(payload: &Payload, info: Option<&ClientInfo>, origin: Option<&Origin>) -> Vec<u8> {
    let mut body = Vec::new();
    envelope::encode_body(&mut body, rand::random(), payload, info, origin);
    body
}

impl Actor {
    /// Publishes a message; one for a stream may wait for others.
    pub(super) fn publish(
        &mut self,
        channel: Arc<str>,
        retention: Option<Retention>,
        body: Vec<u8>,
        key: Option<Arc<str>>,
        waiter: Waiter,
    ) {
        let Some(retention) = retention else {
            let command = self.scripts.pass(&channel, &body, key.as_deref());
            return self.commands.send_or_park(command, Pending::Publish(waiter));
        };
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
