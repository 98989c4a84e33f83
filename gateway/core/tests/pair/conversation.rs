//! Any conversation of one connection, held against the [`crate::model`] of its protocol.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gateway_core::{
    backplane::{
        BackplaneError, BusOp, Followed, Inbound, LogOp, Message, Op, Outcome, Payload, PresenceOp,
        Publication, StreamPosition,
    },
    key::ConnectionKey,
    shard::Opening,
    token::Key,
    transport::Transport,
};
use proptest::prelude::*;

use crate::{
    events::{Event, Form, History, history},
    model::{FIRST_SECOND, Model},
    node::{BINARY, CLOSE, COMPRESSED, Frame, Node, TEXT, Waiter, compressed, masked},
    rules::{MESSAGE_BYTES, Rules},
    tokens::{PUBLIC_KEY, SECRET},
    vocabulary::{Answer, Ask, Channel, Command, Sight},
    wire::{line, sights},
};

pub struct Conversation {
    node: Node,
    key: ConnectionKey,
    is_compressed: bool,
    is_slow: bool,
    opened: Duration,
    unix_seconds: u64,
    model: Model,
    commands: u32,
    /// A ping has come that is not answered.
    is_pinged: bool,
    /// What the backplane was asked and has not answered.
    asked: Vec<(Waiter, Op)>,
    /// Subscriptions of the shard and clients present, by channel, as the backplane has them.
    subscribed: BTreeMap<Arc<str>, bool>,
    present: BTreeMap<Arc<str>, i32>,
}

/// Has everything happen that a history tells of; returns how long that takes by its own clock.
pub fn live(history: History) -> Duration {
    let mut conversation = Conversation::begin(history.rules, history.is_compressed, history.is_slow);
    history.events.into_iter().for_each(|event| conversation.apply(event));
    let time = conversation.age();
    conversation.end();
    time
}

/// With `slow` ones tokens are checked elsewhere, and what comes behind them waits.
fn keys(slow: bool) -> Vec<Key> {
    let public = if slow { Key::public(PUBLIC_KEY).expect("a key") } else { vec![] };
    [Key::hmac(SECRET).expect("a secret")].into_iter().chain(public).collect()
}

impl Conversation {
    fn begin(rules: Rules, is_compressed: bool, is_slow: bool) -> Self {
        let mut node = Node::with_keys(rules.config(), 1, keys(is_slow));
        let (opened, unix_seconds) = (node.now.monotonic, node.now.unix_seconds);
        let transport = if is_compressed { Transport::CompressedWebSocket } else { Transport::WebSocket };
        let key = node.open_over(transport, Opening::Centrifuge);
        node.pass(FIRST_SECOND);
        Self {
            node,
            key,
            is_compressed,
            opened,
            unix_seconds,
            is_slow,
            model: Model::new(rules, is_slow),
            commands: 0,
            is_pinged: false,
            asked: vec![],
            subscribed: BTreeMap::new(),
            present: BTreeMap::new(),
        }
    }

    /// Since the connection was opened.
    fn age(&self) -> Duration {
        self.node.now.monotonic - self.opened
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Send(..) | Event::Padded { .. } | Event::Binary | Event::Goodbye(_)
                if self.is_paused() => {}
            Event::Send(commands, form) => self.send(&commands, form),
            Event::Padded { too_large, is_compressed } => self.send_padded(too_large, is_compressed),
            Event::Binary => {
                self.node.receive(self.key, masked(BINARY, b"{}"));
                self.model.send_binary();
            }
            Event::Goodbye(code) => {
                self.node.receive(self.key, masked(CLOSE, &code.to_be_bytes()));
                self.model.say_goodbye(code);
            }
            Event::Answer(index, answer) => {
                if let Some(index) = index.checked_rem(self.asked.len()) {
                    self.answer(index, answer);
                }
            }
            Event::Outage => {
                while !self.asked.is_empty() {
                    self.answer(0, Answer::Failed);
                    self.compare();
                }
                for channel in Channel::ALL {
                    self.discontinue(channel);
                    self.compare();
                }
            }
            Event::Deliver(channel, is_large) => {
                let data = "x".repeat(if is_large { 1_000 } else { 0 });
                let payload = Payload::Json(format!("\"{data}\"").into());
                let publication = Publication { offset: 1, payload, info: None, sender: None };
                self.inbound(channel, Message::Publication(Arc::new(publication)));
                self.model.deliver(channel);
            }
            Event::Discontinue(channel) => self.discontinue(channel),
            Event::Exchange(rules) => {
                self.node.exchange(rules.config(), keys(self.is_slow));
                self.model.exchange(*rules);
            }
            Event::Evict => {
                self.node.evict(1);
                self.model.evict();
            }
            Event::Overflow => {
                self.node.shard.overflow(self.key, self.node.now, &mut self.node.sink);
                self.model.overflow();
            }
            Event::Wait(seconds) => (0..seconds).for_each(|_| self.wait()),
        }
        self.compare();
    }

    fn is_paused(&self) -> bool {
        self.node.sink.paused.contains(&self.key)
    }

    fn inbound(&mut self, channel: Channel, message: Message) {
        self.node.inbound(Inbound::Delivered { channel: channel.name().into(), message });
    }

    fn discontinue(&mut self, channel: Channel) {
        self.inbound(channel, Message::Discontinued);
        self.model.discontinue(channel);
    }

    fn message(&self, text: &str, is_compressed: bool) -> Vec<u8> {
        if is_compressed && self.is_compressed {
            masked(TEXT | COMPRESSED, &compressed(text.as_bytes()))
        } else {
            masked(TEXT, text.as_bytes())
        }
    }

    fn send(&mut self, commands: &[Command], form: Form) {
        let numbered: Vec<(u32, Command)> = (self.commands + 1..).zip(commands.iter().copied()).collect();
        self.commands += commands.len() as u32;
        let now = self.node.now.unix_seconds;
        let mut messages: Vec<String> =
            numbered.iter().map(|(id, command)| line(*id, *command, now)).collect();
        if !form.separate {
            messages = vec![messages.join("\n")];
        }
        let bytes = messages.iter().flat_map(|text| self.message(text, form.is_compressed)).collect();
        self.node.receive(self.key, bytes);
        self.model.send(numbered);
    }

    fn send_padded(&mut self, too_large: bool, is_compressed: bool) {
        self.commands += 1;
        let length = MESSAGE_BYTES as usize + usize::from(too_large);
        let text = format!("{:<length$}", line(self.commands, Command::Ping, 0));
        self.node.receive(self.key, self.message(&text, is_compressed));
        if too_large {
            self.model.send_too_large(is_compressed && self.is_compressed);
        } else {
            self.model.send([(self.commands, Command::Ping)]);
        }
    }

    fn answer(&mut self, index: usize, answer: Answer) {
        let (waiter, op) = self.asked.remove(index);
        // Only history is asked from a place that may be gone.
        let is_history = matches!(op, Op::Log(LogOp::Read { .. }));
        let answer = if answer == Answer::Unrecoverable && !is_history { Answer::Failed } else { answer };
        let position = StreamPosition { epoch: Arc::from("e"), offset: 0 };
        let outcome = match op {
            Op::Log(LogOp::Follow { .. }) => {
                Outcome::Followed(Followed { position, publications: vec![], recovered: false })
            }
            Op::Log(LogOp::Append { .. }) => Outcome::Appended { position },
            Op::Bus(_) => Outcome::Done,
            Op::Log(LogOp::Read { .. }) => Outcome::Read { position, publications: vec![] },
            Op::Presence(PresenceOp::Count { .. }) => Outcome::Counted { clients: 0, users: 0 },
            _ => Outcome::Listed { clients: vec![] },
        };
        let result = match answer {
            Answer::Fine => Ok(outcome),
            Answer::Busy => Err(BackplaneError::Busy),
            Answer::Failed => Err(BackplaneError::Unanswered),
            Answer::TooLarge => Err(BackplaneError::TooLarge),
            Answer::Unrecoverable => Err(BackplaneError::UnrecoverablePosition),
        };
        self.node.complete(waiter, result);
        self.model.answer(index, answer);
    }

    /// A second passes, from one thing that is due to the next.
    fn wait(&mut self) {
        let end = self.node.now.monotonic + Duration::from_secs(1);
        while self.node.now.monotonic < end {
            let now = self.node.now.monotonic;
            let due = self.node.shard.next_timeout().map_or(end, |due| due.clamp(now, end));
            self.node.now.unix_seconds = self.unix_seconds + (due - self.opened - FIRST_SECOND).as_secs();
            self.node.pass(due - now);
            let seen = self.seen();
            // When a heartbeat comes is the server's choice; nothing else happens at the same time.
            seen.iter().filter(|sight| Model::is_end(sight)).for_each(|sight| self.model.end(sight));
            self.model.pass(self.age());
            self.compare_with(seen);
        }
    }

    /// What the client has seen since it was last asked, pings aside.
    fn seen(&mut self) -> Vec<Sight> {
        while self.node.check().is_some() {}
        let mut frames = self.node.frames(self.key);
        self.is_pinged = frames.extract_if(.., |frame| *frame == Frame::Text("{}".to_owned())).count() > 0;
        frames.iter().flat_map(sights).collect()
    }

    fn compare(&mut self) {
        let seen = self.seen();
        self.compare_with(seen);
    }

    /// What the client saw, and what the backplane was asked, is what the model says.
    fn compare_with(&mut self, seen: Vec<Sight>) {
        let age = self.age();
        let asked = self.take_asked();
        assert_eq!((seen, asked), self.model.take(), "after {age:?}");
        if std::mem::take(&mut self.is_pinged) && !self.is_paused() {
            self.node.say(self.key, "{}");
            self.model.send([(0, Command::Pong)]);
        }
        assert!(self.model.is_closed() || self.is_paused() == self.model.is_paused, "after {age:?}");
        for channel in Channel::ALL {
            let present = self.present.get(channel.name()).copied().unwrap_or_default();
            assert_eq!(present, i32::from(self.model.is_present(channel)), "in {channel:?} after {age:?}");
        }
    }

    fn take_asked(&mut self) -> Vec<Ask> {
        let mut asked = vec![];
        for (waiter, op) in std::mem::take(&mut self.node.sink.submitted) {
            asked.extend(match &op {
                Op::Bus(BusOp::Subscribe { channel }) | Op::Log(LogOp::Follow { channel, .. }) => {
                    self.subscribed.insert(channel.clone(), true);
                    Channel::ALL.into_iter().find(|known| known.name() == &**channel).map(Ask::Subscribe)
                }
                Op::Bus(BusOp::Release { channel }) => {
                    self.subscribed.insert(channel.clone(), false);
                    None
                }
                Op::Presence(PresenceOp::Enter { channel, .. }) => {
                    *self.present.entry(channel.clone()).or_default() += 1;
                    None
                }
                Op::Presence(PresenceOp::Leave { channel, .. }) => {
                    *self.present.entry(channel.clone()).or_default() -= 1;
                    None
                }
                Op::Bus(BusOp::Publish(_)) | Op::Log(LogOp::Append { .. }) => Some(Ask::Publish),
                Op::Presence(PresenceOp::List { .. }) => Some(Ask::Presence),
                Op::Presence(PresenceOp::Count { .. }) => Some(Ask::PresenceStats),
                Op::Log(LogOp::Read { .. }) => Some(Ask::History),
            });
            if waiter.is_some() {
                self.asked.push((waiter, op));
            }
        }
        asked
    }

    /// The client goes; nothing is left of it.
    fn end(mut self) {
        self.node.hang_up(self.key);
        self.take_asked();
        while !self.asked.is_empty() {
            let (waiter, _) = self.asked.remove(0);
            self.node.complete(waiter, Err(BackplaneError::Unanswered));
        }
        // A policy that was exchanged is applied to nobody.
        self.node.pass(Duration::from_secs(1));
        assert_eq!((self.node.shard.channels(), self.node.shard.next_timeout()), (0, None));
        assert_eq!(self.node.shard.held(), 0);
        assert!(self.subscribed.values().all(|subscribed| !subscribed), "{:?}", self.subscribed);
        assert!(self.present.values().all(|present| *present == 0), "{:?}", self.present);
        let accepted = self.node.shard.accepted();
        assert_eq!(accepted.new + accepted.resumed, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn whatever_one_connection_says_and_whatever_happens_it_is_answered_as_the_protocol_says(history in history()) {
        live(history);
    }
}
