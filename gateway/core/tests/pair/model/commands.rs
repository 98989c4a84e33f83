//! What becomes of each command, and of what it asked of the backplane.

use std::time::Duration;

use gateway_core::config::Audience;

use super::{FIRST_SECOND, Grant, Model, Said, State, Subscription, Waiting};
use crate::vocabulary::{Answer, Ask, BRIEF, Channel, Command, Name, Sight, Token};

/// Good tokens at once, and in how long one more may come.
const BURST: u32 = 128;
const ONE_MORE: Duration = Duration::from_micros(62_500);
/// Good tokens that a wrong one counts as.
const WRONG: u32 = 16;
/// How long what a token gave lasts beyond it, so that it can be refreshed.
const GRACE: Duration = Duration::from_secs(25);

/// Why a token is not taken: with an error, or because it is wrong, which the commands tell differently.
enum Refusal {
    Error(u64),
    Wrong,
}

impl Model {
    pub(super) fn handle(&mut self, said: Said) {
        let Said { id, command, second } = said;
        match (self.state, command) {
            (_, Command::Malformed) => self.close(3501),
            (_, Command::Pong) => {}
            (State::New | State::Refused, Command::Connect(token)) => self.connect(id, token, second),
            (_, Command::Connect(_)) | (State::New, _) => self.close(3501),
            (_, Command::Send) => {}
            (state, command) => {
                let outcome = match syntax(command) {
                    Some(code) => Err(code),
                    None if state == State::Refused => Err(100),
                    None => self.carry_out(said),
                };
                outcome.err().into_iter().for_each(|code| self.seen.push(Sight::Error(id, code)));
            }
        }
    }

    fn connect(&mut self, id: u32, token: Token, second: u64) {
        if token == Token::Absent && self.rules.anonymous {
            return self.welcome(id);
        }
        let is_good = !matches!(token, Token::Absent | Token::Forged | Token::Foreign | Token::Misplaced);
        let name = Name::Connection(token);
        match self.verify(name, second, is_good) {
            Err(Refusal::Wrong) => return self.close(3500),
            Err(Refusal::Error(code)) => {
                self.state = State::Refused;
                return self.seen.push(Sight::Error(id, code));
            }
            Ok(()) => self.identify(token, second),
        }
        match token {
            Token::Subscribing => {
                self.state = State::Greeting;
                for channel in [Channel::Server, Channel::ServerNews] {
                    if let Err(code) = self.rules.options(channel) {
                        return self.fail_to_connect(id, code);
                    }
                    let grant = Grant { token: name, by_server: true, ends: None };
                    self.ask(id, Ask::Subscribe(channel), "connect", 0, Some(grant));
                }
            }
            Token::SubscribingToUnknown => self.fail_to_connect(id, 102),
            Token::SubscribingToMany => self.close(3505),
            _ => self.welcome(id),
        }
    }

    fn identify(&mut self, token: Token, second: u64) {
        (self.user, self.token) = (owner(token), Some(Name::Connection(token)));
        self.ends = ends(token, second);
    }

    fn fail_to_connect(&mut self, id: u32, code: u64) {
        self.state = State::Refused;
        (self.user, self.token, self.ends) = ("", None, None);
        self.waiting.iter_mut().for_each(|waiting| waiting.is_stale = true);
        self.subscriptions.clear();
        self.held.clear();
        self.seen.push(Sight::Error(id, code));
    }

    fn welcome(&mut self, id: u32) {
        self.state = State::Connected;
        self.seen.push(Sight::Reply(id, "connect"));
        self.seen.append(&mut self.held);
    }

    fn carry_out(&mut self, Said { id, command, second }: Said) -> Result<(), u64> {
        match command {
            Command::Subscribe { channel, token, recover } => {
                let keeps = self.rules.options(channel)?.history.is_some();
                let mut under_way = self.waiting.iter().filter(|waiting| !waiting.is_stale);
                let is_under_way = under_way.clone().any(|waiting| waiting.ask == Ask::Subscribe(channel));
                if is_under_way || self.subscription(channel).is_some() {
                    return Err(105);
                }
                let count = under_way.by_ref().filter(|one| matches!(one.ask, Ask::Subscribe(_))).count();
                if self.subscriptions.len() + count >= self.rules.subscriptions as usize {
                    return Err(106);
                }
                let grant = match token {
                    Token::Absent => self.rules.admit(channel, self.user, false).map(|()| None)?,
                    token => Some(self.check(token, second)?),
                };
                let weight = if recover && keeps { 32 } else { 0 };
                self.ask(id, Ask::Subscribe(channel), "subscribe", weight, grant);
            }
            Command::Unsubscribe(channel) => {
                let mut waiting = self.waiting.iter_mut().filter(|waiting| !waiting.is_stale);
                if let Some(waiting) = waiting.find(|waiting| waiting.ask == Ask::Subscribe(channel)) {
                    waiting.is_stale = true;
                    self.seen.push(Sight::Error(waiting.id, 100));
                }
                self.leave(channel);
                self.seen.push(Sight::Reply(id, "unsubscribe"));
            }
            Command::Publish(channel) => {
                let audience = self.rules.options(channel)?.publish;
                self.need(channel, audience)?;
                self.ask(id, Ask::Publish, "publish", 1, None);
            }
            Command::Presence(channel) | Command::PresenceStats(channel) => {
                let options = self.rules.options(channel)?;
                if !options.presence {
                    return Err(108);
                }
                self.need(channel, options.read_presence)?;
                let (ask, reply, weight) = match command {
                    Command::Presence(_) => (Ask::Presence, "presence", 128),
                    _ => (Ask::PresenceStats, "presence_stats", 32),
                };
                self.ask(id, ask, reply, weight, None);
            }
            Command::History(channel) => {
                let options = self.rules.options(channel)?;
                if options.history.is_none() {
                    return Err(108);
                }
                self.need(channel, options.read_history)?;
                self.ask(id, Ask::History, "history", 128, None);
            }
            Command::Ping => self.seen.push(Sight::Reply(id, "ping")),
            Command::Rpc => return Err(108),
            Command::Refresh(token) => {
                let is_good =
                    !matches!(token, Token::Absent | Token::Forged | Token::Foreign | Token::Misplaced);
                match self.verify(Name::Connection(token), second, is_good) {
                    Ok(()) if owner(token) == self.user => {
                        self.identify(token, second);
                        self.seen.push(Sight::Reply(id, "refresh"));
                    }
                    Err(Refusal::Error(code)) => return Err(code),
                    Ok(()) | Err(Refusal::Wrong) => self.close(3500),
                }
            }
            Command::SubRefresh { channel, token } => {
                let by_server =
                    self.subscription(channel).ok_or(103_u64)?.grant.is_some_and(|one| one.by_server);
                let grant = Grant { by_server, ..self.check(token, second)? };
                self.subscription_mut(channel).into_iter().for_each(|one| one.grant = Some(grant));
                self.seen.push(Sight::Reply(id, "sub_refresh"));
            }
            Command::Connect(_) | Command::Send | Command::Pong | Command::Unheard | Command::Malformed => {}
        }
        Ok(())
    }

    fn need(&self, channel: Channel, audience: Audience) -> Result<(), u64> {
        let is_inside = self.subscription(channel).is_some();
        if self.rules.is_among(audience, channel, self.user, is_inside) { Ok(()) } else { Err(103) }
    }

    /// What a subscription token gives, or the error.
    fn check(&mut self, token: Token, second: u64) -> Result<Grant, u64> {
        let is_for_here = matches!(token, Token::Good | Token::Brief | Token::Nameless);
        let name = Name::Subscription(token);
        match self.verify(name, second, is_for_here && owner(token) == self.user) {
            Ok(()) => Ok(Grant { token: name, by_server: false, ends: ends(token, second) }),
            Err(Refusal::Error(code)) => Err(code),
            Err(Refusal::Wrong) => Err(103),
        }
    }

    /// A token is looked at, unless too many were: a wrong one counts as sixteen. An expired one is not wrong, whosoever it is, unless it is
    /// revoked.
    fn verify(&mut self, name: Name, second: u64, is_good: bool) -> Result<(), Refusal> {
        if self.tokens_paid >= self.now + BURST * ONE_MORE {
            return Err(Refusal::Error(111));
        }
        let (token, is_revoked) = (name.token(), self.rules.revoked.contains(&name));
        let is_over = token == Token::Expired || token == Token::Brief && self.second() >= second + BRIEF;
        let (is_good, is_expired) = (is_good && !is_revoked, is_over && !is_revoked);
        let price = if is_good || is_expired { 1 } else { WRONG };
        self.tokens_paid = self.tokens_paid.max(self.now) + price * ONE_MORE;
        match (is_expired, is_good) {
            (true, _) => Err(Refusal::Error(109)),
            (false, true) => Ok(()),
            (false, false) => Err(Refusal::Wrong),
        }
    }

    fn ask(&mut self, id: u32, ask: Ask, reply: &'static str, weight: usize, grant: Option<Grant>) {
        self.waiting.push(Waiting { id, ask, reply, weight, grant, is_stale: false });
        self.asked.push(ask);
    }

    pub(super) fn finish(&mut self, waiting: Waiting, answer: Answer) {
        let Waiting { id, ask, reply, grant, .. } = waiting;
        if let (State::Greeting, Err(code)) = (self.state, self.may_stay()) {
            return self.close(code);
        }
        let outcome = match (answer, ask) {
            (Answer::Fine, Ask::Subscribe(channel)) => self.enter(channel, grant),
            (Answer::Fine, _) => Ok(()),
            (Answer::Busy, _) => Err(111),
            (Answer::TooLarge, _) => Err(106),
            (Answer::Failed, _) => Err(100),
            (Answer::Unrecoverable, _) => Err(112),
        };
        match outcome {
            Err(code) if self.state == State::Greeting => self.fail_to_connect(id, code),
            Err(code) => self.seen.push(Sight::Error(id, code)),
            Ok(()) if self.state != State::Greeting => self.seen.push(Sight::Reply(id, reply)),
            Ok(()) if self.is_settled() => self.welcome(id),
            Ok(()) => {}
        }
    }

    /// What the rules say counts when the backplane has answered.
    fn enter(&mut self, channel: Channel, grant: Option<Grant>) -> Result<(), u64> {
        self.rules.admit(channel, self.user, self.counts(grant))?;
        let is_seen = self.rules.is_seen(channel);
        // What has ended meanwhile is noticed with the next heartbeat from here on.
        let grant = grant.map(|grant| Grant { ends: grant.ends.map(|ends| ends.max(self.now)), ..grant });
        self.subscriptions.push(Subscription { channel, grant, is_seen });
        Ok(())
    }
}

fn owner(token: Token) -> &'static str {
    if token == Token::Nameless { "" } else { "ada" }
}

/// When what a token of a second gives may end at the earliest.
fn ends(token: Token, second: u64) -> Option<Duration> {
    (token == Token::Brief).then(|| FIRST_SECOND + Duration::from_secs(second + BRIEF) + GRACE)
}

/// What is wrong with a command whoever sends it.
fn syntax(command: Command) -> Option<u64> {
    match command {
        Command::Unheard => Some(104),
        Command::Subscribe { channel: Channel::Unnamed, .. }
        | Command::Unsubscribe(Channel::Unnamed)
        | Command::Publish(Channel::Unnamed)
        | Command::Presence(Channel::Unnamed)
        | Command::PresenceStats(Channel::Unnamed)
        | Command::History(Channel::Unnamed)
        | Command::SubRefresh { channel: Channel::Unnamed, .. } => Some(107),
        _ => None,
    }
}
