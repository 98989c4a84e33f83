//! The backplane on Redis or Valkey, for gateways that form a cluster.
//!
//! Two connections: one carries commands, pipelined, whose replies are matched in order; the other live messages. Either comes back
//! by itself, and what was missed in between is read from the streams. A message crosses Redis once per node, whatever the shards;
//! those that wait together go together.

mod actor;
mod batches;
mod chores;
mod commands;
mod envelope;
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
mod trouble;
mod upkeep;
mod watch;
mod wire;

use std::time::{Duration, Instant};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

use self::actor::Actor;
use super::{Health, Submitted, inboxes::Inboxes};

/// What the names of all keys and pub/sub channels begin with.
const PREFIX: &str = "mooring";
/// Characters of another one at most.
const LONGEST_PREFIX: usize = 64;
/// How long a node's clients stay present after its last sign of life.
const LEASE: Duration = Duration::from_secs(15);
/// The size of the publications that one answer brings at most.
const PAGE_BYTES: usize = 1024 * 1024;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long the actor goes on after it was told to stop.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// Commands taken from the queue before other things get their turn.
const BATCH: usize = 256;

/// Where Redis is, and who this node is.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    info: ConnectionInfo,
    prefix: String,
    node: u64,
    lease: Duration,
    page_bytes: usize,
}

/// Why a URL names no Redis.
#[derive(Debug, thiserror::Error)]
#[error(
    "--redis-url is {url:?}: {reason}; write it like redis://host:6379, with ?db after a slash if it is not 0"
)]
pub struct InvalidUrl {
    url: String,
    reason: String,
}

/// Why a prefix can't begin the names of a cluster.
#[derive(Debug, thiserror::Error)]
#[error(
    "--redis-prefix is {0:?}; it has 1 to {LONGEST_PREFIX} letters, digits, and any of . _ : / -, like team:chat"
)]
pub struct InvalidPrefix(String);

impl RedisConfig {
    /// `url` is `redis://[user@]host[:port][/db]`; `password` wins over one in the URL. `node` is the random id of this process.
    pub fn new(url: &str, password: Option<&str>, node: u64) -> Result<Self, InvalidUrl> {
        let invalid = |reason: String| InvalidUrl { url: without_password(url), reason };
        let info = url.into_connection_info().map_err(|error| invalid(error.to_string()))?;
        if !matches!(info.addr(), ConnectionAddr::Tcp(..)) {
            return Err(invalid("only plain TCP is possible".to_owned()));
        }
        let info = match password {
            None => info,
            Some(password) => {
                let settings = info.redis_settings().clone().set_password(password);
                info.set_redis_settings(settings)
            }
        };
        Ok(Self { info, prefix: PREFIX.to_owned(), node, lease: LEASE, page_bytes: PAGE_BYTES })
    }

    /// What the names of all keys and pub/sub channels begin with; `mooring` unless told otherwise.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, InvalidPrefix> {
        // Braces would move the hash tag, and @ is how another database's pub/sub channels are told apart.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.chars().all(allowed) {
            return Err(InvalidPrefix(prefix.to_owned()));
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

/// The URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}://***{}", url.get(..scheme).unwrap_or_default(), url.get(at..).unwrap_or_default())
        }
        _ => url.to_owned(),
    }
}

/// Serves commands until told to stop, then those already queued.
pub(super) async fn run(
    config: RedisConfig,
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
            // A dropped thread guard is no order to stop.
            Ok(()) = &mut stop, if last_words.is_none() => {
                last_words = Some(tokio::time::Instant::now() + LAST_WORDS);
                commands.close();
            }
        }
        actor.ask_next().await;
        actor.depart(Instant::now());
        actor.do_chores();
    }
    let deadline = last_words.unwrap_or_else(|| tokio::time::Instant::now() + LAST_WORDS);
    // Past the deadline the lease runs out, and the other nodes clear up.
    let _ = tokio::time::timeout_at(deadline, actor.finish()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_names_no_redis_is_refused_without_showing_its_password() {
        let error = RedisConfig::new("rediss://me:secret@host:1", None, 1).unwrap_err().to_string();
        assert!(error.contains("rediss://***@host:1"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(RedisConfig::new("host:6379", None, 1).is_err());
        assert!(RedisConfig::new("redis://chat-redis.default.svc:6379", Some("secret"), 1).is_ok());
    }

    #[test]
    fn a_prefix_that_could_be_taken_for_something_else_is_refused_with_what_it_may_be() {
        let config = |prefix: &str| RedisConfig::new("redis://host:1", None, 1).unwrap().with_prefix(prefix);
        for prefix in ["", "a{b", "a}", "a@1", "a b", "ä", &"x".repeat(65)] {
            let error = config(prefix).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--redis-prefix is {prefix:?}; it has 1 to 64")), "{error}");
        }
        assert!(config("default/chat").is_ok());
    }
}
