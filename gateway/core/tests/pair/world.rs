//! Two gateways, their backplane, and clients that recover, driven step by step.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use gateway_core::{backplane::BackplaneError, config::GatewayConfig, key::ConnectionKey, shard::Opening};
use serde_json::Value;

use crate::{
    backplane::Backplane,
    node::{CLOSE, Frame, Node, TEXT, masked},
};

/// Every client subscribes to these.
pub const CHANNELS: [&str; 2] = ["left", "right"];

/// One thing that happens. Indexes are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The backplane carries out a node's next operation.
    Execute(usize),
    /// The backplane answers a node's next operation with an error; an unanswered one is carried out all the same.
    Fail(usize, BackplaneError),
    /// A node takes the next item of one of its channels.
    Take(usize, usize),
    /// A client reads the next frame.
    Read(usize),
    /// A client publishes to one of its channels.
    Publish(usize, usize),
    /// A node evicts a client.
    Evict(usize),
    /// A client's network goes away with everything on its way to it.
    Cut(usize),
    /// The backplane loses track of a channel for a node.
    Discontinue(usize, usize),
    /// The backplane trims a channel.
    Trim(usize),
    /// Time passes, in seconds.
    Wait(u8),
}

/// The whole system.
pub struct World {
    pub nodes: [Node; 2],
    pub backplane: Backplane,
    pub clients: Vec<Client>,
    published: u64,
}

/// A client like an SDK's: it reconnects, subscribes again from where it is, and believes what it is told.
#[derive(Debug, Default)]
pub struct Client {
    /// Its node and connection.
    home: Option<(usize, ConnectionKey)>,
    /// Frames on their way to it.
    inbox: VecDeque<Frame>,
    /// The server closes once the inbox is read.
    ending: bool,
    commands: u64,
    /// Subscribe commands that wait for their reply.
    asked: BTreeMap<u64, &'static str>,
    pub channels: BTreeMap<&'static str, Log>,
    /// Connections closed by the server.
    pub moved: u32,
}

/// What a client has seen of a channel.
#[derive(Debug, Default)]
pub struct Log {
    position: Option<(String, u64)>,
    pub subscribed: bool,
    /// Runs of publications without a gap: the offset before the first, and the bodies.
    pub runs: Vec<(u64, Vec<Value>)>,
}

impl World {
    pub fn new(clients: usize) -> Self {
        let nodes = [1, 2].map(|id| Node::new(GatewayConfig::default(), id));
        let mut world = Self { nodes, backplane: Backplane::default(), clients: vec![], published: 0 };
        for index in 0..clients {
            world.clients.push(Client::default());
            world.come(index, index % 2);
        }
        world
    }

    pub fn apply(&mut self, step: Step) {
        let clients = self.clients.len();
        match step {
            Step::Execute(node) => self.execute(node, None),
            Step::Fail(node, error) => self.execute(node, Some(error)),
            Step::Take(node, choice) => self.take(node, choice),
            Step::Read(client) => self.read(client % clients),
            Step::Publish(client, channel) => self.publish(client % clients, CHANNELS[channel % 2]),
            Step::Evict(node) => {
                self.nodes[node].evict(1);
            }
            Step::Cut(client) => self.cut(client % clients),
            Step::Discontinue(node, channel) => {
                self.backplane.discontinue(node, &Arc::from(CHANNELS[channel % 2]));
            }
            Step::Trim(channel) => self.backplane.trim(&Arc::from(CHANNELS[channel % 2])),
            Step::Wait(seconds) => {
                for node in &mut self.nodes {
                    node.pass(Duration::from_secs(seconds.into()));
                }
            }
        }
        self.carry();
    }

    /// Runs until nothing is under way: every client is subscribed, and has read everything.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            for node in 0..2 {
                self.apply(Step::Execute(node));
                self.apply(Step::Take(node, 0));
            }
            for client in 0..self.clients.len() {
                self.apply(Step::Read(client));
            }
            if self.is_quiet() {
                return;
            }
        }
        panic!("the system never comes to rest: {:#?}", self.clients);
    }

    fn is_quiet(&self) -> bool {
        let nodes_quiet = self.nodes.iter().all(|node| node.sink.submitted.is_empty());
        // Who has read a close frame, and not come back yet, is not idle.
        let idle = |client: &Client| {
            client.home.is_some() && !client.ending && client.inbox.is_empty() && client.asked.is_empty()
        };
        nodes_quiet
            && self.backplane.is_quiet()
            && self
                .clients
                .iter()
                .all(|client| idle(client) && client.channels.values().all(|l| l.subscribed))
    }

    fn execute(&mut self, node: usize, fault: Option<BackplaneError>) {
        if let Some((waiter, op)) = self.nodes[node].sink.submitted.pop_front() {
            // An operation that nobody waits for has nobody to tell of a failure.
            let fault = fault.filter(|_| waiter.is_some());
            self.backplane.execute(node, waiter, op, fault);
        }
    }

    fn take(&mut self, node: usize, choice: usize) {
        if let Some(item) = self.backplane.next(node, choice) {
            self.nodes[node].inbound(item);
        }
    }

    /// A client opens a connection.
    fn come(&mut self, index: usize, node: usize) {
        let key = self.nodes[node].open(Opening::Centrifuge);
        let client = &mut self.clients[index];
        client.home = Some((node, key));
        client.asked.clear();
        client.ending = false;
        for channel in CHANNELS {
            client.channels.entry(channel).or_default().subscribed = false;
        }
        self.say(index, r#""connect":{}"#);
    }

    fn cut(&mut self, index: usize) {
        if let Some((node, key)) = self.clients[index].home.take() {
            self.carry();
            self.clients[index].inbox.clear();
            self.nodes[node].hang_up(key);
            self.come(index, 1 - node);
        }
    }

    /// Sends a command; returns its id.
    fn say(&mut self, index: usize, command: &str) -> u64 {
        let client = &mut self.clients[index];
        client.commands += 1;
        let id = client.commands;
        if let Some((node, key)) = client.home {
            self.nodes[node].say(key, &format!(r#"{{"id":{id},{command}}}"#));
        }
        self.carry();
        id
    }

    fn publish(&mut self, index: usize, channel: &'static str) {
        if self.clients[index].channels[channel].subscribed {
            self.published += 1;
            let number = self.published;
            self.say(index, &format!(r#""publish":{{"channel":"{channel}","data":{number}}}"#));
        }
    }

    fn subscribe(&mut self, index: usize, channel: &'static str) {
        let recover = match &self.clients[index].channels[channel].position {
            Some((epoch, offset)) => format!(r#","recover":true,"epoch":"{epoch}","offset":{offset}"#),
            None => String::new(),
        };
        let id = self.say(index, &format!(r#""subscribe":{{"channel":"{channel}"{recover}}}"#));
        self.clients[index].asked.insert(id, channel);
    }

    /// Moves frames to the clients they are for, and ends connections that are over.
    fn carry(&mut self) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            for (key, frame) in std::mem::take(&mut node.sink.sent) {
                let client = self.clients.iter_mut().find(|client| client.home == Some((number, key)));
                client.expect("frames only for who is there").inbox.push_back(frame);
            }
            for key in std::mem::take(&mut node.sink.closed) {
                node.hang_up(key);
                if let Some(client) = self.clients.iter_mut().find(|c| c.home == Some((number, key))) {
                    client.ending = true;
                }
            }
        }
    }

    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match client.inbox.pop_front() {
            Some(Frame::Close(code, _)) => {
                assert_eq!(code, 3001, "the model gives no other reason to close");
                client.moved += 1;
                let (node, key) = client.home.expect("a frame came");
                self.nodes[node].receive(key, masked(CLOSE, &code.to_be_bytes()));
                self.carry();
            }
            Some(frame) => frame.lines().iter().for_each(|line| self.hear(index, line)),
            None if client.ending => {
                let (node, _) = client.home.take().expect("it ends");
                self.come(index, 1 - node);
            }
            None => {}
        }
    }

    fn hear(&mut self, index: usize, line: &Value) {
        let (node, key) = self.clients[index].home.expect("a frame came");
        if line.as_object().is_some_and(serde_json::Map::is_empty) {
            self.nodes[node].receive(key, masked(TEXT, b"{}"));
        } else if line["connect"].is_object() {
            CHANNELS.iter().for_each(|channel| self.subscribe(index, channel));
        } else if let Some(channel) = line["id"].as_u64().and_then(|id| self.clients[index].asked.remove(&id))
        {
            if line["subscribe"].is_object() {
                self.clients[index].log(channel).subscribed(&line["subscribe"]);
            } else {
                assert!(line["error"]["temporary"] == true, "{line}");
                self.subscribe(index, channel);
            }
        } else if line["push"].is_object() {
            self.pushed(index, &line["push"]);
        }
    }

    fn pushed(&mut self, index: usize, push: &Value) {
        let channel = CHANNELS.into_iter().find(|channel| push["channel"] == *channel).expect("a channel");
        let log = self.clients[index].log(channel);
        assert!(log.subscribed, "nothing comes of a channel before the reply to its subscribe command");
        if push["pub"].is_object() {
            log.publication(&push["pub"]);
        } else if push["unsubscribe"].is_object() {
            assert_eq!(push["unsubscribe"]["code"], 2500);
            log.subscribed = false;
            self.subscribe(index, channel);
        }
    }
}

impl Client {
    fn log(&mut self, channel: &'static str) -> &mut Log {
        self.channels.entry(channel).or_default()
    }
}

impl Log {
    fn subscribed(&mut self, result: &Value) {
        let epoch = result["epoch"].as_str().expect("the channel keeps a stream").to_owned();
        let offset = result["offset"].as_u64().unwrap_or(0);
        self.subscribed = true;
        if result["recovered"] != true {
            assert_eq!(result["publications"], Value::Null, "{result}");
            self.runs.push((offset, vec![]));
            self.position = Some((epoch, offset));
            return;
        }
        for publication in result["publications"].as_array().into_iter().flatten() {
            self.publication(publication);
        }
        assert_eq!(self.position, Some((epoch, offset)), "recovery leads up to the position it names");
    }

    fn publication(&mut self, publication: &Value) {
        let (_, offset) = self.position.as_mut().expect("subscribed");
        *offset = publication["offset"].as_u64().expect("an offset");
        let (_, run) = self.runs.last_mut().expect("subscribed");
        run.push(publication["data"].clone());
    }
}
