//! One shard with everything it puts out on record, and clients' bytes to feed it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gateway_core::{
    backplane::{BackplaneError, BusOp, Followed, Inbound, LogOp, Op, Outcome, StreamPosition},
    config::GatewayConfig,
    key::{ConnectionKey, RequestId},
    outbox::Outbox,
    policy::Policy,
    shard::{Opening, Shard, ShardSettings},
    time::Now,
    token::{Key, Verifier},
    transport::Transport,
};
use serde_json::Value;

/// Who waits for an operation.
pub type Waiter = Option<(ConnectionKey, RequestId)>;

/// What a shard has put out.
#[derive(Default)]
pub struct Sink {
    pub sent: VecDeque<(ConnectionKey, Frame)>,
    pub closed: Vec<ConnectionKey>,
    pub paused: Vec<ConnectionKey>,
    pub wrong_tokens: RefCell<Vec<ConnectionKey>>,
    /// Tokens that are being checked, and with what.
    pub checks: VecDeque<(ConnectionKey, Arc<Verifier>, String)>,
    /// So many tokens are being checked that no more are taken.
    pub is_full_of_checks: bool,
    /// How often a token's key was not known.
    pub unknown_keys: Cell<u32>,
    /// Bytes that the sockets are said not to have taken.
    pub waiting: usize,
    pub submitted: VecDeque<(Waiter, Op)>,
}

impl Outbox for Sink {
    fn send(&mut self, connection: ConnectionKey, frame: &Bytes) {
        assert!(!self.closed.contains(&connection), "a frame for a connection that is closed");
        self.sent.push_back((connection, Frame::decode(frame)));
    }

    fn waiting(&self, _: ConnectionKey) -> usize {
        self.waiting
    }

    fn check(&mut self, connection: ConnectionKey, verifier: &Arc<Verifier>, token: &str) -> bool {
        let is_checked = self.checks.iter().any(|(other, ..)| *other == connection);
        assert!(!is_checked, "two tokens of one connection at a time");
        if !self.is_full_of_checks {
            self.checks.push_back((connection, verifier.clone(), token.to_owned()));
        }
        !self.is_full_of_checks
    }

    fn unknown_key(&self) {
        self.unknown_keys.set(self.unknown_keys.get() + 1);
    }

    fn wrong_token(&self, connection: ConnectionKey) {
        self.wrong_tokens.borrow_mut().push(connection);
    }

    fn close(&mut self, connection: ConnectionKey) {
        assert!(!self.closed.contains(&connection), "closed twice");
        self.paused.retain(|paused| *paused != connection);
        self.closed.push(connection);
    }

    fn pause(&mut self, connection: ConnectionKey) {
        assert!(!self.paused.contains(&connection), "paused twice");
        self.paused.push(connection);
    }

    fn resume(&mut self, connection: ConnectionKey) {
        assert!(!self.closed.contains(&connection), "resumed after its close");
        assert!(self.paused.contains(&connection), "resumed without a pause");
        self.paused.retain(|paused| *paused != connection);
    }

    fn submit(&mut self, waiter: Waiter, op: Op) {
        self.submitted.push_back((waiter, op));
    }
}

/// A server's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// A message that came compressed.
    Compressed(Box<Frame>),
    Close(u16, String),
    Ping,
    Pong(Vec<u8>),
}

impl Frame {
    /// Reads a whole unmasked frame.
    fn decode(frame: &[u8]) -> Self {
        let start = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let payload = frame[start..].to_vec();
        match frame[0] {
            0x81 => Self::Text(String::from_utf8(payload).expect("text is UTF-8")),
            0x82 => Self::Binary(payload),
            compressed @ (0xC1 | 0xC2) => {
                let message = [&[compressed ^ 0x40, 0][..], &inflated(&payload)].concat();
                Self::Compressed(Box::new(Self::decode(&message)))
            }
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Self::Close(code, String::from_utf8(payload[2..].to_vec()).expect("a reason is UTF-8"))
            }
            0x89 => Self::Ping,
            0x8A => Self::Pong(payload),
            other => panic!("no server's frame begins with {other:#x}"),
        }
    }

    /// A text message.
    pub fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("not text: {self:?}") };
        text
    }

    /// The lines of a text message.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

/// A message as it was before it was compressed by itself (RFC 7692, section 7.2.2).
fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 << 20);
    let stream = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut decompress = flate2::Decompress::new(false);
    decompress.decompress_vec(&stream, &mut message, flate2::FlushDecompress::Sync).expect("DEFLATE");
    assert_eq!(decompress.total_in(), stream.len() as u64);
    message
}

/// The same, the other way round.
pub fn compressed(message: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(2 * message.len() + 1000);
    let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
    compress.compress_vec(message, &mut payload, flate2::FlushCompress::Sync).expect("room");
    payload.truncate(payload.len() - 4);
    payload
}

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const COMPRESSED: u8 = 0x40;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;

/// A client's frame, masked.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            let length = u16::try_from(payload.len()).expect("tests send little");
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A shard, its outbox and its clock.
pub struct Node {
    pub shard: Shard,
    pub sink: Sink,
    pub now: Now,
}

impl Node {
    pub fn new(config: GatewayConfig, node_id: u64) -> Self {
        Self::with_keys(config, node_id, vec![])
    }

    pub fn with_keys(config: GatewayConfig, node_id: u64, keys: Vec<Key>) -> Self {
        let settings = ShardSettings {
            node_name: format!("gateway-{node_id}"),
            node_id,
            shard: 0,
            shards: 1,
            version: "1".to_owned(),
        };
        let policy = Policy::compile(config, keys).expect("it makes sense");
        let now = Now { monotonic: Duration::from_secs(5), unix_seconds: 1_800_000_000 };
        Self { shard: Shard::new(settings, Arc::new(policy)), sink: Sink::default(), now }
    }

    pub fn open(&mut self, opening: Opening) -> ConnectionKey {
        self.open_over(Transport::WebSocket, opening)
    }

    pub fn open_over(&mut self, transport: Transport, opening: Opening) -> ConnectionKey {
        self.shard.open(opening, transport, self.now, &mut self.sink)
    }

    /// A connection of the centrifuge protocol that has connected anonymously.
    pub fn connect(&mut self) -> ConnectionKey {
        let key = self.open(Opening::Centrifuge);
        self.say(key, r#"{"id":1,"connect":{}}"#);
        let reply = self.lines(key);
        assert!(reply[0]["connect"]["client"].is_string(), "{reply:?}");
        key
    }

    /// A connection that is subscribed to `channel` besides.
    pub fn subscribe(&mut self, channel: &str) -> ConnectionKey {
        let key = self.connect();
        self.say(key, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
        self.confirm_subscriptions();
        let reply = self.lines(key);
        assert!(reply[0]["subscribe"].is_object(), "{reply:?}");
        key
    }

    pub fn receive(&mut self, key: ConnectionKey, mut bytes: Vec<u8>) {
        assert!(!self.sink.paused.contains(&key), "bytes of a connection that is not to be read");
        self.shard.receive(key, &mut bytes, self.now, &mut self.sink);
    }

    pub fn say(&mut self, key: ConnectionKey, message: &str) {
        self.receive(key, masked(TEXT, message.as_bytes()));
    }

    pub fn hang_up(&mut self, key: ConnectionKey) {
        self.shard.hang_up(key, self.now, &mut self.sink);
        self.sink.closed.retain(|closed| *closed != key);
        self.sink.paused.retain(|paused| *paused != key);
    }

    /// Checks the token that has waited longest. Whether its client is still there; nothing without one.
    pub fn check(&mut self) -> Option<bool> {
        let (key, verifier, token) = self.sink.checks.pop_front()?;
        Some(self.shard.checked(key, verifier.check(&token), self.now, &mut self.sink))
    }

    pub fn inbound(&mut self, item: Inbound) {
        self.shard.inbound(item, self.now, &mut self.sink);
    }

    pub fn complete(&mut self, waiter: Waiter, result: Result<Outcome, BackplaneError>) {
        let (connection, request) = waiter.expect("somebody waits");
        self.inbound(Inbound::Completed { connection, request, result });
    }

    /// Answers every subscribe operation as a backplane with empty streams does; the other operations remain.
    pub fn confirm_subscriptions(&mut self) {
        for (waiter, op) in std::mem::take(&mut self.sink.submitted) {
            match op {
                Op::Bus(BusOp::Subscribe { .. }) => self.complete(waiter, Ok(Outcome::Done)),
                Op::Log(LogOp::Follow { .. }) => {
                    let position = StreamPosition { epoch: Arc::from("e"), offset: 0 };
                    let followed = Followed { position, publications: vec![], recovered: false };
                    self.complete(waiter, Ok(Outcome::Followed(followed)));
                }
                op => self.sink.submitted.push_back((waiter, op)),
            }
        }
    }

    pub fn evict(&mut self, count: u32) -> u32 {
        self.shard.evict(count, self.now, &mut self.sink)
    }

    /// Lets time pass, handling each timeout when it is due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(due) = self.shard.next_timeout().filter(|due| *due <= end) {
            self.now.monotonic = self.now.monotonic.max(due);
            self.shard.handle_timeout(self.now, &mut self.sink);
        }
        self.now.monotonic = end;
    }

    /// Has the shard go by another configuration, with the same kind of keys as at first.
    pub fn exchange(&mut self, config: GatewayConfig, keys: Vec<Key>) {
        let policy = Policy::compile(config, keys).expect("it makes sense");
        self.shard.exchange(Arc::new(policy), self.now);
    }

    /// Takes the frames sent to a connection so far.
    pub fn frames(&mut self, key: ConnectionKey) -> Vec<Frame> {
        let (taken, left) = std::mem::take(&mut self.sink.sent).into_iter().partition(|(to, _)| *to == key);
        self.sink.sent = left;
        let taken: VecDeque<(ConnectionKey, Frame)> = taken;
        taken.into_iter().map(|(_, frame)| frame).collect()
    }

    /// Takes the text messages sent to a connection so far, line by line; other frames must not be among them.
    pub fn lines(&mut self, key: ConnectionKey) -> Vec<Value> {
        self.frames(key).iter().flat_map(Frame::lines).collect()
    }

    /// Takes the operations submitted so far.
    pub fn ops(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.sink.submitted).into_iter().map(|(_, op)| op).collect()
    }
}
