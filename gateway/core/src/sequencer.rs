//! Keeps the contract of [`crate::backplane`] for all shards of one node, whatever pub/sub drops, repeats or delays.

mod shard_set;

pub use shard_set::ShardSet;
