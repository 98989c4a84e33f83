//! The backplane on Redis or Valkey, for gateways that form a cluster.
//!
//! Two connections: one carries commands, pipelined, whose replies are matched in order; the other live messages. Either comes back
//! by itself, and what was missed in between is read from the streams. A message crosses Redis once per node, whatever the shards;
//! those that wait together go together.

mod actor;
mod address;
mod batches;
mod bus;
mod chores;
mod commands;
mod connect;
mod connection;
mod envelope;
mod failure;
mod keys;
mod live;
mod log;
mod members;
mod pending;
mod pipeline;
mod presence;
mod questions;
mod reads;
mod requests;
mod scripts;
mod server;
mod tls;
mod trouble;
mod upkeep;
mod watch;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

pub use self::server::{InvalidRedis, RedisAccess};
use self::{actor::Actor, server::Server};
use super::{Health, Submitted, inboxes::Inboxes};
use crate::memory::Memory;

/// What the names of all keys and pub/sub channels begin with.
const PREFIX: &str = "mooring";
/// Characters of another one at most.
const LONGEST_PREFIX: usize = 128;
/// How long a node's clients stay present after its last sign of life.
const LEASE: Duration = Duration::from_secs(15);
/// The size of the publications that one answer brings at most.
const PAGE_BYTES: usize = 1024 * 1024;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// After how long what is done at a pace goes on.
const BREATH: Duration = Duration::from_millis(25);
/// How long the actor goes on after it was told to stop.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// Commands taken from the queue before other things get their turn.
const BATCH: usize = 256;

/// Where Redis is, and who this node is.
#[derive(Clone)]
pub struct RedisConfig {
    server: Arc<Server>,
    prefix: String,
    node: u64,
    lease: Duration,
    page_bytes: usize,
}

impl RedisConfig {
    /// `url` is `redis://[user[:password]@]host[:port][/db]`, or `rediss://` for TLS. `node` is the random id of this process.
    pub fn new(url: &str, access: RedisAccess, node: u64) -> Result<Self, InvalidRedis> {
        let server = Arc::new(Server::new(url, access)?);
        Ok(Self { server, prefix: PREFIX.to_owned(), node, lease: LEASE, page_bytes: PAGE_BYTES })
    }

    /// What the names of all keys and pub/sub channels begin with; `mooring` unless told otherwise.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, InvalidRedis> {
        // Braces would move the hash tag, and @ is how another database's pub/sub channels are told apart.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.chars().all(allowed) {
            return Err(InvalidRedis::Prefix { prefix: prefix.to_owned(), most: LONGEST_PREFIX });
        }
        prefix.clone_into(&mut self.prefix);
        Ok(self)
    }

    /// The size of the publications that one answer brings at most; 1 MiB unless told otherwise.
    #[must_use]
    pub fn with_page_bytes(mut self, page_bytes: usize) -> Self {
        self.page_bytes = page_bytes;
        self
    }

    /// How long this node's clients stay present after its last sign of life; 15 s unless told otherwise.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }
}

/// Serves commands until told to stop, then those already queued.
pub(super) async fn run(
    config: RedisConfig,
    memory: Arc<Memory>,
    mut commands: mpsc::Receiver<Submitted>,
    inboxes: Inboxes,
    mut stop: oneshot::Receiver<()>,
    health: Health,
) {
    let mut actor = Actor::new(config, inboxes, health);
    let mut tick = tokio::time::interval(TICK);
    // After waiting for a slow shard, what has arrived is read before it is missed.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(BATCH);
    let mut last_words = None;
    loop {
        tokio::select! {
            count = commands.recv_many(&mut batch, BATCH), if actor.has_room() => {
                if count == 0 {
                    break;
                }
                for command in batch.drain(..) {
                    actor.serve(command).await;
                }
                actor.send_ready();
                actor.carry_out().await;
            }
            event = actor.commands.next() => actor.on_commands(event).await,
            event = actor.live.next() => actor.on_live(event).await,
            _ = tick.tick() => actor.tick(Instant::now()).await,
            () = breathe(), if actor.is_held_back() => {}
            // A dropped thread guard is no order to stop.
            Ok(()) = &mut stop, if last_words.is_none() => {
                last_words = Some(tokio::time::Instant::now() + LAST_WORDS);
                commands.close();
            }
        }
        actor.ask_next().await;
        actor.keep_presence(Instant::now());
        memory.backplane_holds(actor.held_bytes());
    }
    let deadline = last_words.unwrap_or_else(|| tokio::time::Instant::now() + LAST_WORDS);
    // Past the deadline the lease runs out, and the other nodes clear up.
    let _ = tokio::time::timeout_at(deadline, actor.finish()).await;
}

async fn breathe() {
    tokio::time::sleep(BREATH).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_could_be_taken_for_something_else_is_refused_with_what_it_may_be() {
        let config = RedisConfig::new("redis://host:1", RedisAccess::default(), 1).unwrap();
        for prefix in ["", "a{b", "a}", "a@1", "a b", "ä", &"x".repeat(129)] {
            let error = config.clone().with_prefix(prefix).err().unwrap().to_string();
            assert!(error.starts_with(&format!("--redis-prefix is {prefix:?}; it has 1 to 128")), "{error}");
        }
        // What the operator gives, at its longest: NAMESPACE/NAME.
        assert!(config.with_prefix(&format!("{}/{}", "n".repeat(63), "c".repeat(46))).is_ok());
    }
}
