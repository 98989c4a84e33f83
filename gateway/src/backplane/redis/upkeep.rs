//! What a node does by itself: proves that live messages arrive, renews its lease, clears up after dead nodes, keeps deadlines.

use std::time::{Duration, Instant};

use gateway_core::backplane::BackplaneError;

use super::{
    actor::{Actor, OP_WITHIN},
    commands::{Pending, Request},
    keys,
    trouble::{Notice, Trouble},
};

/// How often a node sends a message to itself.
const CANARY_EVERY: Duration = Duration::from_secs(2);
/// When a message to itself is given up, and the connection with it.
const CANARY_WITHIN: Duration = Duration::from_secs(5);

/// How often reads that Redis refused are tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

/// When what was done last.
#[derive(Debug)]
pub(super) struct Upkeep {
    commands_up: Option<Instant>,
    lease_renewed: Option<Instant>,
    canary: u64,
    /// The node is subscribed to its canary.
    audible: bool,
    /// When the canary under way was sent, or the connection made that is to carry the first one.
    canary_sent: Option<Instant>,
    canary_returned: Option<Instant>,
    /// A canary came back since the last trouble.
    heard: bool,
    /// The trouble is not over.
    troubled: bool,
    /// A reply was overdue at the last tick, and none came since.
    overdue: bool,
    retried: Option<Instant>,
    outage: Trouble,
    refusals: Trouble,
}

impl Upkeep {
    /// Nothing done yet; without a first canary a node is not healthy.
    pub(super) fn new() -> Self {
        Self {
            commands_up: None,
            lease_renewed: None,
            canary: 0,
            audible: false,
            canary_sent: None,
            canary_returned: None,
            heard: false,
            troubled: true,
            overdue: false,
            retried: None,
            outage: Trouble::default(),
            refusals: Trouble::default(),
        }
    }

    pub(super) fn commands_up(&mut self, now: Instant) {
        self.commands_up = Some(now);
        // The canary under way may have gone down with the old connection.
        if self.audible {
            self.canary_sent = None;
            self.canary_returned = None;
        }
    }

    /// A new connection: the canary under way went to the old one. The time for the next one counts from here.
    pub(super) fn live_up(&mut self, now: Instant) {
        self.audible = false;
        self.canary_sent = Some(now);
        self.canary_returned = None;
    }

    pub(super) fn canary_audible(&mut self) {
        self.audible = true;
        self.canary_sent = None;
    }

    pub(super) fn answered(&mut self) {
        self.overdue = false;
    }

    /// Redis refused a command; whether the log is to say so. The first word of its error tells the kind.
    pub(super) fn may_complain(&mut self, error: &str, now: Instant) -> bool {
        let kind = error.split(' ').next().unwrap_or_default();
        self.refusals.failed(kind, now).is_some()
    }

    pub(super) fn canary_returned(&mut self, payload: &[u8], now: Instant) {
        if payload == self.canary.to_string().as_bytes() {
            self.canary_sent = None;
            self.canary_returned = Some(now);
            self.heard = true;
        }
    }
}

impl Actor {
    pub(super) async fn tick(&mut self, now: Instant) {
        self.keep_deadlines(now).await;
        self.keep_health(now);
        if self.commands.is_up() {
            if self.upkeep.lease_renewed.is_none_or(|renewed| now >= renewed + self.config.lease / 3) {
                self.renew_lease();
            }
            if is_due(&mut self.upkeep.retried, now, AGAIN_EVERY) {
                self.sequencer.retry();
            }
        }
        self.carry_out().await;
    }

    /// Sends a canary when it is time, and ends a trouble that is over.
    pub(super) fn keep_health(&mut self, now: Instant) {
        if !self.commands.is_up() || !self.live.is_up() {
            return;
        }
        self.keep_canary(now);
        if self.upkeep.troubled && self.upkeep.heard && self.sequencer.is_settled() {
            self.upkeep.troubled = false;
            self.health.recover();
            if let Some(gone) = self.upkeep.outage.ended(now) {
                tracing::info!(seconds = gone.as_secs(), "the backplane is back");
            }
        }
    }

    /// Something is wrong, until live messages arrive again and nothing is missing.
    pub(super) fn trouble(&mut self, connection: &str, error: &str, now: Instant) {
        match self.upkeep.outage.failed(error, now) {
            Some(Notice::Began) => tracing::warn!(connection, error, "the backplane is out of reach"),
            Some(Notice::Changed(gone) | Notice::Lasts(gone)) => {
                let seconds = gone.as_secs();
                tracing::warn!(connection, error, seconds, "the backplane is still out of reach");
            }
            None => {}
        }
        self.upkeep.heard = false;
        self.upkeep.troubled = true;
        self.health.trouble(format!("{connection}: {error}"));
    }

    pub(super) fn renew_lease(&mut self) {
        self.upkeep.lease_renewed = Some(Instant::now());
        let command = self.scripts.lease(&self.node, self.config.lease);
        self.send(Request { command, pending: Pending::Lease });
    }

    /// Looks for what dead nodes left. After an outage all leases are over, so the living get time to renew theirs.
    pub(super) fn on_expired_leases(&mut self, nodes: Vec<String>) {
        let settled = self.upkeep.commands_up.is_some_and(|up| up.elapsed() >= self.config.lease);
        for node in nodes {
            if !settled || node == self.node {
                continue;
            }
            let mut command = redis::cmd("SMEMBERS");
            command.arg(keys::node_channels(&node));
            self.send(Request { command, pending: Pending::Remains(node) });
        }
    }

    /// Ends the presence of a dead node's clients. Each channel is swept atomically, so two survivors announce nobody twice.
    pub(super) fn sweep(&mut self, node: &str, channels: Vec<String>) {
        tracing::info!(node, channels = channels.len(), "a node is gone; its clients are no longer present");
        for channel in channels {
            let command = self.scripts.sweep(node, &channel);
            self.send(Request { command, pending: Pending::Ignored });
        }
        let command = self.scripts.bury(node);
        self.send(Request { command, pending: Pending::Ignored });
    }

    fn keep_canary(&mut self, now: Instant) {
        let upkeep = &mut self.upkeep;
        match upkeep.canary_sent {
            Some(sent) if now >= sent + CANARY_WITHIN => {
                upkeep.canary_sent = None;
                self.live.fail("live messages do not arrive");
            }
            Some(_) => {}
            None if upkeep.canary_returned.is_none_or(|at| now >= at + CANARY_EVERY) => {
                upkeep.canary += 1;
                upkeep.canary_sent = Some(now);
                let mut command = redis::cmd("PUBLISH");
                command.arg(keys::canary(&self.node)).arg(upkeep.canary);
                self.send(Request { command, pending: Pending::Ignored });
            }
            None => {}
        }
    }

    async fn keep_deadlines(&mut self, now: Instant) {
        // Twice in a row: after waiting for a slow shard, the replies may be here and not yet read.
        let overdue = self.in_flight.front().is_some_and(|(sent, _)| now >= *sent + OP_WITHIN);
        if overdue && self.upkeep.overdue {
            self.commands.fail("Redis does not answer");
        }
        self.upkeep.overdue = overdue;
        while self.parked.front().is_some_and(|(deadline, _)| now >= *deadline) {
            if let Some((_, request)) = self.parked.pop_front() {
                self.give_up(request.pending, BackplaneError::Unavailable).await;
            }
        }
        while self.subscribe_deadlines.front().is_some_and(|(deadline, ..)| now >= *deadline) {
            let Some((_, ticket, channel)) = self.subscribe_deadlines.pop_front() else { break };
            if self.sequencer.cancel(&channel, ticket)
                && let Some(reply) = self.subscribes.remove(&ticket)
            {
                self.inboxes.complete(reply, Err(BackplaneError::Unavailable)).await;
            }
        }
    }
}

/// Whether it is time again; if so, it is noted.
fn is_due(last: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let due = last.is_none_or(|last| now >= last + every);
    if due {
        *last = Some(now);
    }
    due
}
