//! Live messages that nothing keeps, and who is to get any.

use std::{sync::Arc, time::Instant};

use gateway_core::{
    backplane::{BackplaneError, BusOp, Outcome, Publish},
    sequencer::{Follow, Subscribe},
};

use super::{
    actor::{Actor, Completed},
    envelope,
    pending::Pending,
    pipeline::OP_WITHIN,
};
use crate::backplane::Waiter;

/// Subscribes that are not completed at most.
const MAX_SUBSCRIBES: usize = 65_536;

/// A publication as Redis keeps it, or passes it on.
pub(super) fn body(publish: &Publish) -> Vec<u8> {
    let Publish { payload, info, sender, .. } = publish;
    let mut body = Vec::new();
    envelope::encode_body(&mut body, rand::random(), payload, info.as_ref(), sender.as_ref());
    body
}

impl Actor {
    pub(super) fn serve_bus(&mut self, op: BusOp, waiter: Waiter) -> Option<Completed> {
        match op {
            BusOp::Subscribe { channel } => self.subscribe(channel, None, waiter),
            BusOp::Release { channel } => {
                if let Some(shard) = waiter.shard() {
                    self.sequencer.release(&channel, shard);
                }
                Some((waiter, Ok(Outcome::Done)))
            }
            BusOp::Publish(publish) => {
                let key = publish.idempotency_key.as_deref();
                let command = self.scripts.pass(&publish.channel, &body(&publish), key);
                self.commands.send_or_park(command, Pending::Publish(waiter));
                None
            }
        }
    }

    /// Has the sequencer deliver a channel.
    pub(super) fn subscribe(
        &mut self,
        channel: Arc<str>,
        follow: Option<Follow>,
        waiter: Waiter,
    ) -> Option<Completed> {
        let Some(shard) = waiter.shard() else {
            return Some((waiter, Err(BackplaneError::Unavailable)));
        };
        if self.subscribes.len() >= MAX_SUBSCRIBES {
            return Some((waiter, Err(BackplaneError::Busy)));
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.subscribes.insert(ticket, waiter);
        self.sequencer.subscribe(&channel, Subscribe { ticket, shard, follow });
        self.subscribe_deadlines.push_back((Instant::now() + OP_WITHIN, ticket, channel));
        None
    }
}
