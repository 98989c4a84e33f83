//! A client that behaves as SDKs do: it recovers when it is told to, and sends again what failed for now.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::gateway::within;

const CHANNEL: &str = "neighbours:all";
/// Between its messages.
const EVERY: Duration = Duration::from_millis(100);
/// How long what it sent may wait to be acknowledged, and what was acknowledged to come, when the attack is over.
const REST: Duration = Duration::from_secs(24);

/// A message of the neighbours': whose, and which.
pub type Name = (usize, u64);

pub struct Neighbour {
    number: usize,
    socket: WebSocketStream<TcpStream>,
    /// Where it is in the stream.
    position: Value,
    /// Until when a failed subscribe waits.
    subscribe_at: Option<Instant>,
    /// Of its messages that are not acknowledged, by command.
    pending: BTreeMap<u64, Name>,
    /// Those that failed for now.
    again: Vec<(u64, Name)>,
    pub log: Log,
}

/// What happened to it.
#[derive(Default)]
pub struct Log {
    pub acknowledged: Vec<Name>,
    received: BTreeSet<Name>,
    /// From the time that it sent one of its own to the time that it got it back.
    pub latencies: Vec<Duration>,
    sent: BTreeMap<u64, Instant>,
}

impl Neighbour {
    pub async fn connect(to: SocketAddr, number: usize) -> Self {
        let request = format!("ws://{to}/connection/websocket").into_client_request().unwrap();
        let stream = TcpStream::connect(to).await.unwrap();
        let (socket, _) = within("a handshake", client_async(request, stream)).await.unwrap();
        let (position, subscribe_at) = (Value::Null, None);
        let (pending, again) = (BTreeMap::new(), Vec::new());
        let mut neighbour =
            Self { number, socket, position, subscribe_at, pending, again, log: Log::default() };
        neighbour.send(&json!({"id": 1, "connect": {}})).await;
        neighbour.subscribe().await;
        within("the subscription", async {
            while neighbour.position.is_null() {
                neighbour.turn(Duration::from_millis(50)).await;
            }
        })
        .await;
        neighbour
    }

    /// Publishes and listens until it is over and everything is acknowledged.
    pub async fn live(mut self, over: Arc<AtomicBool>) -> Self {
        let mut ended = None;
        for id in 10.. {
            if over.load(Relaxed) {
                if self.pending.is_empty() && self.again.is_empty() {
                    break;
                }
                let since = *ended.get_or_insert_with(Instant::now);
                assert!(since.elapsed() < REST, "{:?} are not acknowledged", self.pending);
            } else {
                self.log.sent.insert(id, Instant::now());
                self.publish(id, (self.number, id)).await;
            }
            self.turn(EVERY).await;
            for (id, name) in std::mem::take(&mut self.again) {
                self.publish(id, name).await;
            }
        }
        self
    }

    /// Listens until it got all of these.
    pub async fn hear(&mut self, messages: &[Name]) {
        let started = Instant::now();
        loop {
            let missing = messages.iter().filter(|message| !self.log.received.contains(message)).count();
            if missing == 0 {
                break;
            }
            let Self { number, position, .. } = self;
            assert!(
                started.elapsed() < REST,
                "neighbour {number}, at {position}, misses {missing} of {} acknowledged messages",
                messages.len()
            );
            self.turn(EVERY).await;
        }
    }

    async fn publish(&mut self, id: u64, name: Name) {
        self.pending.insert(id, name);
        self.send(&json!({"id": id, "publish": {"channel": CHANNEL, "data": name}})).await;
    }

    async fn subscribe(&mut self) {
        let mut subscribe = json!({"channel": CHANNEL, "recover": true});
        if !self.position.is_null() {
            subscribe["offset"] = self.position["offset"].clone();
            subscribe["epoch"] = self.position["epoch"].clone();
        }
        self.send(&json!({"id": 2, "subscribe": subscribe})).await;
    }

    /// Listens for a while.
    async fn turn(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(message) = tokio::time::timeout_at(end.into(), self.socket.next()).await {
            match message.expect("it stays connected").expect("it stays connected") {
                Message::Text(lines) => {
                    for line in lines.lines() {
                        self.handle(&serde_json::from_str(line).unwrap()).await;
                    }
                }
                message => panic!("neighbour {} gets {message:?}", self.number),
            }
        }
        if self.subscribe_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.subscribe().await;
        }
    }

    async fn handle(&mut self, line: &Value) {
        if *line == json!({}) {
            return self.send(line).await;
        }
        let push = &line["push"];
        if push["unsubscribe"].is_object() {
            return self.subscribe().await;
        }
        if push["pub"].is_object() {
            return self.receive(&push["pub"]);
        }
        let subscribed = &line["subscribe"];
        if subscribed.is_object() {
            assert!(self.position.is_null() || subscribed["recovered"] == true, "it lost something: {line}");
            for publication in subscribed["publications"].as_array().into_iter().flatten() {
                self.receive(publication);
            }
            self.position = json!({"offset": subscribed["offset"], "epoch": subscribed["epoch"]});
            return;
        }
        let id = line["id"].as_u64().unwrap_or_default();
        let is_temporary = line["error"]["temporary"] == true;
        match id {
            2 if is_temporary => self.subscribe_at = Some(Instant::now() + Duration::from_millis(200)),
            _ if line["error"].is_object() && !is_temporary => panic!("{line}"),
            _ => match self.pending.remove(&id) {
                Some(name) if is_temporary => self.again.push((id, name)),
                Some(name) => self.log.acknowledged.push(name),
                None => {}
            },
        }
    }

    fn receive(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().unwrap();
        let last = self.position["offset"].as_u64().unwrap_or(0);
        assert!(offset == last + 1 || self.position.is_null(), "{offset} after {last}");
        self.position["offset"] = offset.into();
        let name: Name = serde_json::from_value(publication["data"].clone()).unwrap();
        if self.log.received.insert(name) && name.0 == self.number {
            self.log.latencies.push(self.log.sent[&name.1].elapsed());
        }
    }

    async fn send(&mut self, command: &Value) {
        within("room to send", self.socket.send(Message::text(command.to_string()))).await.unwrap();
    }
}
