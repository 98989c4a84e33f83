//! The centrifuge protocol as a client may expect it of one connection: what each command is answered with, and when. It is written from
//! the protocol's documents and knows nothing of the session.

mod commands;

use std::{collections::VecDeque, time::Duration};

use crate::{
    rules::{PACE, Rules},
    vocabulary::{Answer, Ask, Channel, Command, Name, Sight},
};

/// When the clock of seconds shows none since the connection was opened, so that nothing of the server's is due at a whole one.
pub const FIRST_SECOND: Duration = Duration::from_millis(510);
/// What may wait for the backplane before the connection is read no further, and what of it may be left when it is read again.
const HELD_BACK: usize = 256;
const READ_AGAIN: usize = 128;
const SECOND: Duration = Duration::from_secs(1);
/// What has ended is noticed with the next heartbeat, and clocks of seconds are rough.
const NOTICED: Duration = Duration::from_millis(26_250);
/// Within which a connect command has to have succeeded.
const STALE: Duration = Duration::from_secs(10);
const NOTICED_STALE: Duration = Duration::from_millis(10_250);

/// What a token says of one channel.
#[derive(Clone, Copy, Debug)]
struct Grant {
    token: Name,
    by_server: bool,
    /// When it may end at the earliest, like all times since the connection was opened.
    ends: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    channel: Channel,
    grant: Option<Grant>,
    /// Others see the client there.
    is_seen: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u32,
    ask: Ask,
    reply: &'static str,
    weight: usize,
    grant: Option<Grant>,
    /// Nobody waits for it any more.
    is_stale: bool,
}

/// A command, and the second in which it was sent.
#[derive(Clone, Copy, Debug)]
struct Said {
    id: u32,
    command: Command,
    second: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    /// A connect command failed for now.
    Refused,
    /// A connect command waits for the channels of its token.
    Greeting,
    Connected,
    Closed,
}

#[derive(Clone, Debug)]
pub struct Model {
    rules: Rules,
    /// Tokens are checked elsewhere.
    is_slow: bool,
    /// They are others than those that were last applied to what the client has.
    is_outdated: bool,
    now: Duration,
    state: State,
    /// Empty for an anonymous one.
    user: &'static str,
    /// What let it in, if it came with one.
    token: Option<Name>,
    ends: Option<Duration>,
    /// Until when the tokens and the commands so far are paid for.
    tokens_paid: Duration,
    commands_paid: Duration,
    /// Commands that were handled and are not counted against the pace yet.
    uncounted: u32,
    /// The client has sent more than it may, and goes on then.
    ahead_until: Option<Duration>,
    is_leaving: bool,
    pub is_paused: bool,
    subscriptions: Vec<Subscription>,
    waiting: Vec<Waiting>,
    backlog: VecDeque<Said>,
    held: Vec<Sight>,
    seen: Vec<Sight>,
    asked: Vec<Ask>,
}

impl Model {
    pub fn new(rules: Rules, is_slow: bool) -> Self {
        Self {
            rules,
            is_slow,
            is_outdated: false,
            now: FIRST_SECOND,
            state: State::New,
            user: "",
            token: None,
            ends: None,
            tokens_paid: Duration::ZERO,
            commands_paid: Duration::ZERO,
            uncounted: 0,
            ahead_until: None,
            is_leaving: false,
            is_paused: false,
            subscriptions: vec![],
            waiting: vec![],
            backlog: VecDeque::new(),
            held: vec![],
            seen: vec![],
            asked: vec![],
        }
    }

    /// What the client has seen since the last call, and what the backplane was asked.
    pub fn take(&mut self) -> (Vec<Sight>, Vec<Ask>) {
        (std::mem::take(&mut self.seen), std::mem::take(&mut self.asked))
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether others see the client in a channel.
    pub fn is_present(&self, channel: Channel) -> bool {
        self.subscription(channel).is_some_and(|subscription| subscription.is_seen)
    }

    pub fn send(&mut self, commands: impl IntoIterator<Item = (u32, Command)>) {
        let second = self.second();
        self.backlog.extend(commands.into_iter().map(|(id, command)| Said { id, command, second }));
        self.work();
    }

    /// A message that is too large ends the connection. A compressed one is looked into only where messages are still read.
    pub fn send_too_large(&mut self, is_compressed: bool) {
        if !(is_compressed && self.is_leaving) {
            self.close(1009);
        }
    }

    pub fn send_binary(&mut self) {
        if !self.is_leaving {
            self.close(3506);
        }
    }

    pub fn say_goodbye(&mut self, code: u16) {
        self.close(code);
    }

    /// The backplane answers what it was asked at that place.
    pub fn answer(&mut self, index: usize, answer: Answer) {
        let waiting = self.waiting.remove(index);
        if !waiting.is_stale && !self.is_closed() {
            self.finish(waiting, answer);
            if self.is_leaving && !self.is_closed() && self.is_settled() {
                self.close(3001);
            }
        }
        self.work();
    }

    pub fn deliver(&mut self, channel: Channel) {
        if self.subscription(channel).is_some() {
            let sight = Sight::Publication(channel.name().to_owned());
            if self.state == State::Greeting { &mut self.held } else { &mut self.seen }.push(sight);
        }
    }

    pub fn discontinue(&mut self, channel: Channel) {
        if let Some(subscription) = self.leave(channel) {
            if subscription.grant.is_some_and(|grant| grant.by_server) {
                self.close(3010);
            } else {
                self.tell_unsubscribed(channel, 2500);
            }
        }
        self.work();
    }

    /// From now on other rules are in force; what the client has is held against them a moment later.
    pub fn exchange(&mut self, rules: Rules) {
        (self.rules, self.is_outdated) = (rules, true);
    }

    pub fn evict(&mut self) {
        if !self.is_closed() && !self.is_leaving {
            self.is_leaving = true;
            if self.is_settled() {
                self.close(3001);
            }
        }
        self.work();
    }

    pub fn overflow(&mut self) {
        self.close(3008);
    }

    /// Something ends for want of a token or of a connect command: only what may end by now.
    pub fn end(&mut self, sight: &Sight) {
        let (now, is_due) = (self.now, |ends: Option<Duration>| ends.is_some_and(|ends| ends <= self.now));
        match sight {
            Sight::Close(3502) => {
                assert!(self.state != State::Connected && now + SECOND >= STALE, "stale at {now:?}");
                self.close(3502);
            }
            Sight::Close(3005) => {
                assert!(is_due(self.ends), "expired at {now:?} and not {:?}", self.ends);
                self.close(3005);
            }
            Sight::Unsubscribed(name, 2501) => {
                let subscription = self.subscriptions.iter().find(|one| one.channel.name() == name);
                let grant = subscription.and_then(|subscription| subscription.grant);
                assert!(is_due(grant.and_then(|grant| grant.ends)), "{name} expired at {now:?}: {grant:?}");
                let channel = subscription.map(|subscription| subscription.channel);
                channel.into_iter().for_each(|channel| {
                    self.leave(channel);
                    self.tell_unsubscribed(channel, 2501);
                });
            }
            other => panic!("nothing ends with {other:?}"),
        }
    }

    /// Whether something has such an end.
    pub fn is_end(sight: &Sight) -> bool {
        matches!(sight, Sight::Close(3502 | 3005) | Sight::Unsubscribed(_, 2501))
    }

    /// Time passes, up to when something is due.
    pub fn pass(&mut self, to: Duration) {
        if std::mem::take(&mut self.is_outdated) && !self.is_leaving && !self.is_closed() {
            self.adapt();
            self.work();
        }
        self.now = to;
        if self.ahead_until.take_if(|until| *until <= to).is_some() {
            self.work();
        }
        let grants = self.subscriptions.iter().filter_map(|subscription| subscription.grant);
        for ends in grants.map(|grant| grant.ends).chain([self.ends]).flatten() {
            assert!(self.is_closed() || to < ends + NOTICED, "not ended at {to:?}: {ends:?}");
        }
        let is_early = matches!(self.state, State::Connected | State::Closed) || to < NOTICED_STALE;
        assert!(is_early, "not stale at {to:?}");
    }

    /// The clients' clock, which shows seconds.
    fn second(&self) -> u64 {
        (self.now - FIRST_SECOND).as_secs()
    }

    fn adapt(&mut self) {
        if let Err(code) = self.may_stay() {
            return self.close(code);
        }
        for Subscription { channel, grant, .. } in self.subscriptions.clone() {
            if self.rules.admit(channel, self.user, self.counts(grant)).is_ok() {
                let is_seen = self.rules.is_seen(channel);
                self.subscription_mut(channel).into_iter().for_each(|one| one.is_seen = is_seen);
            } else if self.state == State::Greeting {
                return self.close(3010);
            } else {
                self.leave(channel);
                self.tell_unsubscribed(channel, 2000);
            }
        }
    }

    /// Whoever has shown his token, or that he has none, is judged by that; others by what they come with.
    fn may_stay(&self) -> Result<(), u16> {
        let is_known = matches!(self.state, State::Greeting | State::Connected);
        let is_let_in = match self.token {
            Some(name) => !self.rules.revoked.contains(&name),
            None => self.rules.anonymous,
        };
        match (self.rules.is_served, !is_known || is_let_in) {
            (false, _) => Err(3508),
            (true, false) => Err(3507),
            (true, true) => Ok(()),
        }
    }

    /// Whether there is a token for a channel that is not revoked.
    fn counts(&self, grant: Option<Grant>) -> bool {
        grant.is_some_and(|grant| !self.rules.revoked.contains(&grant.token))
    }

    fn subscription(&self, channel: Channel) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.channel == channel)
    }

    fn subscription_mut(&mut self, channel: Channel) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.channel == channel)
    }

    fn leave(&mut self, channel: Channel) -> Option<Subscription> {
        self.subscriptions.extract_if(.., |subscription| subscription.channel == channel).next()
    }

    fn tell_unsubscribed(&mut self, channel: Channel, code: u64) {
        self.seen.push(Sight::Unsubscribed(channel.name().to_owned(), code));
    }

    fn close(&mut self, code: u16) {
        if !self.is_closed() {
            self.seen.push(Sight::Close(code));
            self.state = State::Closed;
            self.is_paused = false;
            self.subscriptions.clear();
        }
    }

    fn is_settled(&self) -> bool {
        self.waiting.iter().all(|waiting| waiting.is_stale)
    }

    fn weight(&self) -> usize {
        self.waiting.iter().filter(|waiting| !waiting.is_stale).map(|waiting| waiting.weight).sum()
    }

    fn work(&mut self) {
        let may_go_on = self.ahead_until.is_none() && self.weight() <= READ_AGAIN;
        if self.is_paused && self.state != State::Greeting && may_go_on {
            self.is_paused = false;
        }
        while !self.is_paused {
            if self.is_leaving || self.is_closed() {
                self.backlog.clear();
                break;
            }
            if self.state == State::Greeting || self.weight() >= HELD_BACK {
                self.is_paused = true;
                break;
            }
            let Some(said) = self.backlog.pop_front() else { break };
            if self.is_slow && self.has_token_checked(said) {
                self.keep_pace();
                if self.is_paused {
                    self.backlog.push_front(said);
                    break;
                }
            }
            self.uncounted += 1;
            self.handle(said);
        }
        self.keep_pace();
    }

    /// While a token is checked nothing else is handled, so that what came before it is counted first.
    fn has_token_checked(&self, said: Said) -> bool {
        let mut after = self.clone();
        after.handle(said);
        after.tokens_paid != self.tokens_paid
    }

    fn keep_pace(&mut self) {
        let handled = std::mem::take(&mut self.uncounted);
        self.commands_paid = self.commands_paid.max(self.now) + handled * SECOND / PACE;
        let is_ahead = self.commands_paid > self.now + SECOND;
        if is_ahead && !self.is_leaving && !self.is_closed() && handled > 0 {
            self.ahead_until = Some(self.commands_paid - SECOND / 2);
            self.is_paused = true;
        }
    }
}
