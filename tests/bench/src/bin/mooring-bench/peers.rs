//! The servers side by side, and where their clients go.

mod command;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    dialect::{CHANNEL, Dialect, Role},
    load::Endpoint,
    process::{self, Server},
    pusher,
};

pub use command::gateway;

const SOCKETIO: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The gateway, raw WebSockets.
    Raw,
    /// The gateway, the centrifuge protocol.
    Centrifuge,
    /// One epoll loop that writes each message by itself.
    Floor,
    /// One epoll loop that writes all that waits for a socket in one call.
    CoalescingFloor,
    Centrifugo,
    Uws,
    Nchan,
    Ws,
    Nats,
    SocketIo,
    Sockudo,
}

impl Peer {
    pub const ALL: [Self; 11] = [
        Self::Raw,
        Self::Centrifuge,
        Self::Floor,
        Self::CoalescingFloor,
        Self::Centrifugo,
        Self::Uws,
        Self::Nchan,
        Self::Ws,
        Self::Nats,
        Self::SocketIo,
        Self::Sockudo,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Centrifuge => "centrifuge",
            Self::Floor => "floor",
            Self::CoalescingFloor => "coalescing-floor",
            Self::Centrifugo => "centrifugo",
            Self::Uws => "uws",
            Self::Nchan => "nchan",
            Self::Ws => "ws",
            Self::Nats => "nats",
            Self::SocketIo => "socketio",
            Self::Sockudo => "sockudo",
        }
    }

    /// Where its subscribers of a channel go when it listens on an address.
    pub fn subscriber_at(self, address: SocketAddr, channel: &str) -> Endpoint {
        let (dialect, path) = self.subscriber(channel);
        Endpoint { address, path, channel: channel.to_owned(), dialect, role: Role::Subscriber }
    }

    /// Where its publishers go, likewise.
    pub fn publisher_at(self, address: SocketAddr, channel: &str) -> Endpoint {
        let (dialect, path) = self.publisher(channel);
        Endpoint { address, path, channel: channel.to_owned(), dialect, role: Role::Publisher }
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Self::Raw | Self::Centrifuge)
    }

    /// What any server could do at best, and no server to choose.
    pub fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::CoalescingFloor)
    }

    fn subscriber(self, channel: &str) -> (Dialect, String) {
        match self {
            Self::Raw => (Dialect::Bare, format!("/raw/{channel}")),
            Self::Centrifuge | Self::Centrifugo => (Dialect::Centrifuge, "/connection/websocket".to_owned()),
            Self::Floor | Self::CoalescingFloor => (Dialect::Bare, "/sub".to_owned()),
            Self::Nchan | Self::Uws | Self::Ws => (Dialect::Bare, format!("/sub?id={channel}")),
            Self::Nats => (Dialect::Nats, "/".to_owned()),
            Self::SocketIo => (Dialect::SocketIo, format!("{SOCKETIO}&sub={channel}")),
            Self::Sockudo => (Dialect::Pusher, pusher::SUBSCRIBE.to_owned()),
        }
    }

    fn publisher(self, channel: &str) -> (Dialect, String) {
        match self {
            Self::Raw => (Dialect::Post, format!("/raw/{channel}")),
            Self::Nchan => (Dialect::Post, format!("/pub?id={channel}")),
            Self::Floor | Self::CoalescingFloor => (Dialect::Bare, "/pub".to_owned()),
            Self::Uws | Self::Ws => (Dialect::Bare, format!("/pub?id={channel}")),
            Self::SocketIo => (Dialect::SocketIo, format!("{SOCKETIO}&id={channel}")),
            Self::Sockudo => (Dialect::PusherPost, pusher::EVENTS.to_owned()),
            Self::Centrifuge | Self::Centrifugo | Self::Nats => self.subscriber(channel),
        }
    }

    /// Where a server that sends everything back does so.
    fn echo(self) -> Option<&'static str> {
        (self.is_floor() || matches!(self, Self::Raw | Self::Uws | Self::Ws)).then_some("/echo")
    }
}

/// Programs, their files, and where they may write.
#[derive(Clone, Debug)]
pub struct Places {
    pub gateway: PathBuf,
    /// What tests/bin/bench has fetched.
    pub tools: PathBuf,
    /// Our servers on others' libraries.
    pub scripts: PathBuf,
    /// Logs and nginx's files.
    pub state: PathBuf,
    pub redis: Option<SocketAddr>,
    /// Threads of a gateway that hold connections.
    pub shards: u16,
}

impl Places {
    /// Where only our own server runs, on one shard and without Redis.
    pub fn without_peers(gateway: &Path, state: &Path) -> Self {
        Self {
            gateway: gateway.to_owned(),
            tools: PathBuf::new(),
            scripts: PathBuf::new(),
            state: state.to_owned(),
            redis: None,
            shards: 1,
        }
    }
}

/// A started peer.
#[derive(Debug)]
pub struct Running {
    pub peer: Peer,
    pub server: Server,
    address: SocketAddr,
}

impl Running {
    pub fn start(peer: Peer, places: &Places) -> io::Result<Self> {
        let address = process::free_address()?;
        let mut command = command::command(peer, places, address)?;
        let server = Server::start(peer.name(), &mut command, address, &places.state)?;
        Ok(Self { peer, server, address })
    }

    pub fn subscriber(&self) -> Endpoint {
        self.subscriber_of(CHANNEL)
    }

    pub fn publisher(&self) -> Endpoint {
        self.publisher_of(CHANNEL)
    }

    /// A subscriber of any channel, where there is more than one.
    pub fn subscriber_of(&self, channel: &str) -> Endpoint {
        self.peer.subscriber_at(self.address, channel)
    }

    pub fn publisher_of(&self, channel: &str) -> Endpoint {
        self.peer.publisher_at(self.address, channel)
    }

    pub fn echo(&self) -> Option<Endpoint> {
        let path = self.peer.echo()?.to_owned();
        Some(Endpoint { path, dialect: Dialect::Bare, ..self.subscriber() })
    }
}
