//! What a node does by itself: proves that live messages arrive, renews its lease, clears up after dead nodes, keeps deadlines.

use std::time::Instant;

use gateway_core::backplane::BackplaneError;

use super::{
    actor::{Actor, OP_WITHIN},
    keys,
    pending::{Pending, Request},
    trouble::Notice,
    upkeep::Canary,
};

impl Actor {
    pub(super) async fn tick(&mut self, now: Instant) {
        self.keep_deadlines(now).await;
        self.keep_health(now);
        if self.commands.is_up() {
            if self.upkeep.is_lease_due(self.config.lease, now) {
                self.renew_lease();
            }
            if self.upkeep.may_retry(now) {
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
        if self.upkeep.is_well_again() && self.sequencer.is_settled() {
            self.health.recover();
            if let Some(gone) = self.upkeep.recovered(now) {
                tracing::info!(seconds = gone.as_secs(), "the backplane is back");
            }
        }
    }

    /// Something is wrong, until live messages arrive again and nothing is missing.
    pub(super) fn trouble(&mut self, connection: &str, error: &str, now: Instant) {
        match self.upkeep.failed(error, now) {
            Some(Notice::Began) => tracing::warn!(connection, error, "the backplane is out of reach"),
            Some(Notice::Changed(gone) | Notice::Lasts(gone)) => {
                let seconds = gone.as_secs();
                tracing::warn!(connection, error, seconds, "the backplane is still out of reach");
            }
            None => {}
        }
        self.health.trouble(format!("{connection}: {error}"));
    }

    pub(super) fn renew_lease(&mut self) {
        self.upkeep.lease_renewed(Instant::now());
        let command = self.scripts.lease(&self.node, self.config.lease);
        self.send(Request { command, pending: Pending::Lease });
    }

    /// Looks for what dead nodes left. After an outage all leases are over, so the living get time to renew theirs.
    pub(super) fn on_expired_leases(&mut self, nodes: Vec<String>) {
        let settled = self.upkeep.are_leases_current(self.config.lease, Instant::now());
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
        match self.upkeep.canary(now) {
            Canary::Wait => {}
            Canary::Lost => self.live.fail("live messages do not arrive"),
            Canary::Send(number) => {
                let mut command = redis::cmd("PUBLISH");
                command.arg(keys::canary(&self.node)).arg(number);
                self.send(Request { command, pending: Pending::Ignored });
            }
        }
    }

    async fn keep_deadlines(&mut self, now: Instant) {
        let overdue = self.in_flight.front().is_some_and(|(sent, _)| now >= *sent + OP_WITHIN);
        if self.upkeep.is_hung(overdue) {
            self.commands.fail("Redis does not answer");
        }
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
