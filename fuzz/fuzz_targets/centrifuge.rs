#![no_main]
//! Clients of one shard: whatever they send, and whatever the backplane does meanwhile, nobody is answered what they did not ask, the
//! answers are JSON and of bounded size, and once all are gone nothing is left of them.
//!
//! An input is a script of steps, a line each: a letter, and what [`Step::read`] makes of the rest.

#[path = "../../gateway/core/tests/pair/backplane.rs"]
#[expect(dead_code, reason = "the gateway's own tests use the rest")]
mod backplane;
#[path = "../../gateway/core/tests/pair/node.rs"]
#[expect(dead_code, reason = "the gateway's own tests use the rest")]
mod node;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use backplane::Backplane;
use gateway_core::{
    backplane::{BackplaneError, ClientInfo, LogOp, Op, Outcome, PresenceOp, StreamPosition},
    centrifuge::command::valid_channel,
    config::GatewayConfig,
    key::ConnectionKey,
    shard::Opening,
    token::Key,
};
use libfuzzer_sys::fuzz_target;
use node::{BINARY, Frame, Node, TEXT, masked};
use serde::Deserialize;

/// The secret of the tokens in the corpus.
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const MOST_STEPS: usize = 200;
const MOST_CLIENTS: usize = 8;
/// What one command may have for an answer, the stream of a channel aside, which is not of its own making.
const LONGEST_ANSWER: usize = 1024;
/// Operations of one connection that wait at a time: its subscriptions, and what else [`gateway_core::shard`] lets it have.
const MOST_WAITING: usize = 512;

fuzz_target!(|input: &[u8]| {
    let Ok(script) = std::str::from_utf8(input) else { return };
    let mut world = World::new();
    for line in script.lines().take(MOST_STEPS) {
        if let Some(step) = Step::read(line) {
            world.apply(step);
            world.observe();
        }
    }
    world.end();
});

/// One thing that happens; a client is named by a digit, counted round those that are there.
enum Step<'a> {
    /// `o`: a client of the centrifuge protocol comes. `r`, a channel: one of raw messages.
    Come(Opening),
    /// `s`, a client, a text: it sends that, in which U+001E stands for a line break. `b`: as a binary message.
    Send(usize, u8, &'a str),
    /// `h`, a client: its connection breaks.
    HangUp(usize),
    /// `v`, a client: more waits for it than may.
    Overflow(usize),
    /// `x`: the backplane carries out the next operation. `f`: it fails. `u`: it is carried out, and not answered.
    Execute(Option<BackplaneError>),
    /// `t`, a digit: the shard takes the next item of one of its channels.
    Take(usize),
    /// `d`, a channel: the backplane loses track of it.
    Discontinue(&'a str),
    /// `e`: a client is sent elsewhere.
    Evict,
    /// `w`, a digit: so many times five seconds pass.
    Wait(usize),
    /// `z`: everything under way is carried out and taken.
    Settle,
}

impl<'a> Step<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (letter, rest) = line.split_at_checked(1)?;
        let digit = || rest.split_at_checked(1).and_then(|(digit, _)| digit.parse().ok());
        let text = || rest.get(1..);
        Some(match letter {
            "o" => Self::Come(Opening::Centrifuge),
            "r" if valid_channel(rest) => Self::Come(Opening::raw(rest)),
            "s" => Self::Send(digit()?, TEXT, text()?),
            "b" => Self::Send(digit()?, BINARY, text()?),
            "h" => Self::HangUp(digit()?),
            "v" => Self::Overflow(digit()?),
            "x" => Self::Execute(None),
            "f" => Self::Execute(Some(BackplaneError::Unavailable)),
            "u" => Self::Execute(Some(BackplaneError::Unanswered)),
            "t" => Self::Take(digit()?),
            "d" => Self::Discontinue(rest),
            "e" => Self::Evict,
            "w" => Self::Wait(digit()?),
            "z" => Self::Settle,
            _ => return None,
        })
    }
}

struct World {
    node: Node,
    backplane: Backplane,
    clients: Vec<Client>,
    came: u64,
}

struct Client {
    key: ConnectionKey,
    is_raw: bool,
    /// Commands sent and not answered, by id.
    asked: BTreeMap<u64, usize>,
}

/// All that is read of a command here.
#[derive(Deserialize)]
struct Asked {
    id: u32,
}

/// All that is read of an answer: what others published is theirs, with numbers that no type of ours holds.
#[derive(Deserialize)]
struct Heard {
    id: Option<u64>,
}

impl World {
    fn new() -> Self {
        let key = Key::hmac(SECRET).expect("it is not empty");
        Self {
            node: Node::with_keys(GatewayConfig::default(), 1, vec![key]),
            backplane: Backplane::default(),
            clients: Vec::new(),
            came: 0,
        }
    }

    fn apply(&mut self, step: Step<'_>) {
        match step {
            Step::Come(opening) if self.clients.len() < MOST_CLIENTS => {
                let is_raw = opening != Opening::Centrifuge;
                let key = self.node.open(opening);
                self.clients.push(Client { key, is_raw, asked: BTreeMap::new() });
                self.came += 1;
            }
            Step::Send(client, kind, text) => self.send(client, kind, &text.replace('\u{1e}', "\n")),
            Step::HangUp(client) => {
                if let Some(index) = client.checked_rem(self.clients.len()) {
                    let client = self.clients.remove(index);
                    self.node.hang_up(client.key);
                }
            }
            Step::Overflow(client) => {
                if let Some(index) = client.checked_rem(self.clients.len()) {
                    let (key, now) = (self.clients[index].key, self.node.now);
                    self.node.shard.overflow(key, now, &mut self.node.sink);
                }
            }
            Step::Execute(fault) => self.execute(fault),
            Step::Take(choice) => drop(self.take(choice)),
            Step::Discontinue(channel) => self.backplane.discontinue(0, &Arc::from(channel)),
            Step::Evict => drop(self.node.evict(1)),
            Step::Wait(fives) => self.node.pass(Duration::from_secs(5) * fives as u32),
            Step::Settle => self.settle(),
            Step::Come(_) => {}
        }
    }

    fn send(&mut self, client: usize, kind: u8, text: &str) {
        let Some(index) = client.checked_rem(self.clients.len()) else { return };
        let client = &mut self.clients[index];
        if self.node.sink.paused.contains(&client.key) {
            return;
        }
        let commands: Vec<_> =
            text.split('\n').filter(|line| !line.trim_matches([' ', '\t', '\r']).is_empty()).collect();
        for Asked { id } in commands.iter().filter_map(|command| serde_json::from_str(command).ok()) {
            *client.asked.entry(id.into()).or_default() += 1;
        }
        let key = client.key;
        self.node.receive(key, masked(kind, text.as_bytes()));
        let answered = |(to, frame): &(ConnectionKey, Frame)| match frame {
            Frame::Text(text) if *to == key => text.len(),
            _ => 0,
        };
        let answered: usize = self.node.sink.sent.iter().map(answered).sum();
        let bound = LONGEST_ANSWER * (commands.len() + 1);
        assert!(answered <= bound, "{answered} bytes for {} commands", commands.len());
    }

    fn execute(&mut self, fault: Option<BackplaneError>) {
        let Some((waiter, op)) = self.node.sink.submitted.pop_front() else { return };
        let Some((connection, _)) = waiter else { return self.backplane.execute(0, None, op, None) };
        let stream = |channel: &str| {
            let publications = self.backplane.published(channel);
            (StreamPosition { epoch: Arc::from("epoch"), offset: publications.len() as u64 }, publications)
        };
        let outcome = match &op {
            Op::Log(LogOp::Read { channel, limit, reverse, .. }) => {
                let (position, mut publications) = stream(channel);
                if *reverse {
                    publications.reverse();
                }
                publications.truncate(*limit as usize);
                Outcome::Read { position, publications }
            }
            Op::Presence(PresenceOp::List { .. }) => {
                let client = format!("{}", connection.slot);
                let info =
                    ClientInfo { client: client.into(), user: "".into(), conn_info: None, chan_info: None };
                Outcome::Listed { clients: vec![info] }
            }
            Op::Presence(PresenceOp::Count { .. }) => Outcome::Counted { clients: 1, users: 1 },
            _ => return self.backplane.execute(0, waiter, op, fault),
        };
        self.node.complete(waiter, fault.map_or(Ok(outcome), Err));
    }

    fn take(&mut self, choice: usize) -> Option<()> {
        let item = self.backplane.next(0, choice)?;
        self.node.inbound(item);
        Some(())
    }

    fn settle(&mut self) {
        loop {
            while !self.node.sink.submitted.is_empty() {
                self.execute(None);
                self.observe();
            }
            if self.take(0).is_none() {
                return;
            }
            self.observe();
        }
    }

    /// Reads what was sent, and ends the connections that are closed.
    fn observe(&mut self) {
        for (key, frame) in std::mem::take(&mut self.node.sink.sent) {
            let client = self.clients.iter_mut().find(|client| client.key == key);
            let client = client.expect("frames only for who is there");
            if let Frame::Text(text) = frame
                && !client.is_raw
            {
                text.lines().for_each(|line| client.hear(line));
            }
        }
        for key in std::mem::take(&mut self.node.sink.closed) {
            self.clients.retain(|client| client.key != key);
            self.node.hang_up(key);
        }
        for client in &self.clients {
            let waits =
                |waiter: &node::Waiter| waiter.is_some_and(|(connection, _)| connection == client.key);
            let waiting = self.node.sink.submitted.iter().filter(|(waiter, _)| waits(waiter)).count();
            assert!(waiting <= MOST_WAITING, "{waiting} operations of one connection wait");
        }
        let (open, there) = (self.node.shard.connections().total(), self.clients.len());
        assert_eq!(open as usize, there, "connections counted, and there");
    }

    /// All clients go.
    fn end(mut self) {
        for client in std::mem::take(&mut self.clients) {
            self.node.hang_up(client.key);
        }
        self.settle();
        let accepted = self.node.shard.accepted();
        assert_eq!(accepted.new + accepted.resumed, self.came, "each is counted as new or resumed, once");
        assert_eq!(self.node.shard.channels(), 0, "channels left");
        assert_eq!(self.node.shard.next_timeout(), None, "timers left");
        assert!(!self.backplane.serves(0), "subscriptions left");
    }
}

impl Client {
    fn hear(&mut self, line: &str) {
        let heard = serde_json::from_str(line).ok().filter(|_: &Heard| line.starts_with('{'));
        let Heard { id } = heard.unwrap_or_else(|| panic!("not a JSON object: {line}"));
        if let Some(id) = id {
            let open = self.asked.get_mut(&id).filter(|open| **open > 0);
            *open.unwrap_or_else(|| panic!("nobody asked, or it was answered before: {line}")) -= 1;
        }
    }
}
