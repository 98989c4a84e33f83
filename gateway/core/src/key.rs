//! How the connections of a shard, and what they wait for, are named.

/// Identifies one connection within its shard; never reused while an operation for it is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// Index into the shard's slab of connections.
    pub slot: u32,
    /// Tells successive tenants of one slot apart.
    pub generation: u32,
}

/// Matches a completion to the request of the session that waits for it. Scope: one connection.
pub type RequestId = u32;
