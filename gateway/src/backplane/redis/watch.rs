//! What a node does by itself: proves that live messages arrive, keeps deadlines, and ends.

use std::time::Instant;

use gateway_core::backplane::BackplaneError;

use super::{actor::Actor, pipeline::OP_WITHIN, trouble::Notice};

impl Actor {
    pub(super) async fn tick(&mut self, now: Instant) {
        self.keep_deadlines(now).await;
        if self.commands.is_up() && self.live.is_up() && self.upkeep.is_canary_lost(now) {
            self.live.fail("live messages do not arrive");
        }
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

    /// Carries out what was submitted, and says goodbye. Who is present stays so until this node's lease is over: most clients are on
    /// their way to another node, and their users are not to be absent in between.
    pub(super) async fn finish(&mut self) {
        if self.members.is_empty() {
            let mut forget = redis::cmd("ZREM");
            forget.arg(self.keys.leases()).arg(&self.node);
            self.tell(&forget);
        }
        while !self.commands.is_idle() || !self.reads.is_empty() {
            self.ask_next().await;
            tokio::select! {
                event = self.commands.next() => self.on_commands(event).await,
                event = self.live.next() => self.on_live(event).await,
            }
        }
    }

    fn keep_canary(&mut self, now: Instant) {
        if let Some(number) = self.upkeep.next_canary(now) {
            let mut command = redis::cmd("PUBLISH");
            command.arg(&self.canary).arg(number);
            self.tell(&command);
        }
    }

    async fn keep_deadlines(&mut self, now: Instant) {
        if self.upkeep.is_hung(self.commands.is_overdue(now)) {
            self.commands.fail("Redis does not answer");
        }
        while let Some(pending) = self.commands.pop_expired(now) {
            self.give_up(pending, BackplaneError::Unavailable).await;
        }
        let error = if self.commands.is_up() { BackplaneError::Busy } else { BackplaneError::Unavailable };
        for waiter in now.checked_sub(OP_WITHIN).map(|since| self.reads.give_up(since)).unwrap_or_default() {
            self.inboxes.complete(waiter, Err(error)).await;
        }
        while self.subscribe_deadlines.front().is_some_and(|(deadline, ..)| now >= *deadline) {
            let Some((_, ticket, channel)) = self.subscribe_deadlines.pop_front() else { break };
            if self.sequencer.cancel(&channel, ticket)
                && let Some(waiter) = self.subscribes.remove(&ticket)
            {
                self.inboxes.complete(waiter, Err(BackplaneError::Unavailable)).await;
            }
        }
    }
}
