//! The connection that carries commands: what is on its way, and what becomes of each reply.

use std::{sync::Arc, time::Instant};

use gateway_core::{
    backplane::{BackplaneError, Outcome},
    resp::Resp,
    sequencer::Generation,
};

use super::{
    actor::Actor,
    failure::{self, Failure},
    pending::Pending,
    pipeline::Event,
    requests,
};
use crate::backplane::Waiter;

/// Reads of the sequencer's that are on their way at most: each may bring a page.
const RECOVERING: usize = 16;

impl Actor {
    pub(super) async fn on_commands(&mut self, event: Event<Pending>) {
        match event {
            Event::Up(store) => self.on_commands_up(store),
            Event::Replies(replies) => {
                self.upkeep.answered();
                for reply in replies {
                    let Some(pending) = self.commands.answered() else {
                        self.commands.fail(Failure::GivenUp("Redis answered what was not asked"));
                        break;
                    };
                    self.on_reply(pending, reply).await;
                }
            }
            Event::Down { failure, unanswered } => {
                self.trouble("commands", &failure, Instant::now());
                for pending in unanswered {
                    self.give_up(pending, BackplaneError::Unanswered).await;
                }
            }
        }
        self.carry_out().await;
        self.keep_health(Instant::now());
    }

    /// Asks the sequencer's next questions, unless enough of them are on their way.
    pub(super) fn recover_next(&mut self) {
        while self.recovering < RECOVERING
            && let Some(read) = self.recoveries.pop_front()
        {
            let command = self.scripts.read(&read);
            match self.commands.send(&command, Pending::Page(read.channel.clone(), read.generation)) {
                Ok(()) => self.recovering += 1,
                Err(_) => self.sequencer.read_failed(&read.channel, read.generation),
            }
        }
    }

    /// Starts a new epoch for the sequencer.
    pub(super) fn send_rotation(&mut self, channel: Arc<str>, generation: Generation, epoch: &str) {
        let command = self.scripts.rotate(&channel, epoch);
        if self.commands.send(&command, Pending::Rotation(channel.clone(), generation)).is_err() {
            self.sequencer.read_failed(&channel, generation);
        }
    }

    /// The operation behind a command came to nothing.
    pub(super) async fn give_up(&mut self, pending: Pending, error: BackplaneError) {
        match pending {
            Pending::Publish(waiter) => self.inboxes.complete(waiter, Err(error)).await,
            Pending::Answer(asked) => self.answer(*asked, &Err(error)).await,
            Pending::Append(channel, waiters) => {
                for waiter in waiters {
                    self.inboxes.complete(waiter, Err(error)).await;
                }
                self.appended(&channel);
            }
            Pending::Page(channel, generation) => {
                self.recovering -= 1;
                self.sequencer.read_failed(&channel, generation);
            }
            Pending::Life(channel, generation, _) | Pending::Rotation(channel, generation) => {
                self.sequencer.read_failed(&channel, generation);
            }
            Pending::Leave(departure) => self.leave_later(departure),
            Pending::GiveUp(node) | Pending::Scan(node) | Pending::Sweep(node, _) | Pending::Bury(node) => {
                self.chores.forget(&node)
            }
            Pending::Enter(channel, client) => self.chores.missed(channel, client),
            Pending::Lease => self.upkeep.lease_refused(Instant::now()),
            Pending::Script | Pending::Ignored => {}
        }
    }

    fn on_commands_up(&mut self, store: String) {
        if self.scripts.store != store {
            let before = std::mem::replace(&mut self.scripts.store, store);
            self.life += 1;
            if !before.is_empty() {
                // A FLUSHALL cuts nobody off, and no stream is what it was.
                self.live.fail(Failure::GivenUp("Redis lost its data"));
            }
        }
        self.upkeep.commands_up(Instant::now());
        self.load_scripts();
        self.renew_lease();
        // Redis may have been restarted, or this node given up for dead.
        self.chores.begin(&self.members);
        self.commands.unpark();
        self.sequencer.retry();
    }

    fn load_scripts(&mut self) {
        for command in self.scripts.load() {
            // The next connection loads them again.
            let _ = self.commands.send(&command, Pending::Script);
        }
    }

    /// A command was refused, and so not carried out.
    fn on_refusal(&mut self, error: &str) {
        let now = Instant::now();
        if self.upkeep.may_complain(error, now) {
            tracing::warn!(error, "Redis refuses commands");
        }
        if failure::is_denied(error) {
            self.trouble("commands", &Failure::Refused(error.to_owned()), now);
            self.upkeep.denied(now);
        }
        let loading = self.commands.questions().any(|pending| matches!(pending, Pending::Script));
        if error.starts_with("NOSCRIPT") && !loading {
            // Somebody flushed the scripts; clients that entered meanwhile were refused, too.
            self.load_scripts();
            self.chores.begin(&self.members);
        }
        if error.starts_with("READONLY") {
            // The primary is another one now; its name leads there.
            self.commands.fail(Failure::Refused(error.to_owned()));
            self.live.fail(Failure::Refused(error.to_owned()));
        }
        if error.starts_with("NOAUTH") {
            // Redis wants to be told again who this is, with what the files hold by now.
            self.commands.fail(Failure::Refused(error.to_owned()));
        }
    }

    async fn complete_all(&self, waiters: Vec<Waiter>, outcomes: impl Iterator<Item = Outcome>) {
        for (waiter, outcome) in waiters.into_iter().zip(outcomes) {
            self.inboxes.complete(waiter, Ok(outcome)).await;
        }
    }

    async fn on_reply(&mut self, pending: Pending, reply: Resp) {
        if let Resp::Error(error) = &reply {
            self.on_refusal(error);
            return self.give_up(pending, BackplaneError::Unavailable).await;
        }
        match pending {
            Pending::Publish(waiter) => self.complete_all(vec![waiter], requests::published(&reply)).await,
            Pending::Append(channel, waiters) => {
                self.complete_all(waiters, requests::published(&reply)).await;
                self.appended(&channel);
            }
            Pending::Life(channel, generation, epoch) => {
                self.on_life(channel, generation, &epoch, &reply);
            }
            Pending::Answer(asked) => self.on_answer(*asked, reply).await,
            Pending::Page(channel, generation) => {
                self.recovering -= 1;
                match requests::page(reply) {
                    Some(page) if page.began.is_some_and(|began| !self.scripts.is_of_this_life(began)) => {
                        self.question_life(channel, generation, page.top.epoch);
                    }
                    Some(page) => self.sequencer.page(&channel, generation, page),
                    None => {
                        tracing::error!(%channel, "the channel's stream in Redis cannot be read");
                        self.sequencer.read_failed(&channel, generation);
                    }
                }
            }
            Pending::Rotation(channel, generation) => self.sequencer.rotated(&channel, generation),
            Pending::Lease => {
                if let Some((renewed, expired)) = requests::leases(reply) {
                    self.on_lease(renewed, expired);
                }
            }
            Pending::GiveUp(node) => {
                if reply == Resp::Int(1) {
                    tracing::info!(%node, "a node is gone; its clients are no longer present");
                    self.chores.given_up(&node);
                } else {
                    // It lives, or somebody else has cleared up after it.
                    self.chores.forget(&node);
                }
            }
            Pending::Scan(node) => match requests::scanned(reply) {
                Some((cursor, channels)) => self.chores.scanned(&node, &cursor, channels),
                None => self.chores.forget(&node),
            },
            Pending::Sweep(node, channel) => match requests::swept(reply) {
                Some((cursor, gone)) => {
                    // Each may have been told to everybody.
                    self.presence_pace.charge(gone, Instant::now());
                    self.chores.swept(&node, &channel, &cursor);
                }
                None => self.chores.forget(&node),
            },
            Pending::Bury(node) => self.chores.forget(&node),
            Pending::Enter(..) | Pending::Leave(_) | Pending::Script | Pending::Ignored => {}
        }
    }
}
