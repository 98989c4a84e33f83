//! Who is present through this node, so that a Redis that forgot it can be told again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use gateway_core::backplane::ClientInfo;

/// The clients of one channel by id, and whether they are announced.
type Clients = BTreeMap<Arc<str>, (ClientInfo, bool)>;

/// Clients of this node by channel.
#[derive(Debug, Default)]
pub(super) struct Members(HashMap<Arc<str>, Clients>);

impl Members {
    /// Adds a client; true when it is the channel's first one here.
    pub(super) fn insert(&mut self, channel: &Arc<str>, info: ClientInfo, announce: bool) -> bool {
        let clients = self.0.entry(channel.clone()).or_default();
        let first = clients.is_empty();
        clients.insert(info.client.clone(), (info, announce));
        first
    }

    /// Takes a client out; true when it was the channel's last one here.
    pub(super) fn remove(&mut self, channel: &Arc<str>, client: &Arc<str>) -> bool {
        let Some(clients) = self.0.get_mut(channel) else { return false };
        clients.remove(client);
        let last = clients.is_empty();
        if last {
            self.0.remove(channel);
        }
        last
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Channels with their clients.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = &(ClientInfo, bool)>)> {
        self.0.iter().map(|(channel, clients)| (channel, clients.values()))
    }
}
