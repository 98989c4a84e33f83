//! Any conversation of one connection, held against the [`crate::model`] of its protocol.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gateway_core::{
    backplane::{BackplaneError, Inbound, Message, Op, Outcome, Payload, Publication, StreamPosition},
    config::{Auth, GatewayConfig},
    key::ConnectionKey,
    shard::Opening,
    token::Key,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    model::{LIMIT, Model},
    node::{Frame, Node, TEXT, Waiter, masked},
    tokens::{PUBLIC_KEY, SECRET, sign},
    vocabulary::{Answer, Ask, Channel, Command, Sight, Token},
};

const CHANNELS: [Channel; 8] = [
    Channel::Plain,
    Channel::Other,
    Channel::Live,
    Channel::Private,
    Channel::Unknown,
    Channel::Unnamed,
    Channel::Server,
    Channel::Second,
];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// The client sends commands, in one message or in one each.
    Send(Vec<Command>, bool),
    /// The backplane answers one of what it was asked.
    Answer(usize, Answer),
    Deliver(Channel),
    Discontinue(Channel),
    Evict,
    Overflow,
    /// So many seconds pass; the client answers pings.
    Wait(u64),
}

fn channel() -> impl Strategy<Value = Channel> {
    prop_oneof![4 => Just(Channel::Plain), 1 => prop::sample::select(&CHANNELS[..])]
}

fn subscription_token() -> impl Strategy<Value = Token> {
    prop::sample::select(
        &[Token::Absent, Token::Absent, Token::Good, Token::Expired, Token::Forged, Token::Foreign][..],
    )
}

fn connection_token() -> impl Strategy<Value = Token> {
    prop_oneof![
        4 => Just(Token::Absent),
        4 => Just(Token::Good),
        4 => Just(Token::Subscribing),
        1 => prop::sample::select(&[Token::SubscribingToUnknown, Token::Expired, Token::Forged, Token::Foreign][..]),
    ]
}

/// The more often a command ends the connection, the rarer it is.
fn command() -> impl Strategy<Value = Command> {
    let subscribe = (channel(), subscription_token(), any::<bool>());
    let subscribe =
        subscribe.prop_map(|(channel, token, recover)| Command::Subscribe { channel, token, recover });
    let sub_refresh = (channel(), subscription_token());
    prop_oneof![
        40 => subscribe,
        10 => channel().prop_map(Command::Unsubscribe),
        30 => channel().prop_map(Command::Publish),
        10 => channel().prop_map(Command::Presence),
        5 => channel().prop_map(Command::PresenceStats),
        20 => channel().prop_map(Command::History),
        5 => prop::sample::select(&[Command::Ping, Command::Rpc, Command::Send, Command::Pong, Command::Unheard][..]),
        3 => sub_refresh.prop_map(|(channel, token)| Command::SubRefresh { channel, token }),
        1 => connection_token().prop_map(Command::Refresh),
        1 => connection_token().prop_map(Command::Connect),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![
        8 => Just(Answer::Fine),
        1 => prop::sample::select(&[Answer::Busy, Answer::Failed, Answer::Unrecoverable][..]),
    ];
    let commands = prop::collection::vec(prop_oneof![200 => command(), 1 => Just(Command::Malformed)], 1..12);
    prop_oneof![
        20 => (commands, any::<bool>()).prop_map(|(commands, separate)| Event::Send(commands, separate)),
        40 => (0..64_usize, answer).prop_map(|(index, answer)| Event::Answer(index, answer)),
        8 => channel().prop_map(Event::Deliver),
        2 => channel().prop_map(Event::Discontinue),
        1 => Just(Event::Evict),
        2 => (1..15_u64).prop_map(Event::Wait),
        1 => prop::bool::weighted(0.2).prop_map(|slow| if slow { Event::Overflow } else { Event::Evict }),
    ]
}

/// A connection begins with a connect command, as a rule with others in the same message.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let begin = (connection_token(), prop::collection::vec(command(), 0..6), any::<bool>());
    let begin = begin.prop_map(|(token, mut commands, separate)| {
        commands.insert(0, Command::Connect(token));
        Event::Send(commands, separate)
    });
    (prop_oneof![9 => begin, 1 => event()], prop::collection::vec(event(), 0..60)).prop_map(
        |(first, mut rest)| {
            rest.insert(0, first);
            rest
        },
    )
}

struct Conversation {
    node: Node,
    key: ConnectionKey,
    model: Model,
    commands: u32,
    /// What the backplane was asked and has not answered.
    asked: Vec<(Waiter, Op)>,
    /// Subscriptions of the shard and clients present, by channel, as the backplane has them.
    subscribed: BTreeMap<Arc<str>, bool>,
    present: BTreeMap<Arc<str>, i32>,
}

impl Conversation {
    /// With `slow` keys tokens are checked elsewhere, which nobody sees.
    fn new(anonymous: bool, slow: bool) -> Self {
        let auth = Auth { anonymous, ..Auth::default() };
        let mut config = GatewayConfig { auth, ..GatewayConfig::default() };
        config.limits.subscriptions = LIMIT as u32;
        let mut keys = vec![Key::hmac(SECRET).expect("a secret")];
        if slow {
            keys.extend(Key::public(PUBLIC_KEY).expect("a key"));
        }
        let mut node = Node::with_keys(config, 1, keys);
        let key = node.open(Opening::Centrifuge);
        // So that nothing is due at a whole second.
        node.pass(Duration::from_millis(500));
        Self {
            node,
            key,
            model: Model::new(anonymous),
            commands: 0,
            asked: vec![],
            subscribed: BTreeMap::new(),
            present: BTreeMap::new(),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Send(commands, separate) => self.send(&commands, separate),
            Event::Answer(index, answer) => {
                if let Some(index) = index.checked_rem(self.asked.len()) {
                    self.answer(index, answer);
                }
            }
            Event::Deliver(channel) => {
                let payload = Payload::Json("0".into());
                let publication = Publication { offset: 1, payload, info: None, origin: None };
                self.inbound(channel, Message::Publication(Arc::new(publication)));
                self.model.deliver(channel);
            }
            Event::Discontinue(channel) => {
                self.inbound(channel, Message::Discontinued);
                self.model.discontinue(channel);
            }
            Event::Evict => {
                self.node.evict(1);
                self.model.evict();
            }
            Event::Overflow => {
                self.node.shard.overflow(self.key, self.node.now, &mut self.node.sink);
                self.model.overflow();
            }
            Event::Wait(seconds) => {
                for _ in 0..seconds {
                    self.node.pass(Duration::from_secs(1));
                    self.model.wait();
                    self.compare();
                }
            }
        }
        self.compare();
    }

    fn inbound(&mut self, channel: Channel, message: Message) {
        self.node.inbound(Inbound::Delivered { channel: channel.name().into(), message });
    }

    fn send(&mut self, commands: &[Command], separate: bool) {
        if self.node.sink.paused.contains(&self.key) {
            return;
        }
        let numbered: Vec<(u32, Command)> = (self.commands + 1..).zip(commands.iter().copied()).collect();
        self.commands += commands.len() as u32;
        let lines: Vec<String> = numbered.iter().map(|(id, command)| self.line(*id, *command)).collect();
        let bytes = if separate {
            lines.iter().flat_map(|line| masked(TEXT, line.as_bytes())).collect()
        } else {
            masked(TEXT, lines.join("\n").as_bytes())
        };
        self.node.receive(self.key, bytes);
        self.model.send(numbered);
    }

    fn answer(&mut self, index: usize, answer: Answer) {
        let (waiter, op) = self.asked.remove(index);
        // Only history is asked from a place that may be gone.
        let is_history = matches!(op, Op::History { .. });
        let answer = if answer == Answer::Unrecoverable && !is_history { Answer::Failed } else { answer };
        let position = StreamPosition { epoch: Arc::from("e"), offset: 0 };
        let outcome = match op {
            Op::Subscribe { retention, .. } => {
                let position = retention.map(|_| position);
                Outcome::Subscribed { position, publications: vec![], recovered: false }
            }
            Op::Publish { .. } => Outcome::Published { position: None },
            Op::History { .. } => Outcome::History { position, publications: vec![] },
            Op::PresenceStats { .. } => Outcome::PresenceStats { clients: 0, users: 0 },
            _ => Outcome::Presence { clients: vec![] },
        };
        let result = match answer {
            Answer::Fine => Ok(outcome),
            Answer::Busy => Err(BackplaneError::Busy),
            Answer::Failed => Err(BackplaneError::Unanswered),
            Answer::Unrecoverable => Err(BackplaneError::UnrecoverablePosition),
        };
        self.node.complete(waiter, result);
        self.model.answer(index, answer);
    }

    /// What the client saw, and what the backplane was asked, is what the model says.
    fn compare(&mut self) {
        while self.node.check().is_some() {}
        let mut frames = self.node.frames(self.key);
        let pings = frames.extract_if(.., |frame| *frame == Frame::Text("{}".to_owned())).count();
        if pings > 0 && !self.node.sink.paused.contains(&self.key) {
            self.node.say(self.key, "{}");
        }
        let seen: Vec<Sight> = frames.iter().flat_map(sights).collect();
        let asked = self.take_asked();
        let expected = self.model.take();
        assert_eq!((seen, asked), expected);
        let is_paused = self.node.sink.paused.contains(&self.key);
        assert!(self.model.is_closed() || is_paused == self.model.paused, "paused: {is_paused}");
    }

    fn take_asked(&mut self) -> Vec<Ask> {
        let mut asked = vec![];
        for (waiter, op) in std::mem::take(&mut self.node.sink.submitted) {
            asked.extend(match &op {
                Op::Subscribe { channel, .. } => {
                    self.subscribed.insert(channel.clone(), true);
                    CHANNELS.into_iter().find(|known| known.name() == &**channel).map(Ask::Subscribe)
                }
                Op::Release { channel } => {
                    self.subscribed.insert(channel.clone(), false);
                    None
                }
                Op::Enter { channel, .. } => {
                    *self.present.entry(channel.clone()).or_default() += 1;
                    None
                }
                Op::Leave { channel, .. } => {
                    *self.present.entry(channel.clone()).or_default() -= 1;
                    None
                }
                Op::Publish { .. } => Some(Ask::Publish),
                Op::Presence { .. } => Some(Ask::Presence),
                Op::PresenceStats { .. } => Some(Ask::PresenceStats),
                Op::History { .. } => Some(Ask::History),
            });
            assert!(self.present.values().all(|count| [0, 1].contains(count)), "{:?}", self.present);
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
        assert_eq!((self.node.shard.channels(), self.node.shard.next_timeout()), (0, None));
        assert!(self.subscribed.values().all(|subscribed| !subscribed), "{:?}", self.subscribed);
        assert!(self.present.values().all(|present| *present == 0), "{:?}", self.present);
        let accepted = self.node.shard.accepted();
        assert_eq!(accepted.new + accepted.resumed, 1);
    }

    fn line(&self, id: u32, command: Command) -> String {
        let of = |method: &str, channel: Channel| json!({"id": id, method: {"channel": channel.name()}});
        let line = match command {
            Command::Connect(token) => json!({"id": id, "connect": {"token": self.token(token, None)}}),
            Command::Subscribe { channel, token, recover } => {
                let mut line = of("subscribe", channel);
                line["subscribe"]["token"] = self.token(token, Some(channel)).into();
                if recover {
                    line["subscribe"]["recover"] = true.into();
                    line["subscribe"]["epoch"] = "e".into();
                }
                line
            }
            Command::Unsubscribe(channel) => of("unsubscribe", channel),
            Command::Publish(channel) => {
                let mut line = of("publish", channel);
                line["publish"]["data"] = 0.into();
                line
            }
            Command::Presence(channel) => of("presence", channel),
            Command::PresenceStats(channel) => of("presence_stats", channel),
            Command::History(channel) => of("history", channel),
            Command::Ping => json!({"id": id, "ping": {}}),
            Command::Rpc => json!({"id": id, "rpc": {"method": "m"}}),
            Command::Send => json!({"send": {"data": 0}}),
            Command::Refresh(token) => json!({"id": id, "refresh": {"token": self.token(token, None)}}),
            Command::SubRefresh { channel, token } => {
                let mut line = of("sub_refresh", channel);
                line["sub_refresh"]["token"] = self.token(token, Some(channel)).into();
                line
            }
            Command::Pong => json!({}),
            Command::Unheard => json!({"id": id, "unheard": {}}),
            Command::Malformed => return "{".to_owned(),
        };
        line.to_string()
    }

    fn token(&self, token: Token, channel: Option<Channel>) -> String {
        let mut claims = json!({"sub": "ada"});
        match token {
            Token::Absent => return String::new(),
            Token::Good => {}
            Token::Subscribing => claims["channels"] = json!(["server", "server2"]),
            Token::SubscribingToUnknown => claims["channels"] = json!(["unheard:of"]),
            Token::Expired => claims["exp"] = json!(1_000),
            Token::Forged => return format!("{}x", sign(&claims)),
            Token::Foreign if channel.is_some() => claims["sub"] = json!("eve"),
            Token::Foreign => claims["nbf"] = json!(9_000_000_000_u64),
        }
        if let Some(channel) = channel {
            claims["channel"] = json!(channel.name());
        }
        sign(&claims)
    }
}

fn sights(frame: &Frame) -> Vec<Sight> {
    match frame {
        Frame::Close(code, _) => vec![Sight::Close(*code)],
        frame => frame.lines().iter().map(sight).collect(),
    }
}

fn sight(line: &Value) -> Sight {
    const METHODS: [&str; 10] = [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "presence_stats",
        "history",
        "ping",
        "refresh",
        "sub_refresh",
    ];
    let push = &line["push"];
    let channel = || push["channel"].as_str().expect("a channel").to_owned();
    if push["pub"].is_object() {
        return Sight::Publication(channel());
    }
    if push["unsubscribe"].is_object() {
        return Sight::Unsubscribed(channel(), push["unsubscribe"]["code"].as_u64().expect("a code"));
    }
    let id = u32::try_from(line["id"].as_u64().expect("an id")).expect("one of ours");
    if line["error"].is_object() {
        return Sight::Error(id, line["error"]["code"].as_u64().expect("a code"));
    }
    let method = METHODS.into_iter().find(|method| line[method].is_object());
    Sight::Reply(id, method.unwrap_or_else(|| panic!("no answer: {line}")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn whatever_one_connection_says_and_whatever_happens_it_is_answered_as_the_protocol_says(
        anonymous in any::<bool>(),
        slow in any::<bool>(),
        events in events(),
    ) {
        let mut conversation = Conversation::new(anonymous, slow);
        events.into_iter().for_each(|event| conversation.apply(event));
        conversation.end();
    }
}
