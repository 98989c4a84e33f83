//! The process's end of the backplane: one thread whose actor, in memory or on Redis, owns all of its state.
//!
//! Shards and HTTP handlers put [`Command`]s into one bounded queue and never wait for it; the actor fills each shard's own bounded
//! queue and does wait. A slow shard so slows the backplane, and with it what comes in, instead of growing a queue.

mod departures;
mod inbox;
mod inboxes;
mod joins;
mod memory;
mod pace;
mod redis;

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use gateway_core::{
    backplane::{BackplaneError, Op, Outcome},
    control::{BackplaneHealth, BackplaneTrouble},
    key::{ConnectionKey, RequestId},
    sequencer::ShardSet,
};
use tokio::sync::{mpsc, oneshot};

use self::inboxes::Inboxes;
pub use self::{
    inbox::{Inbox, InboxSender, inbox},
    redis::{InvalidRedis, RedisAccess, RedisConfig},
};
use crate::{budget::Charge, memory::Memory};

/// Commands that wait for the actor at most; one more is refused with [`BackplaneError::Busy`].
const QUEUE: usize = 16_384;

/// How long [`BackplaneThread::stop`] lets the actor finish what was submitted.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// An operation and where its completion goes.
#[derive(Debug)]
pub struct Command {
    /// What to do.
    pub op: Op,
    /// Whom to tell.
    pub recipient: Recipient,
}

/// A command on its way through the actor.
#[derive(Debug)]
struct Submitted {
    op: Op,
    waiter: Waiter,
}

/// Whom to tell of an operation, and what it holds until then.
#[derive(Debug)]
struct Waiter {
    recipient: Recipient,
    charge: Charge,
}

impl Waiter {
    /// The shard that an operation is about.
    fn shard(&self) -> Option<u16> {
        match self.recipient {
            Recipient::Shard { shard, .. } => Some(shard),
            Recipient::Api(_) => None,
        }
    }
}

/// Where a completion goes.
#[derive(Debug)]
pub enum Recipient {
    /// To a shard's queue, when a connection waits for it. The shard is also whose deliveries an operation starts or ends.
    Shard {
        /// Index into the queues that the backplane was started with.
        shard: u16,
        /// Whose request it completes.
        waiter: Option<(ConnectionKey, RequestId)>,
    },
    /// To an HTTP handler. Without a shard there are no deliveries: to start some is `Unavailable`.
    Api(oneshot::Sender<Result<Outcome, BackplaneError>>),
}

/// Submits commands to the backplane; cheap to clone.
#[derive(Clone, Debug)]
pub struct BackplaneHandle {
    commands: mpsc::Sender<Submitted>,
    memory: Arc<Memory>,
    health: Health,
}

impl BackplaneHandle {
    /// Queues a command. A full queue hands it back, and so does a lack of memory for what it brings or asks for, so that its submitter
    /// can say so, or try again, without waiting.
    #[expect(clippy::result_large_err, reason = "the error is the command itself, on its way back")]
    pub fn try_submit(&self, command: Command) -> Result<(), Refused> {
        let error = match self.commands.try_reserve() {
            Err(mpsc::error::TrySendError::Full(())) => BackplaneError::Busy,
            Err(mpsc::error::TrySendError::Closed(())) => BackplaneError::Unavailable,
            Ok(place) => match self.memory.admit(&command.op) {
                None => BackplaneError::Busy,
                Some(charge) => {
                    let Command { op, recipient } = command;
                    place.send(Submitted { op, waiter: Waiter { recipient, charge } });
                    return Ok(());
                }
            },
        };
        Err(Refused { command, error })
    }

    /// Carries out an operation and waits for its outcome.
    pub async fn call(&self, op: impl Into<Op>) -> Result<Outcome, BackplaneError> {
        let (reply, outcome) = oneshot::channel();
        self.try_submit(Command { op: op.into(), recipient: Recipient::Api(reply) })
            .map_err(|refused| refused.error)?;
        outcome.await.unwrap_or(Err(BackplaneError::Unanswered))
    }

    /// How the backplane looks from here.
    #[must_use]
    pub fn health(&self) -> BackplaneHealth {
        self.health.report(Instant::now())
    }
}

/// A command that was not queued.
#[derive(Debug)]
pub struct Refused {
    /// The command, untouched.
    pub command: Command,
    /// `Busy`, or `Unavailable` once the backplane is stopped.
    pub error: BackplaneError,
}

/// The running actor. Dropping it lets the actor finish by itself.
#[derive(Debug)]
pub struct BackplaneThread {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl BackplaneThread {
    /// Waits for the actor to end without having been told to; the reason.
    pub async fn failed(&mut self) -> &'static str {
        match (&mut self.stopped).await {
            Ok(()) => "it ended",
            Err(_) => "it panicked",
        }
    }

    /// Refuses further commands and lets the actor finish those submitted before. Clients whose departure is in its grace stay present:
    /// they are on their way to another node, and what is left of them ends with this node's lease. Takes at most five seconds.
    pub async fn stop(self) {
        // The receivers only fail when the actor has ended already.
        let _ = self.stop.send(());
        if !self.stopped.is_terminated() {
            let _ = tokio::time::timeout(STOP_WITHIN, self.stopped).await;
        }
    }
}

/// Why a backplane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More shards than a set of shards can name.
    #[error("--shards is {0}; at most {max} are possible", max = ShardSet::MAX)]
    TooManyShards(usize),
    /// What was given leads to no Redis.
    #[error(transparent)]
    Redis(#[from] InvalidRedis),
    /// The system refused the thread.
    #[error("the backplane's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// Starts a backplane in memory, for a gateway that runs alone. `shards` are the shards' queues, by index; `page_bytes` is the size of the
/// publications that one answer brings at most, and `held` counts what is not completed.
pub fn spawn_memory(
    page_bytes: usize,
    held: Arc<Memory>,
    shards: Vec<InboxSender>,
) -> Result<(BackplaneHandle, BackplaneThread), StartError> {
    spawn(held, shards, Health::healthy(), move |commands, inboxes, stop, _health| {
        memory::run(page_bytes, commands, inboxes, stop)
    })
}

/// Starts a backplane on Redis, which may come later. `shards` are the shards' queues, by index; `held` counts what is not completed.
pub fn spawn_redis(
    config: RedisConfig,
    held: Arc<Memory>,
    shards: Vec<InboxSender>,
) -> Result<(BackplaneHandle, BackplaneThread), StartError> {
    let health = Health::healthy();
    health.trouble("connecting to Redis".to_owned(), BackplaneTrouble::Unreachable);
    let memory = held.clone();
    spawn(held, shards, health, |commands, inboxes, stop, health| {
        redis::run(config, memory, commands, inboxes, stop, health)
    })
}

fn spawn<A, F>(
    memory: Arc<Memory>,
    shards: Vec<InboxSender>,
    health: Health,
    actor: A,
) -> Result<(BackplaneHandle, BackplaneThread), StartError>
where
    A: FnOnce(mpsc::Receiver<Submitted>, Inboxes, oneshot::Receiver<()>, Health) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    if shards.len() > ShardSet::MAX {
        return Err(StartError::TooManyShards(shards.len()));
    }
    let (commands, queue) = mpsc::channel(QUEUE);
    let (stop, stopping) = oneshot::channel();
    let (ended, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = BackplaneHandle { commands, memory, health: health.clone() };
    thread::Builder::new().name("backplane".to_owned()).spawn(move || {
        runtime.block_on(actor(queue, Inboxes::new(shards), stopping, health));
        let _ = ended.send(());
    })?;
    Ok((handle, BackplaneThread { stop, stopped }))
}

/// How a backplane of a test fails, with its first command.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// It panics.
    Panic,
    /// It lets go of the shards' queues, and lives on.
    Silence,
}

/// Starts a backplane that fails.
#[cfg(test)]
pub(crate) fn spawn_failing(
    failure: Failure,
    shards: Vec<InboxSender>,
) -> Result<(BackplaneHandle, BackplaneThread), StartError> {
    let memory = Memory::new(None, 0);
    spawn(memory, shards, Health::healthy(), move |mut commands, inboxes, stop, _health| async move {
        commands.recv().await;
        match failure {
            Failure::Panic => panic!("as the test asked for, with {inboxes:?}"),
            Failure::Silence => {
                drop(inboxes);
                let _ = stop.await;
            }
        }
    })
}

/// What is wrong with the backplane, shared between its actor and whoever reports it.
#[derive(Clone, Debug)]
struct Health(Arc<Mutex<Option<Outage>>>);

#[derive(Debug)]
struct Outage {
    message: String,
    trouble: BackplaneTrouble,
    since: Instant,
}

impl Health {
    fn healthy() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Notes what is wrong; how long is counted from the first trouble on.
    fn trouble(&self, message: String, trouble: BackplaneTrouble) {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = outage.as_ref().map_or_else(Instant::now, |outage| outage.since);
        *outage = Some(Outage { message, trouble, since });
    }

    fn recover(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn report(&self, now: Instant) -> BackplaneHealth {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => BackplaneHealth::Healthy,
            Some(outage) => BackplaneHealth::Unhealthy {
                message: outage.message.clone(),
                trouble: outage.trouble,
                seconds: now.saturating_duration_since(outage.since).as_secs(),
            },
        }
    }
}
