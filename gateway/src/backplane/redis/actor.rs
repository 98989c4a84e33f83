//! What the node knows, and who carries out each operation.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use gateway_core::{
    backplane::{BackplaneError, Op, Outcome},
    sequencer::{Generation, Read, Sequencer, Ticket},
};

use super::{
    RedisConfig,
    batches::Batches,
    chores::Chores,
    keys::{self, Keys},
    members::{Life, Members},
    pending::{Ack, Pending},
    pipeline::Pipeline,
    questions::Question,
    reads::Reads,
    scripts::Scripts,
    upkeep::Upkeep,
};
use crate::backplane::{
    Health, Submitted, Waiter,
    departures::Departures,
    inboxes::Inboxes,
    joins::Joins,
    pace::{Pace, SharedPace},
};

/// Clients of this node that Redis is told of at once, or told that they are gone, and how many per second then, when nobody waits for it:
/// after an outage that is everybody.
const PRESENCE_AT_ONCE: u32 = 128;
const PRESENCE_PER_SECOND: u32 = 4_000;

/// An operation that was completed at once.
pub(super) type Completed = (Waiter, Result<Outcome, BackplaneError>);

pub(super) struct Actor {
    pub(super) config: RedisConfig,
    pub(super) keys: Keys,
    /// Whose clients those of this process are; another one after an outage in which too many left.
    pub(super) node: String,
    /// The pub/sub channel on which this process hears itself.
    pub(super) canary: String,
    pub(super) inboxes: Inboxes,
    pub(super) health: Health,
    pub(super) scripts: Scripts,
    pub(super) commands: Pipeline<Pending>,
    /// Its questions are the subscribe and unsubscribe commands that are not confirmed.
    pub(super) live: Pipeline<Ack>,
    pub(super) sequencer: Sequencer,
    /// Channels that it wants live messages of, or none any more.
    pub(super) registrations: VecDeque<(Arc<str>, Option<Generation>)>,
    /// Reads of the sequencer's that wait for others of them.
    pub(super) recoveries: VecDeque<Read>,
    pub(super) recovering: usize,
    /// Reads that clients wait for.
    pub(super) reads: Reads<Question>,
    pub(super) subscribes: HashMap<Ticket, Waiter>,
    pub(super) subscribe_deadlines: VecDeque<(Instant, Ticket, Arc<str>)>,
    pub(super) members: Members,
    /// The life that Redis's data are in.
    pub(super) life: Life,
    pub(super) joins: Joins,
    /// Of what nobody waits for: departures, and what the node does by itself.
    pub(super) presence_pace: SharedPace,
    pub(super) held_back: bool,
    pub(super) departures: Departures,
    /// Nodes whose lease was over when this one's was last renewed: who was present through them is not.
    pub(super) expired: Vec<String>,
    pub(super) chores: Chores,
    pub(super) upkeep: Upkeep,
    pub(super) batches: Batches,
    pub(super) last_ticket: Ticket,
}

impl Actor {
    pub(super) fn new(config: RedisConfig, inboxes: Inboxes, health: Health) -> Self {
        let node = keys::node(config.node);
        let keys = Keys::new(&config.prefix, config.server.address.database);
        Self {
            canary: keys.canary(&node),
            node,
            commands: Pipeline::new(config.server.clone(), keys.store()),
            live: Pipeline::new(config.server.clone(), keys.store()),
            sequencer: Sequencer::new(config.page_bytes),
            scripts: Scripts::new(keys.clone()),
            keys,
            config,
            inboxes,
            health,
            registrations: VecDeque::new(),
            recoveries: VecDeque::new(),
            recovering: 0,
            reads: Reads::default(),
            subscribes: HashMap::new(),
            subscribe_deadlines: VecDeque::new(),
            members: Members::default(),
            life: 0,
            joins: Joins::default(),
            presence_pace: SharedPace::new(Pace::new(PRESENCE_AT_ONCE, PRESENCE_PER_SECOND)),
            held_back: false,
            departures: Departures::default(),
            expired: Vec::new(),
            chores: Chores::default(),
            upkeep: Upkeep::new(),
            batches: Batches::default(),
            last_ticket: 0,
        }
    }

    /// Whether more operations may be taken from the queue.
    pub(super) fn has_room(&self) -> bool {
        self.commands.has_room(self.batches.len(), self.batches.bytes())
    }

    /// Bytes that it holds, operations aside: what came live and waits for what was before it, clients that may come back, and the
    /// answers under way as if each were as large as it may be.
    pub(super) fn held_bytes(&self) -> usize {
        let reads = self.reads.under_way() + self.recovering;
        self.sequencer.held_bytes() + self.departures.bytes() + reads * self.config.page_bytes
    }

    /// Carries out one operation, or starts to; [`Actor::send_ready`] and [`Actor::carry_out`] go on with it.
    pub(super) async fn serve(&mut self, submitted: Submitted) {
        let Submitted { op, waiter } = submitted;
        let completed = match op {
            Op::Bus(op) => self.serve_bus(op, waiter),
            Op::Log(op) => self.serve_log(op, waiter),
            Op::Presence(op) => self.serve_presence(op, waiter),
        };
        if let Some((waiter, result)) = completed {
            self.inboxes.complete(waiter, result).await;
        }
    }
}
