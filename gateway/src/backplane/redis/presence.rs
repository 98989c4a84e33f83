//! Who is present: clients that come and go, those that an outage made Redis forget, and those whose node died.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::backplane::ClientInfo;
use redis::Cmd;

use super::{actor::Actor, chores::Chore, failure::Failure, keys, pending::Pending};
use crate::backplane::departures::Departure;

/// Commands on their way beside which chores go on.
const CHORES_BESIDE: usize = 256;
/// After how long a departure that could not be carried out is tried again.
const DEPART_AGAIN: Duration = Duration::from_secs(1);

impl Actor {
    /// Makes a client present. Without a connection it is made so with all the others, once there is one.
    pub(super) fn enter(&mut self, channel: &Arc<str>, info: ClientInfo, announce: bool) {
        self.departures.cancel(channel, &info.client);
        // A node that was held up may have been given up, and nobody clears up after one without a lease.
        if self.upkeep.is_lease_due(self.config.lease, Instant::now()) {
            self.renew_lease();
        }
        let command = self.scripts.enter(&self.node, channel, &info, announce);
        if self.members.insert(channel, info, announce) {
            self.send_index("SADD", channel);
        }
        // The next connection begins with all who are present.
        let _ = self.commands.send(&command, Pending::Enter);
    }

    /// Ends a client's presence once its grace is over.
    pub(super) fn leave(&mut self, departure: Departure, grace: Duration) {
        self.departures.push(departure, Instant::now(), grace);
        while let Some(displaced) = self.departures.pop_excess() {
            if self.commands.is_up() {
                self.end_presence(displaced);
                continue;
            }
            // Redis can't be told who left: it gives up all clients of this node's name, and those that are here get another one.
            self.members.remove(&displaced.channel, &displaced.info.client);
            self.node = keys::node(rand::random());
        }
    }

    /// Carries out the departures that are due, as far as there is room. Without a connection they wait for one.
    pub(super) fn depart(&mut self, now: Instant) {
        while self.commands.is_up()
            && self.has_room()
            && let Some(departure) = self.departures.pop(now)
        {
            self.end_presence(departure);
        }
    }

    /// Tries a departure again later; until then the client stays present.
    pub(super) fn leave_later(&mut self, departure: Departure) {
        self.leave(departure, DEPART_AGAIN);
    }

    /// Does what the node has to do by itself, as long as little else is on its way.
    pub(super) fn do_chores(&mut self) {
        while self.commands.is_up() && self.commands.in_flight() < CHORES_BESIDE {
            let Some(chore) = self.chores.next(&self.members) else { return };
            let (command, pending) = match chore {
                Chore::Index(channel) => {
                    self.send_index("SADD", &channel);
                    continue;
                }
                Chore::Enter { channel, info, announce } => {
                    (self.scripts.enter(&self.node, &channel, info, announce), Pending::Enter)
                }
                Chore::GiveUp(node) => (self.scripts.give_up(&node), Pending::GiveUp(node)),
                Chore::Scan { node, cursor } => (self.scripts.scan(&node, &cursor), Pending::Scan(node)),
                Chore::Sweep { node, channel, cursor } => {
                    (self.scripts.sweep(&node, &channel, &cursor), Pending::Sweep(node, channel))
                }
                Chore::Bury(node) => {
                    let forget = self.scripts.forget_channels(&node);
                    self.tell(&forget);
                    (self.scripts.forget_lease(&node), Pending::Bury(node))
                }
            };
            // With the connection goes the chore: the next one begins them anew.
            let _ = self.commands.send(&command, pending);
        }
    }

    pub(super) fn renew_lease(&mut self) {
        self.upkeep.lease_renewed(Instant::now());
        if self.upkeep.is_anyone_missing() {
            self.chores.begin(&self.members);
        }
        let command = self.scripts.lease(&self.node, self.config.lease, self.upkeep.is_introduced());
        // The next connection begins with another.
        let _ = self.commands.send(&command, Pending::Lease);
    }

    /// Redis tells whether this node's lease is renewed, and whose is over. After an outage all leases are over, so the living get time to
    /// renew theirs.
    pub(super) fn on_lease(&mut self, renewed: bool, expired: Vec<String>) {
        if !renewed {
            // The others clear up after the old name, and whoever is still here gets the new one.
            self.node = keys::node(rand::random());
            if self.upkeep.is_introduced() {
                // Redis lost its data without a word, perhaps: what it should know begins anew.
                return self.commands.fail(Failure::GivenUp("Redis forgot this node"));
            }
            self.chores.begin(&self.members);
            return self.renew_lease();
        }
        self.upkeep.introduced();
        self.expired = expired;
        self.expired.retain(|node| *node != self.node);
        if !self.upkeep.are_leases_current(self.config.lease, Instant::now()) {
            return;
        }
        for node in &self.expired {
            self.chores.clear_up_after(&node.as_str().into());
        }
    }

    fn end_presence(&mut self, departure: Departure) {
        let Departure { channel, info, announce } = &departure;
        let last = self.members.remove(channel, &info.client);
        let command = self.scripts.leave(channel, info, *announce);
        let channel = last.then(|| channel.clone());
        if let Err(Pending::Leave(departure)) = self.commands.send(&command, Pending::Leave(departure)) {
            return self.leave_later(departure);
        }
        if let Some(channel) = channel {
            self.send_index("SREM", &channel);
        }
    }

    /// Notes in which channels this node has members, for those who would have to clear up after it.
    fn send_index(&mut self, change: &str, channel: &str) {
        let mut command = redis::cmd(change);
        command.arg(self.keys.node_channels(&self.node)).arg(channel);
        self.tell(&command);
    }

    /// Sends a command whose reply is of no interest; the next connection begins with what this one should know.
    pub(super) fn tell(&mut self, command: &Cmd) {
        let _ = self.commands.send(command, Pending::Ignored);
    }
}
