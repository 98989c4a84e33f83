//! Who is present through this node, so that a Redis that forgot it can be told again.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use gateway_core::backplane::ClientInfo;

/// Counts the lives of Redis's data that this node has seen.
pub(super) type Life = u32;

/// The clients of one channel by id.
type Clients = BTreeMap<Arc<str>, Member>;

/// Clients of this node by channel.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<Arc<str>, Clients>);

/// A client that is present.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) info: ClientInfo,
    pub(super) join: Join,
}

/// Whether others were told that a client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// They are not told of clients that come and go.
    Silent,
    /// They will be, when Redis is or when it is its turn.
    Untold,
    /// They were, and Redis knew of the client in this life of its data.
    Told(Life),
}

impl Members {
    /// Adds a client; true when it is the channel's first one here.
    pub(super) fn insert(&mut self, channel: &Arc<str>, member: Member) -> bool {
        let clients = self.0.entry(channel.clone()).or_default();
        let first = clients.is_empty();
        clients.insert(member.info.client.clone(), member);
        first
    }

    pub(super) fn get_mut(&mut self, channel: &str, client: &str) -> Option<&mut Member> {
        self.0.get_mut(channel)?.get_mut(client)
    }

    pub(super) fn has(&self, channel: &str, client: &str) -> bool {
        self.0.get(channel).is_some_and(|clients| clients.contains_key(client))
    }

    /// Takes a client out, and whether it was the channel's last one here.
    pub(super) fn remove(&mut self, channel: &Arc<str>, client: &str) -> (Option<Member>, bool) {
        let Some(clients) = self.0.get_mut(channel) else { return (None, false) };
        let member = clients.remove(client);
        let last = clients.is_empty();
        if last {
            self.0.remove(channel);
        }
        (member, last)
    }

    /// The channel's first client after one, or its first.
    pub(super) fn after(&self, channel: &Arc<str>, client: Option<&Arc<str>>) -> Option<&Arc<str>> {
        let from = client.map_or(Unbounded, Excluded);
        let (client, _) = self.0.get(channel)?.range::<Arc<str>, _>((from, Unbounded)).next()?;
        Some(client)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }
}
