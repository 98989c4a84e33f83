//! What a shard is told once, when it starts.

use std::sync::Arc;

use crate::{backplane::Sender, key::ConnectionKey};

/// Shared by a shard and its sessions.
pub struct ShardSettings {
    /// The gateway's name, its pod; clients see it as `node`.
    pub node_name: String,
    /// Random id of this process, so that client ids and origins are unique in the cluster.
    pub node_id: u64,
    /// This shard of the process.
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
    /// The gateway's version; clients see it as `version`.
    pub version: String,
}

impl ShardSettings {
    /// Where a message of a connection comes from.
    pub(crate) fn sender(&self, connection: ConnectionKey) -> Sender {
        Sender { node: self.node_id, shard: self.shard, connection }
    }

    /// The connection of this shard that a message comes from.
    pub(crate) fn own(&self, sender: Sender) -> Option<ConnectionKey> {
        (sender.node == self.node_id && sender.shard == self.shard).then_some(sender.connection)
    }

    /// A connection's id, unique in the cluster; a function of its key, so that no connection stores it.
    pub(crate) fn client_id(&self, connection: ConnectionKey) -> Arc<str> {
        let ConnectionKey { slot, generation } = connection;
        format!("{:016x}-{:04x}-{slot:08x}-{generation:08x}", self.node_id, self.shard).into()
    }
}
