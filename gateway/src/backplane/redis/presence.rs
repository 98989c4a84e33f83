//! Who is present: clients that come and go, those that an outage made Redis forget, and those whose node died.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::backplane::{ClientInfo, Outcome, PresenceOp};
use redis::Cmd;

use super::{
    actor::{Actor, Completed},
    chores::Chore,
    envelope::{JOINED, LEFT},
    failure::Failure,
    keys,
    members::{Join, Member},
    pending::Pending,
    questions::Question,
};
use crate::backplane::{Waiter, departures::Departure, pace::Turn};

/// Commands on their way beside which chores go on.
const CHORES_BESIDE: usize = 256;
/// After how long a departure that could not be carried out is tried again.
const DEPART_AGAIN: Duration = Duration::from_secs(1);

impl Actor {
    pub(super) fn serve_presence(&mut self, op: PresenceOp, waiter: Waiter) -> Option<Completed> {
        let question = match op {
            PresenceOp::Enter { channel, info, announce } => {
                self.enter(&channel, info, announce);
                return Some((waiter, Ok(Outcome::Done)));
            }
            PresenceOp::Leave { channel, info, announce, grace } => {
                self.leave(Departure { channel, info, announce }, grace);
                return Some((waiter, Ok(Outcome::Done)));
            }
            PresenceOp::List { channel, limit } => Question::List { channel, limit },
            PresenceOp::Count { channel } => Question::Count(channel),
        };
        self.reads.push(question, waiter, Instant::now());
        None
    }

    /// Makes a client present. One that was about to leave still is.
    fn enter(&mut self, channel: &Arc<str>, info: ClientInfo, announce: bool) {
        self.departures.cancel(channel, &info.client);
        let client = info.client.clone();
        let mut join = if announce { Join::Untold } else { Join::Silent };
        if let Some(member) = self.members.get_mut(channel, &client) {
            let is_announced = member.join != Join::Silent;
            if member.info == info && is_announced == announce {
                return;
            }
            if is_announced && announce {
                join = member.join;
            }
        }
        // A node that was held up may have been given up, and nobody clears up after one without a lease.
        if self.upkeep.is_lease_due(self.config.lease, Instant::now()) {
            self.renew_lease();
        }
        if self.members.insert(channel, Member { info, join }) {
            self.send_index("SADD", channel);
        }
        self.send_member(channel, &client);
    }

    /// Tells Redis of a client, and others as far as they don't know. Without a connection the next one begins with all who are present.
    fn send_member(&mut self, channel: &Arc<str>, client: &Arc<str>) {
        let Some(member) = self.members.get_mut(channel, client).filter(|_| self.commands.is_up()) else {
            return;
        };
        let tell = match member.join {
            Join::Silent => false,
            Join::Untold => {
                let tell = self.joins.enter(channel, client, Instant::now());
                if tell {
                    member.join = Join::Told(self.life);
                }
                tell
            }
            Join::Told(life) => {
                member.join = Join::Told(self.life);
                // Redis knows whether others were told meanwhile that it is gone, unless it has lost everything: nobody was told of that.
                life == self.life
            }
        };
        let announce = member.join != Join::Silent;
        let command = self.scripts.enter(&self.node, channel, &member.info, announce, tell);
        let _ = self.commands.send(&command, Pending::Enter(channel.clone(), client.clone()));
    }

    /// Ends a client's presence once its grace is over.
    fn leave(&mut self, departure: Departure, grace: Duration) {
        self.departures.push(departure, Instant::now(), grace);
        while let Some(displaced) = self.departures.pop_excess() {
            if self.commands.is_up() {
                self.end_presence(displaced);
                continue;
            }
            // Redis can't be told who left: it gives up all clients of this node's name, and those that are here get another one.
            self.forget_member(displaced);
            self.node = keys::node(rand::random());
        }
    }

    /// Does what is due about presence, as fast as it may; [`Actor::is_held_back`] says whether more of it is.
    pub(super) fn keep_presence(&mut self, now: Instant) {
        loop {
            let (is_due, has_chore) = (self.may_depart(now), self.may_do_chore());
            match self.presence_pace.turn(is_due, has_chore, now) {
                Some(Turn::First) => self.depart(now),
                Some(Turn::Second) => self.do_chore(),
                None => {
                    self.held_back = is_due || has_chore;
                    break;
                }
            }
        }
        self.announce_joins(now);
    }

    /// Whether something about presence waits for nothing but its pace.
    pub(super) fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Whether a departure is due and there is room for it. Without a connection it waits for one.
    fn may_depart(&self, now: Instant) -> bool {
        self.commands.is_up() && self.has_room() && self.departures.is_due(now)
    }

    fn depart(&mut self, now: Instant) {
        if let Some(departure) = self.departures.pop(now) {
            self.end_presence(departure);
        }
    }

    /// Tells others of clients that came with too many at once.
    fn announce_joins(&mut self, now: Instant) {
        while self.commands.is_up()
            && self.has_room()
            && let Some((channel, client)) = self.joins.pop(now)
        {
            let member = self.members.get_mut(&channel, &client);
            if let Some(member) = member.filter(|member| member.join == Join::Untold) {
                member.join = Join::Told(self.life);
                let command = self.scripts.announce(&channel, JOINED, &member.info);
                self.tell(&command);
            }
        }
        self.held_back |= self.joins.next_due().is_some() && self.commands.is_up();
    }

    /// Tries a departure again later; until then the client stays present.
    pub(super) fn leave_later(&mut self, departure: Departure) {
        self.leave(departure, DEPART_AGAIN);
    }

    /// Whether the node has something to do by itself, and little else is on its way.
    fn may_do_chore(&self) -> bool {
        self.commands.is_up() && self.commands.in_flight() < CHORES_BESIDE && !self.chores.is_empty()
    }

    fn do_chore(&mut self) {
        let Some(chore) = self.chores.next(&self.members) else { return };
        let (command, pending) = match chore {
            Chore::Index(channel) => return self.send_index("SADD", &channel),
            Chore::Enter { channel, client } => return self.send_member(&channel, &client),
            Chore::EnterAgain { channel, client } => {
                self.send_index("SADD", &channel);
                return self.send_member(&channel, &client);
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

    pub(super) fn renew_lease(&mut self) {
        self.upkeep.lease_renewed(Instant::now());
        self.chores.try_again();
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
        let (departure, last) = self.forget_member(departure);
        let Departure { channel, info, announce } = &departure;
        let command = self.scripts.leave(channel, info, *announce);
        let channel = last.then(|| channel.clone());
        if let Err(Pending::Leave(departure)) = self.commands.send(&command, Pending::Leave(departure)) {
            return self.leave_later(departure);
        }
        if let Some(channel) = channel {
            self.send_index("SREM", &channel);
        }
    }

    /// The client is here no more; its departure as others are to hear of it, and whether the channel has no other client here.
    fn forget_member(&mut self, mut departure: Departure) -> (Departure, bool) {
        let Departure { channel, info, announce } = &mut departure;
        let (member, last) = self.members.remove(channel, &info.client);
        match member.map(|member| member.join) {
            // Nobody knows that it came.
            Some(Join::Untold) => {
                self.joins.leave(channel, &info.client);
                *announce = false;
            }
            // Redis has forgotten that it came, others have not.
            Some(Join::Told(life)) if *announce && life != self.life => {
                let command = self.scripts.announce(channel, LEFT, info);
                let _ = self.commands.send(&command, Pending::Ignored);
            }
            Some(Join::Silent | Join::Told(_)) | None => {}
        }
        (departure, last)
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
