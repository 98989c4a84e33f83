//! The centrifuge protocol as a client may expect it of one connection: what each command is answered with, and when. It is written from
//! the protocol's documents and knows nothing of the session.

use std::collections::{BTreeSet, VecDeque};

use crate::vocabulary::{Answer, Ask, Channel, Command, Sight, Token};

/// Subscriptions that the connection may have.
pub const LIMIT: usize = 4;
/// What may wait for the backplane before the connection is read no further, and what of it may be left when it is read again.
const HELD_BACK: usize = 256;
const READ_AGAIN: usize = 128;
/// Good tokens at once.
const BURST: u32 = 128;
/// Seconds within which a connect command has to have succeeded.
const STALE: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    id: u32,
    ask: Ask,
    reply: &'static str,
    weight: usize,
    /// Nobody waits for it any more.
    stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    /// A connect command failed for now.
    Refused,
    /// A connect command waits for the channels of its token.
    Greeting(u32),
    Connected,
    Closed,
}

#[derive(Debug)]
pub struct Model {
    anonymous: bool,
    /// Whole seconds since the connection was opened.
    age: u32,
    state: State,
    is_user: bool,
    /// What tokens have used up, in sixteenths of a second since the connection was opened.
    paid: u32,
    leaving: bool,
    pub paused: bool,
    subscribed: BTreeSet<Channel>,
    by_server: BTreeSet<Channel>,
    waiting: Vec<Waiting>,
    backlog: VecDeque<(u32, Command)>,
    held: Vec<Sight>,
    seen: Vec<Sight>,
    asked: Vec<Ask>,
}

impl Model {
    pub fn new(anonymous: bool) -> Self {
        Self {
            anonymous,
            age: 0,
            state: State::New,
            is_user: false,
            paid: 0,
            leaving: false,
            paused: false,
            subscribed: BTreeSet::new(),
            by_server: BTreeSet::new(),
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

    pub fn send(&mut self, commands: impl IntoIterator<Item = (u32, Command)>) {
        self.backlog.extend(commands);
        self.work();
    }

    /// The backplane answers what it was asked at that place.
    pub fn answer(&mut self, index: usize, answer: Answer) {
        let waiting = self.waiting.remove(index);
        if !waiting.stale && !self.is_closed() {
            self.finish(waiting, answer);
            if self.leaving && !self.is_closed() && self.waiting.iter().all(|waiting| waiting.stale) {
                self.close(3001);
            }
        }
        self.work();
    }

    pub fn deliver(&mut self, channel: Channel) {
        if self.subscribed.contains(&channel) {
            let sight = Sight::Publication(channel.name().to_owned());
            let greeting = matches!(self.state, State::Greeting(_));
            if greeting { &mut self.held } else { &mut self.seen }.push(sight);
        }
    }

    pub fn discontinue(&mut self, channel: Channel) {
        if self.subscribed.remove(&channel) {
            if self.by_server.remove(&channel) {
                self.close(3010);
            } else {
                self.seen.push(Sight::Unsubscribed(channel.name().to_owned(), 2500));
            }
        }
        self.work();
    }

    pub fn evict(&mut self) {
        if !self.is_closed() && !self.leaving {
            self.leaving = true;
            if self.waiting.iter().all(|waiting| waiting.stale) {
                self.close(3001);
            }
        }
        self.work();
    }

    pub fn overflow(&mut self) {
        self.close(3008);
    }

    /// A second passes.
    pub fn wait(&mut self) {
        self.age += 1;
        if self.age == STALE && !matches!(self.state, State::Connected) {
            self.close(3502);
        }
        self.work();
    }

    fn close(&mut self, code: u16) {
        if !self.is_closed() {
            self.seen.push(Sight::Close(code));
            self.state = State::Closed;
            self.paused = false;
            self.subscribed.clear();
        }
    }

    fn weight(&self) -> usize {
        self.waiting.iter().filter(|waiting| !waiting.stale).map(|waiting| waiting.weight).sum()
    }

    fn work(&mut self) {
        let greeting = matches!(self.state, State::Greeting(_));
        if self.paused && !greeting && self.weight() <= READ_AGAIN {
            self.paused = false;
        }
        while !self.paused {
            if self.leaving || self.is_closed() {
                self.backlog.clear();
                return;
            }
            if matches!(self.state, State::Greeting(_)) || self.weight() >= HELD_BACK {
                self.paused = true;
                return;
            }
            let Some((id, command)) = self.backlog.pop_front() else { return };
            self.handle(id, command);
        }
    }

    fn handle(&mut self, id: u32, command: Command) {
        match (self.state, command) {
            (_, Command::Malformed) => self.close(3501),
            (_, Command::Pong) => {}
            (State::New | State::Refused, Command::Connect(token)) => self.connect(id, token),
            (_, Command::Connect(_)) | (State::New, _) => self.close(3501),
            (_, Command::Send) => {}
            (State::Refused, command) => {
                let code = syntax(command).filter(|code| [104, 107].contains(code));
                self.seen.push(Sight::Error(id, code.unwrap_or(100)));
            }
            (_, command) => {
                if let Err(code) =
                    syntax(command).map_or(Ok(()), Err).and_then(|()| self.carry_out(id, command))
                {
                    self.seen.push(Sight::Error(id, code));
                }
            }
        }
    }

    fn connect(&mut self, id: u32, token: Token) {
        if token == Token::Absent && self.anonymous {
            return self.welcome(id);
        }
        if let Err(code) = self.verify(token) {
            self.state = State::Refused;
            return self.seen.push(Sight::Error(id, code));
        }
        match token {
            Token::Good => {
                self.is_user = true;
                self.welcome(id);
            }
            Token::Subscribing => {
                self.is_user = true;
                self.state = State::Greeting(id);
                for channel in [Channel::Server, Channel::Second] {
                    self.ask(id, Ask::Subscribe(channel), "connect", 0);
                }
            }
            Token::SubscribingToUnknown => {
                self.state = State::Refused;
                self.seen.push(Sight::Error(id, 102));
            }
            Token::Expired => {
                self.state = State::Refused;
                self.seen.push(Sight::Error(id, 109));
            }
            Token::Absent | Token::Forged | Token::Foreign => self.close(3500),
        }
    }

    fn welcome(&mut self, id: u32) {
        self.state = State::Connected;
        self.seen.push(Sight::Reply(id, "connect"));
        self.seen.append(&mut self.held);
    }

    fn carry_out(&mut self, id: u32, command: Command) -> Result<(), u64> {
        match command {
            Command::Subscribe { channel, token, recover } => {
                let is_under_way =
                    |waiting: &&Waiting| !waiting.stale && waiting.ask == Ask::Subscribe(channel);
                let under_way = self
                    .waiting
                    .iter()
                    .filter(|waiting| !waiting.stale && matches!(waiting.ask, Ask::Subscribe(_)));
                if self.subscribed.contains(&channel)
                    || under_way.clone().any(|waiting| is_under_way(&waiting))
                {
                    return Err(105);
                }
                if self.subscribed.len() + under_way.count() >= LIMIT {
                    return Err(106);
                }
                match token {
                    Token::Absent if channel == Channel::Private => return Err(103),
                    Token::Absent => {}
                    token => self.check(token)?,
                }
                let weight = if recover && channel.keeps() { 32 } else { 0 };
                self.ask(id, Ask::Subscribe(channel), "subscribe", weight);
            }
            Command::Unsubscribe(channel) => {
                let under_way = self
                    .waiting
                    .iter_mut()
                    .find(|waiting| !waiting.stale && waiting.ask == Ask::Subscribe(channel));
                if let Some(waiting) = under_way {
                    waiting.stale = true;
                    self.seen.push(Sight::Error(waiting.id, 100));
                }
                self.subscribed.remove(&channel);
                self.by_server.remove(&channel);
                self.seen.push(Sight::Reply(id, "unsubscribe"));
            }
            Command::Publish(channel) => {
                self.need(channel)?;
                self.ask(id, Ask::Publish, "publish", 1);
            }
            Command::Presence(channel) | Command::PresenceStats(channel) | Command::History(channel) => {
                if !channel.keeps() {
                    return Err(108);
                }
                self.need(channel)?;
                let (ask, reply, weight) = match command {
                    Command::Presence(_) => (Ask::Presence, "presence", 128),
                    Command::PresenceStats(_) => (Ask::PresenceStats, "presence_stats", 32),
                    _ => (Ask::History, "history", 128),
                };
                self.ask(id, ask, reply, weight);
            }
            Command::Ping => self.seen.push(Sight::Reply(id, "ping")),
            Command::Rpc => return Err(108),
            Command::Refresh(token) => {
                self.verify(token)?;
                match token {
                    Token::Good | Token::Subscribing | Token::SubscribingToUnknown if self.is_user => {
                        self.seen.push(Sight::Reply(id, "refresh"));
                    }
                    Token::Expired => return Err(109),
                    _ => self.close(3500),
                }
            }
            Command::SubRefresh { channel, token } => {
                self.need(channel)?;
                self.check(token)?;
                self.seen.push(Sight::Reply(id, "sub_refresh"));
            }
            Command::Connect(_) | Command::Send | Command::Pong | Command::Unheard | Command::Malformed => {}
        }
        Ok(())
    }

    fn need(&self, channel: Channel) -> Result<(), u64> {
        if self.subscribed.contains(&channel) { Ok(()) } else { Err(103) }
    }

    /// What is wrong with a subscription token.
    fn check(&mut self, token: Token) -> Result<(), u64> {
        // Subscription tokens are for the user, so a good one is wrong for somebody else.
        self.verify(if token == Token::Good && !self.is_user { Token::Foreign } else { token })?;
        match token {
            Token::Good if self.is_user => Ok(()),
            Token::Expired => Err(109),
            _ => Err(103),
        }
    }

    /// A token is looked at, unless too many were: a wrong one counts as sixteen.
    fn verify(&mut self, token: Token) -> Result<(), u64> {
        let now = self.age * 16;
        if self.paid >= now + BURST {
            return Err(111);
        }
        let is_wrong = matches!(token, Token::Absent | Token::Forged | Token::Foreign);
        self.paid = self.paid.max(now) + if is_wrong { 16 } else { 1 };
        Ok(())
    }

    fn ask(&mut self, id: u32, ask: Ask, reply: &'static str, weight: usize) {
        self.waiting.push(Waiting { id, ask, reply, weight, stale: false });
        self.asked.push(ask);
    }

    fn finish(&mut self, waiting: Waiting, answer: Answer) {
        let code = match answer {
            Answer::Fine => None,
            Answer::Busy => Some(111),
            Answer::Failed => Some(100),
            Answer::Unrecoverable => Some(112),
        };
        let greeting = matches!(self.state, State::Greeting(_));
        match (waiting.ask, code) {
            (Ask::Subscribe(_), Some(code)) if greeting => {
                self.state = State::Refused;
                self.is_user = false;
                self.waiting.iter_mut().for_each(|waiting| waiting.stale = true);
                self.subscribed.clear();
                self.by_server.clear();
                self.held.clear();
                self.seen.push(Sight::Error(waiting.id, code));
            }
            (Ask::Subscribe(channel), None) if greeting => {
                self.subscribed.insert(channel);
                self.by_server.insert(channel);
                if self.waiting.iter().all(|waiting| waiting.stale) {
                    self.welcome(waiting.id);
                }
            }
            (_, Some(code)) => self.seen.push(Sight::Error(waiting.id, code)),
            (ask, None) => {
                if let Ask::Subscribe(channel) = ask {
                    self.subscribed.insert(channel);
                }
                self.seen.push(Sight::Reply(waiting.id, waiting.reply));
            }
        }
    }
}

/// What is wrong with a command whoever sends it.
fn syntax(command: Command) -> Option<u64> {
    let channel = match command {
        Command::Unheard => return Some(104),
        Command::Subscribe { channel, .. }
        | Command::Unsubscribe(channel)
        | Command::Publish(channel)
        | Command::Presence(channel)
        | Command::PresenceStats(channel)
        | Command::History(channel)
        | Command::SubRefresh { channel, .. } => channel,
        _ => return None,
    };
    match (channel, command) {
        (Channel::Unnamed, _) => Some(107),
        (Channel::Unknown, Command::Unsubscribe(_) | Command::SubRefresh { .. }) => None,
        (Channel::Unknown, _) => Some(102),
        _ => None,
    }
}
