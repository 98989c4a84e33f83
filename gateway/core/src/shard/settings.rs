//! What a shard is told once, when it starts.

use std::sync::Arc;

use crate::{backplane::Origin, config::GatewayConfig, key::ConnectionKey, token::Verifier};

/// Shared by a shard and its sessions; one per shard, because of `shard`.
pub struct Settings {
    /// The gateway's configuration.
    pub config: GatewayConfig,
    /// Checks tokens; shared by the shards of a process.
    pub verifier: Arc<Verifier>,
    /// The gateway's name, its pod; clients see it as `node`.
    pub node_name: String,
    /// Random id of this process, so that client ids and origins are unique in the cluster.
    pub node_id: u64,
    /// This shard of the process.
    pub shard: u16,
    /// The gateway's version; clients see it as `version`.
    pub version: String,
}

impl Settings {
    /// Where a message of a connection comes from.
    pub(crate) fn origin(&self, connection: ConnectionKey) -> Origin {
        Origin { node: self.node_id, shard: self.shard, connection }
    }

    /// The connection of this shard that a message comes from.
    pub(crate) fn own(&self, origin: Origin) -> Option<ConnectionKey> {
        (origin.node == self.node_id && origin.shard == self.shard).then_some(origin.connection)
    }

    /// A connection's id, unique in the cluster; a function of its key, so that no connection stores it.
    pub(crate) fn client_id(&self, connection: ConnectionKey) -> Arc<str> {
        let ConnectionKey { slot, generation } = connection;
        format!("{:016x}-{:04x}-{slot:08x}-{generation:08x}", self.node_id, self.shard).into()
    }
}
