//! Publishes.

use std::sync::Arc;

use gateway_core::{
    backplane::{ClientInfo, Origin, Payload, Retention},
    resp::Resp,
};

use super::{actor::Actor, batches::Batch, envelope, pending::Pending, requests};
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
            return self.commands.send_or_park(command, Pending::Publish(channel, waiter));
        };
        if key.is_none() && self.commands.is_up() {
            if let Some(full) = self.batches.push(Batch::new(channel, retention, body, waiter)) {
                self.send_batch(full);
            }
            return;
        }
        self.send_waiting(&channel);
        let command = self.scripts.append(&channel, retention, &[body], key.as_deref());
        self.commands.send_or_park(command, Pending::Publish(channel, waiter));
    }

    /// A stream that has just begun says in which life of Redis's data. Was that over, by a FLUSHALL that cut nobody off, clients that know
    /// the stream before it would take this one for its continuation: so the id is looked at once more.
    pub(super) fn published(&mut self, channel: Arc<str>, reply: &Resp) {
        if let Some((epoch, 1)) = requests::place(reply) {
            let mut get = redis::cmd("GET");
            get.arg(self.keys.store());
            // The next connection begins with it.
            let _ = self.commands.send(&get, Pending::Life(channel, epoch));
        }
    }

    /// Redis tells the id of this life of its data.
    pub(super) fn on_life(&mut self, channel: &str, epoch: &str, id: &Resp) {
        if !matches!(id, Resp::Text(id) if **id == *self.scripts.store.as_bytes()) {
            let command = self.scripts.disown(channel, epoch);
            let _ = self.commands.send(&command, Pending::Disowned);
        }
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
