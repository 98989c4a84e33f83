//! The shards' queues, as the actor sees them.

use std::sync::Arc;

use gateway_core::{
    backplane::{BackplaneError, Inbound, Message, Outcome},
    sequencer::ShardSet,
};

use super::{Recipient, Waiter, inbox::InboxSender};

/// The shards' queues, by index. A full queue is waited for; one whose shard is gone swallows what it is sent.
#[derive(Debug)]
pub(super) struct Inboxes(Vec<InboxSender>);

impl Inboxes {
    pub(super) fn new(shards: Vec<InboxSender>) -> Self {
        Self(shards)
    }

    /// Tells whoever waits for an operation; what it held is given back once they are told.
    pub(super) async fn complete(&self, waiter: Waiter, result: Result<Outcome, BackplaneError>) {
        let Waiter { recipient, charge: _charge } = waiter;
        match recipient {
            Recipient::Shard { waiter: None, .. } => {}
            Recipient::Shard { shard, waiter: Some((connection, request)) } => {
                self.send(shard, Inbound::Completed { connection, request, result }).await;
            }
            // A handler that no longer waits is gone with its request.
            Recipient::Api(reply) => _ = reply.send(result),
        }
    }

    pub(super) async fn deliver(&self, shards: ShardSet, channel: &Arc<str>, message: &Message) {
        for shard in shards.iter() {
            self.send(shard, Inbound::Delivered { channel: channel.clone(), message: message.clone() }).await;
        }
    }

    async fn send(&self, shard: u16, item: Inbound) {
        if let Some(inbox) = self.0.get(usize::from(shard)) {
            inbox.send(item).await;
        }
    }
}
