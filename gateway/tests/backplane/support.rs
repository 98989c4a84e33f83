//! Nodes, and shards that keep what they are sent.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_core::{
    backplane::{
        BackplaneError, ClientInfo, Followed, Inbound, LogOp, Message, Op, Outcome, Payload, PresenceOp,
        Publication, Publish, Retention, StreamPosition,
    },
    control::{BackplaneHealth, BackplaneTrouble},
    key::ConnectionKey,
};
use mooring_gateway::{
    backplane::{
        BackplaneHandle, BackplaneThread, Command, Inbox, InboxSender, Recipient, RedisAccess, RedisConfig,
        inbox, spawn_memory, spawn_redis,
    },
    memory::Memory,
};

use crate::redis_server::RedisServer;

/// What no test waits longer for.
const PATIENCE: Duration = Duration::from_secs(30);
pub const RETENTION: Retention = Retention { size: 100, ttl: Duration::from_secs(60) };
pub const LEASE: Duration = Duration::from_secs(1);

/// One process with two shards.
pub struct Node {
    pub handle: BackplaneHandle,
    thread: BackplaneThread,
    pub shards: Vec<Shard>,
}

pub struct Shard {
    index: u16,
    handle: BackplaneHandle,
    inbox: Inbox,
    taken: Vec<Inbound>,
}

impl Node {
    pub fn memory() -> Self {
        let memory = memory();
        let (senders, inboxes) = inboxes(&memory);
        Self::new(spawn_memory(1024 * 1024, memory, senders).unwrap(), inboxes)
    }

    pub async fn redis(server: &RedisServer, id: u64) -> Self {
        Self::of_cluster(&server.url(), "mooring", id).await
    }

    pub async fn of_cluster(url: &str, prefix: &str, id: u64) -> Self {
        let node = Self::start(url, RedisAccess::default(), prefix, id);
        node.healthy().await;
        node
    }

    /// One that may not get in.
    pub fn start(url: &str, access: RedisAccess, prefix: &str, id: u64) -> Self {
        let memory = memory();
        let (senders, inboxes) = inboxes(&memory);
        let config = RedisConfig::new(url, access, id).unwrap().with_lease(LEASE);
        let config = config.with_prefix(prefix).unwrap();
        Self::new(spawn_redis(config, memory, senders).unwrap(), inboxes)
    }

    fn new((handle, thread): (BackplaneHandle, BackplaneThread), inboxes: Vec<Inbox>) -> Self {
        let shards = (0..)
            .zip(inboxes)
            .map(|(index, inbox)| Shard { index, handle: handle.clone(), inbox, taken: Vec::new() })
            .collect();
        Self { handle, thread, shards }
    }

    pub async fn healthy(&self) {
        until("healthy", async || self.handle.health() == BackplaneHealth::Healthy).await;
    }

    pub async fn unhealthy(&self) {
        until("unhealthy", async || self.handle.health() != BackplaneHealth::Healthy).await;
    }

    /// Waits until this is what is wrong, and returns it in words.
    pub async fn trouble(&self, kind: BackplaneTrouble, words: &str) -> String {
        let mut said = String::new();
        until(words, async || match self.handle.health() {
            BackplaneHealth::Unhealthy { message, trouble, .. } => {
                let is_so = trouble == kind && message.contains(words);
                said = message;
                is_so
            }
            BackplaneHealth::Healthy => false,
        })
        .await;
        said
    }

    pub async fn stop(self) {
        self.thread.stop().await;
    }

    /// Publishes to a channel with a stream.
    pub async fn publish(&self, channel: &str, text: &str) -> Result<StreamPosition, BackplaneError> {
        match self.handle.call(publish(channel, text, Some(RETENTION), None)).await? {
            Outcome::Appended { position } => Ok(position),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// The texts of a channel's whole stream.
    pub async fn history(&self, channel: &str) -> Vec<String> {
        let op = LogOp::Read {
            channel: channel.into(),
            retention: RETENTION,
            since: None,
            limit: 100,
            bytes: u32::MAX,
            reverse: false,
        };
        match self.handle.call(op).await {
            Ok(Outcome::Read { publications, .. }) => {
                publications.iter().map(|publication| text(publication)).collect()
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    pub async fn presence(&self, channel: &str) -> Vec<String> {
        match self.handle.call(presence(channel)).await {
            Ok(Outcome::Listed { clients }) => clients.iter().map(|info| info.client.to_string()).collect(),
            outcome => panic!("{outcome:?}"),
        }
    }
}

fn memory() -> Arc<Memory> {
    Memory::new(None, 2)
}

fn inboxes(memory: &Memory) -> (Vec<InboxSender>, Vec<Inbox>) {
    (0..2).map(|shard| inbox(64, memory.inbound(shard))).unzip()
}

impl Shard {
    pub fn submit(&self, op: impl Into<Op>) {
        let waiter = Some((ConnectionKey { slot: 1, generation: 1 }, 1));
        let recipient = Recipient::Shard { shard: self.index, waiter };
        self.handle.try_submit(Command { op: op.into(), recipient }).unwrap();
    }

    /// Submits what nobody waits for, once there is room.
    pub async fn tell(&self, op: impl Into<Op>) {
        let mut command =
            Command { op: op.into(), recipient: Recipient::Shard { shard: self.index, waiter: None } };
        while let Err(refused) = self.handle.try_submit(command) {
            command = refused.command;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Submits what nobody waits for, if there is room.
    pub fn try_tell(&self, op: Op) -> Result<(), BackplaneError> {
        let command = Command { op, recipient: Recipient::Shard { shard: self.index, waiter: None } };
        self.handle.try_submit(command).map_err(|refused| refused.error)
    }

    pub async fn next(&mut self) -> Inbound {
        within(self.inbox.recv_many(&mut self.taken, 1), "the next item").await;
        self.taken.pop().expect("the backplane runs")
    }

    /// Submits, and returns the completion; nothing else may come before it.
    pub async fn call(&mut self, op: impl Into<Op>) -> Result<Outcome, BackplaneError> {
        self.submit(op);
        match self.next().await {
            Inbound::Completed { result, .. } => result,
            item => panic!("{item:?}"),
        }
    }

    /// Subscribes to a channel with a stream: position, recovered texts, recovered.
    pub async fn subscribe(
        &mut self,
        channel: &str,
        since: Option<StreamPosition>,
    ) -> (StreamPosition, Vec<String>, bool) {
        let op = LogOp::Follow { channel: channel.into(), since, limit: 50 };
        match self.call(op).await {
            Ok(Outcome::Followed(Followed { position, publications, recovered })) => {
                (position, publications.iter().map(|publication| text(publication)).collect(), recovered)
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    pub async fn message(&mut self) -> Message {
        match self.next().await {
            Inbound::Delivered { message, .. } => message,
            item => panic!("{item:?}"),
        }
    }

    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            match self.message().await {
                Message::Publication(publication) => texts.push(text(&publication)),
                message => panic!("{message:?} after {texts:?}"),
            }
        }
        texts
    }
}

pub fn publish(channel: &str, text: &str, retention: Option<Retention>, key: Option<&str>) -> Op {
    let publish = Publish {
        channel: channel.into(),
        payload: Payload::Text(Bytes::copy_from_slice(text.as_bytes())),
        info: None,
        sender: None,
        idempotency_key: key.map(Arc::from),
    };
    Op::publish(publish, retention)
}

pub fn text(publication: &Publication) -> String {
    match &publication.payload {
        Payload::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        payload => panic!("{payload:?}"),
    }
}

pub fn numbers(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

pub fn client(client: &str) -> ClientInfo {
    ClientInfo {
        client: client.into(),
        user: "user".into(),
        conn_info: Some(Bytes::from_static(b"{}")),
        chan_info: None,
    }
}

pub fn enter(channel: &str, name: &str) -> PresenceOp {
    PresenceOp::Enter { channel: channel.into(), info: client(name), announce: true }
}

pub fn leave(channel: &str, name: &str, grace: Duration) -> PresenceOp {
    PresenceOp::Leave { channel: channel.into(), info: client(name), announce: true, grace }
}

pub fn presence(channel: &str) -> PresenceOp {
    PresenceOp::List { channel: channel.into(), limit: 1024 * 1024 }
}

pub fn is_present(outcome: &Outcome, name: &str) -> bool {
    matches!(outcome, Outcome::Listed { clients } if clients.iter().any(|info| *info.client == *name))
}

pub async fn within<T>(future: impl Future<Output = T>, what: &str) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Asks again until it is so.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(asking, what).await;
}
