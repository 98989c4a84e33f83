//! The connection that carries commands: what is on its way, and what becomes of each reply.

use std::{sync::Arc, time::Instant};

use gateway_core::{
    backplane::{BackplaneError, Outcome},
    resp::Resp,
    sequencer::{Generation, Read},
};

use super::{
    actor::Actor,
    keys,
    pending::{Pending, Request},
    requests,
    wire::Event,
};
use crate::backplane::Reply;

impl Actor {
    pub(super) async fn on_commands(&mut self, event: Event) {
        match event {
            Event::Up => self.on_commands_up(),
            Event::Replies(replies) => {
                self.upkeep.answered();
                for reply in replies {
                    let Some((_, pending)) = self.in_flight.pop_front() else {
                        self.commands.fail("Redis answered what was not asked");
                        break;
                    };
                    self.on_reply(pending, reply).await;
                }
            }
            Event::Down(error) => {
                self.trouble("commands", &error, Instant::now());
                while let Some((_, pending)) = self.in_flight.pop_front() {
                    self.give_up(pending, BackplaneError::Unanswered).await;
                }
            }
        }
        self.carry_out().await;
        self.keep_health(Instant::now());
    }

    /// Puts a command on the wire.
    pub(super) fn send(&mut self, request: Request) {
        self.commands.send(&request.command);
        self.in_flight.push_back((Instant::now(), request.pending));
    }

    /// Asks the sequencer's question.
    pub(super) fn send_read(&mut self, read: &Read) {
        if !self.commands.is_up() {
            return self.sequencer.read_failed(&read.channel, read.generation);
        }
        let command = self.scripts.read(read);
        self.send(Request { command, pending: Pending::Page(read.channel.clone(), read.generation) });
    }

    /// Starts a new epoch for the sequencer.
    pub(super) fn send_rotation(&mut self, channel: Arc<str>, generation: Generation, epoch: &str) {
        if !self.commands.is_up() {
            return self.sequencer.read_failed(&channel, generation);
        }
        let command = self.scripts.rotate(&channel, epoch);
        self.send(Request { command, pending: Pending::Rotation(channel, generation) });
    }

    /// The operation behind a command came to nothing.
    pub(super) async fn give_up(&mut self, pending: Pending, error: BackplaneError) {
        match pending {
            Pending::Publish(reply) | Pending::History(reply, _) | Pending::Presence(reply) => {
                self.inboxes.complete(reply, Err(error)).await;
            }
            Pending::Append(channel, replies) => {
                for reply in replies {
                    self.inboxes.complete(reply, Err(error)).await;
                }
                self.appended(&channel);
            }
            Pending::Page(channel, generation) | Pending::Rotation(channel, generation) => {
                self.sequencer.read_failed(&channel, generation);
            }
            Pending::Leave(departure) => self.depart_later(departure, Instant::now()),
            Pending::Lease | Pending::Remains(_) | Pending::Script | Pending::Ignored => {}
        }
    }

    fn on_commands_up(&mut self) {
        self.load_scripts();
        self.renew_lease();
        // Redis may have been restarted, or this node given up for dead.
        self.enter_all();
        while let Some((_, request)) = self.parked.pop_front() {
            self.send(request);
        }
        self.upkeep.commands_up(Instant::now());
        self.sequencer.retry();
    }

    fn load_scripts(&mut self) {
        for command in self.scripts.load().collect::<Vec<_>>() {
            self.send(Request { command, pending: Pending::Script });
        }
    }

    /// Makes every client of this node present; nobody is told of those that were.
    fn enter_all(&mut self) {
        let mut commands = Vec::new();
        for (channel, clients) in self.members.iter() {
            let mut index = redis::cmd("SADD");
            index.arg(keys::node_channels(&self.node)).arg(&**channel);
            commands.push(index);
            commands.extend(
                clients.map(|(info, announce)| self.scripts.enter(&self.node, channel, info, *announce)),
            );
        }
        for command in commands {
            self.send(Request { command, pending: Pending::Ignored });
        }
    }

    /// A command was refused, and so not carried out.
    fn on_refusal(&mut self, error: &str) {
        if self.upkeep.may_complain(error, Instant::now()) {
            tracing::warn!(error, "Redis refuses commands");
        }
        let loading = |(_, pending): &(Instant, Pending)| matches!(pending, Pending::Script);
        if error.starts_with("NOSCRIPT") && !self.in_flight.iter().any(loading) {
            // Somebody flushed the scripts; clients that entered meanwhile were refused, too.
            self.load_scripts();
            self.enter_all();
        }
        if error.starts_with("READONLY") {
            // The primary is another one now; its name leads there.
            self.commands.fail(error);
            self.live.fail(error);
        }
    }

    async fn tell(&self, waiters: Vec<Reply>, outcomes: impl Iterator<Item = Outcome>) {
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
            Pending::Publish(waiter) => self.tell(vec![waiter], requests::published(&reply)).await,
            Pending::Append(channel, waiters) => {
                self.tell(waiters, requests::published(&reply)).await;
                self.appended(&channel);
            }
            Pending::History(waiter, history) => {
                let page = requests::page(reply).ok_or(BackplaneError::Unanswered);
                self.inboxes.complete(waiter, page.and_then(|page| requests::history(&history, page))).await;
            }
            Pending::Presence(waiter) => {
                let presence = requests::presence(reply).ok_or(BackplaneError::Unanswered);
                self.inboxes.complete(waiter, presence).await;
            }
            Pending::Page(channel, generation) => match requests::page(reply) {
                Some(page) => self.sequencer.page(&channel, generation, page),
                None => {
                    tracing::error!(%channel, "the channel's stream in Redis cannot be read");
                    self.sequencer.read_failed(&channel, generation);
                }
            },
            Pending::Rotation(channel, generation) => self.sequencer.rotated(&channel, generation),
            Pending::Lease => self.on_expired_leases(requests::texts(reply)),
            Pending::Remains(node) => self.sweep(&node, requests::texts(reply)),
            Pending::Leave(_) | Pending::Script | Pending::Ignored => {}
        }
    }
}
