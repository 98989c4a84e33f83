//! One shard's queue from the backplane, bounded in number and in bytes.

use std::sync::Arc;

use gateway_core::backplane::Inbound;
use tokio::sync::{Notify, mpsc};

use crate::budget::Budget;

/// The backplane's end.
#[derive(Debug)]
pub struct InboxSender {
    items: mpsc::Sender<Inbound>,
    load: Arc<Load>,
}

/// The shard's end.
#[derive(Debug)]
pub struct Inbox {
    items: mpsc::Receiver<Inbound>,
    load: Arc<Load>,
}

#[derive(Debug)]
struct Load {
    bytes: Arc<Budget>,
    /// Something was taken while there was too much.
    taken: Notify,
}

/// A queue for so many items, of as many bytes as the budget has, and one item more.
#[must_use]
pub fn inbox(items: usize, bytes: Arc<Budget>) -> (InboxSender, Inbox) {
    let (sender, receiver) = mpsc::channel(items);
    let load = Arc::new(Load { bytes, taken: Notify::new() });
    (InboxSender { items: sender, load: load.clone() }, Inbox { items: receiver, load })
}

impl InboxSender {
    /// Waits until there is room. A shard that ended swallows what it is sent.
    pub(super) async fn send(&self, item: Inbound) {
        while self.load.bytes.is_exceeded() && !self.items.is_closed() {
            let taken = self.load.taken.notified();
            if self.load.bytes.is_exceeded() {
                tokio::select! {
                    () = taken => {}
                    () = self.items.closed() => return,
                }
            }
        }
        self.load.bytes.add(item.bytes());
        // A shard that ended needs nothing any more.
        let _ = self.items.send(item).await;
    }
}

impl Inbox {
    /// Takes up to `most` items, as [`mpsc::Receiver::recv_many`] does.
    pub async fn recv_many(&mut self, items: &mut Vec<Inbound>, most: usize) -> usize {
        let before = items.len();
        let count = self.items.recv_many(items, most).await;
        let bytes = items.iter().skip(before).map(Inbound::bytes).sum();
        if self.load.bytes.sub(bytes) {
            self.load.taken.notify_one();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt as _;
    use gateway_core::backplane::{Message, Payload, Publication};

    use super::*;

    const BYTES: usize = 16 * 1024 * 1024;

    fn item(bytes: usize) -> Inbound {
        let payload = Payload::Binary(Bytes::from(vec![0; bytes]));
        let publication = Publication { offset: 0, payload, info: None, sender: None };
        Inbound::Delivered { channel: "c".into(), message: Message::Publication(Arc::new(publication)) }
    }

    #[tokio::test]
    async fn what_waits_for_a_shard_is_bounded_in_bytes_and_goes_on_once_the_shard_takes_some() {
        let (sender, mut inbox) = inbox(1_000, Budget::new(BYTES));
        let mut sent = 0;
        while sender.send(item(1024 * 1024)).now_or_never().is_some() {
            sent += 1;
        }
        assert_eq!(sent, BYTES / (1024 * 1024), "and none waits for room in number");
        let mut items = Vec::new();
        let (count, ()) = tokio::join!(inbox.recv_many(&mut items, 2), sender.send(item(1)));
        assert_eq!(count, 2);
        while items.len() < sent + 1 {
            inbox.recv_many(&mut items, 100).await;
        }
        assert_eq!(sender.load.bytes.held(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_shard_that_ended() {
        let (sender, inbox) = inbox(1_000, Budget::new(BYTES));
        while sender.send(item(1024 * 1024)).now_or_never().is_some() {}
        let (_, ()) = tokio::join!(async { drop(inbox) }, sender.send(item(1)));
    }
}
