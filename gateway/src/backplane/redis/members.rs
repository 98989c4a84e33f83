//! Who is present through this node, so that a Redis that forgot it can be told again.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use gateway_core::backplane::ClientInfo;

/// The clients of one channel by id, and whether they are announced.
type Clients = BTreeMap<Arc<str>, (ClientInfo, bool)>;

/// Clients of this node by channel.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<Arc<str>, Clients>);

impl Members {
    /// Adds a client; true when it is the channel's first one here.
    pub(super) fn insert(&mut self, channel: &Arc<str>, info: ClientInfo, announce: bool) -> bool {
        let clients = self.0.entry(channel.clone()).or_default();
        let first = clients.is_empty();
        clients.insert(info.client.clone(), (info, announce));
        first
    }

    /// Takes a client out; true when it was the channel's last one here.
    pub(super) fn remove(&mut self, channel: &Arc<str>, client: &str) -> bool {
        let Some(clients) = self.0.get_mut(channel) else { return false };
        clients.remove(client);
        let last = clients.is_empty();
        if last {
            self.0.remove(channel);
        }
        last
    }

    /// The channel's first client after one, or its first, and whether it is announced.
    pub(super) fn after(&self, channel: &Arc<str>, client: Option<&Arc<str>>) -> Option<(&ClientInfo, bool)> {
        let from = client.map_or(Unbounded, Excluded);
        let (_, (info, announce)) = self.0.get(channel)?.range::<Arc<str>, _>((from, Unbounded)).next()?;
        Some((info, *announce))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }
}
