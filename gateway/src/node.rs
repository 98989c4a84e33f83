//! What the threads of one gateway share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use gateway_core::{
    control::{Accepted, Connections},
    policy::Policy,
};
use tokio::sync::Notify;

use crate::{
    admission::Admission,
    cgroup,
    checks::Checks,
    clock::Clock,
    memory::{self, Memory},
    metrics::{self, Metrics, ShardNumbers},
    settings::Settings,
};

/// One gateway, as all of its threads see it.
pub struct Node {
    /// What it was started with.
    pub settings: Settings,
    /// Random, so that client ids and origins are unique in the cluster.
    pub id: u64,
    /// Its time.
    pub clock: Clock,
    /// Its limits.
    pub admission: Arc<Admission>,
    /// Of tokens, where that is slow.
    pub checks: Checks,
    /// Told when a token names a key that is not known here.
    pub unknown_keys: Notify,
    /// What it holds for its clients.
    pub memory: Arc<Memory>,
    /// Its counters.
    pub metrics: Metrics,
    /// Live numbers by shard.
    pub shards: Vec<Arc<ShardNumbers>>,
    /// Every shard listens.
    pub started: AtomicBool,
}

impl Node {
    /// A gateway that has not started yet, and may open `files` connections.
    pub fn new(
        settings: Settings,
        policy: &Policy,
        checks: Checks,
        files: u32,
    ) -> Result<Self, prometheus::Error> {
        let shards = settings.shard_count();
        let memory_limit = memory::limit(policy.limits().memory_bytes, cgroup::memory_limit());
        Ok(Self {
            id: rand::random(),
            clock: Clock::start(),
            admission: Admission::new(policy.limits(), files),
            checks,
            unknown_keys: Notify::new(),
            memory: Memory::new(memory_limit, shards),
            metrics: Metrics::new()?,
            shards: (0..shards).map(|_| Arc::default()).collect(),
            started: AtomicBool::new(false),
            settings,
        })
    }

    /// Live connections of all shards.
    #[must_use]
    pub fn connections(&self) -> Connections {
        metrics::total(&self.shards).0
    }

    /// Connections that all shards have accepted.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        metrics::total(&self.shards).1
    }

    /// Whether every shard listens.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started.load(Relaxed)
    }
}
