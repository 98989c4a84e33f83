//! What the threads of one gateway share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use gateway_core::{
    control::{Accepted, Connections},
    token::Verifier,
};

use tokio::sync::Semaphore;

use crate::{
    admission::Admission,
    budget::Budget,
    clock::Clock,
    metrics::{self, Metrics, ShardNumbers},
    settings::{Settings, SettingsError},
};

/// Bytes of requests' bodies that may be on their way: four of the largest that a configuration allows.
const BODIES: usize = 64 * 1024 * 1024;

/// Tokens of HTTP requests that are verified at once, where that is slow; the others wait for their turn.
const VERIFICATIONS: usize = 2;

/// One gateway, as all of its threads see it.
pub struct Node {
    /// What it was started with.
    pub settings: Settings,
    /// Checks the tokens of clients.
    pub verifier: Arc<Verifier>,
    /// Random, so that client ids and origins are unique in the cluster.
    pub id: u64,
    /// Its time.
    pub clock: Clock,
    /// Its limits.
    pub admission: Arc<Admission>,
    /// For slow verifications, which leave the shard's thread.
    pub verifications: Semaphore,
    /// For the bodies of requests that are arriving.
    pub bodies: Arc<Budget>,
    /// Its counters.
    pub metrics: Metrics,
    /// Live numbers by shard.
    pub shards: Vec<Arc<ShardNumbers>>,
    /// Every shard listens.
    pub started: AtomicBool,
}

/// Why a gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its settings cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Two metrics of one name.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Node {
    /// A gateway that has not started yet.
    pub fn new(settings: Settings) -> Result<Self, NodeError> {
        let shards = (0..settings.shard_count()).map(|_| Arc::default()).collect();
        Ok(Self {
            verifier: settings.verifier()?,
            id: rand::random(),
            clock: Clock::start(),
            admission: Admission::new(&settings.config.limits),
            verifications: Semaphore::new(VERIFICATIONS),
            bodies: Budget::new(BODIES),
            metrics: Metrics::new()?,
            shards,
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
