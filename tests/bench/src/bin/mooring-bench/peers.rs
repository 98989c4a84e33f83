//! The servers side by side: how each is started, and where its clients go.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    dialect::{CHANNEL, Dialect, Role},
    load::Endpoint,
    process::{self, Server},
    pusher,
};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The gateway, raw WebSockets.
    Raw,
    /// The gateway, the centrifuge protocol.
    Centrifuge,
    Floor,
    Nchan,
    Ws,
    Nats,
    SocketIo,
    Sockudo,
}

impl Peer {
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Centrifuge,
        Self::Floor,
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

    fn subscriber(self, channel: &str) -> (Dialect, String) {
        match self {
            Self::Raw => (Dialect::Bare, format!("/raw/{channel}")),
            Self::Centrifuge => (Dialect::Centrifuge, "/connection/websocket".to_owned()),
            Self::Floor | Self::Nchan | Self::Ws => (Dialect::Bare, "/sub".to_owned()),
            Self::Nats => (Dialect::Nats, "/".to_owned()),
            Self::SocketIo => (Dialect::SocketIo, "/socket.io/?EIO=4&transport=websocket&sub=1".to_owned()),
            Self::Sockudo => (Dialect::Pusher, pusher::SUBSCRIBE.to_owned()),
        }
    }

    fn publisher(self, channel: &str) -> (Dialect, String) {
        match self {
            Self::Raw => (Dialect::Post, format!("/raw/{channel}")),
            Self::Nchan => (Dialect::Post, "/pub".to_owned()),
            Self::Floor | Self::Ws => (Dialect::Bare, "/pub".to_owned()),
            Self::SocketIo => (Dialect::SocketIo, "/socket.io/?EIO=4&transport=websocket".to_owned()),
            Self::Sockudo => (Dialect::PusherPost, pusher::EVENTS.to_owned()),
            Self::Centrifuge | Self::Nats => self.subscriber(channel),
        }
    }

    /// Where a server that sends everything back does so.
    fn echo(self) -> Option<&'static str> {
        matches!(self, Self::Raw | Self::Floor | Self::Ws).then_some("/echo")
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
        let mut command = command(peer, places, address)?;
        let server = Server::start(peer.name(), &mut command, address, &places.state)?;
        Ok(Self::at(peer, server, address))
    }

    /// A peer that is started already.
    pub fn at(peer: Peer, server: Server, address: SocketAddr) -> Self {
        Self { peer, server, address }
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

/// Bounds far above what is measured, so that none of them is. Channels with history are those that begin with `kept:`.
const GATEWAY_CONFIG: &str = r#"{"limits":{"maxConnections":19000,"connectionsPerSecond":100000},
    "channels":{"namespaces":[{"name":"live","publish":"Clients"},
        {"name":"kept","publish":"Clients","history":{"size":300,"ttlSeconds":300}}]}}"#;

fn command(peer: Peer, places: &Places, address: SocketAddr) -> io::Result<Command> {
    let port = address.port().to_string();
    Ok(match peer {
        Peer::Raw | Peer::Centrifuge => gateway(process::pinned(&places.gateway), places, address)?,
        Peer::Floor => {
            let mut command = process::pinned(std::env::current_exe()?);
            command.args(["floor", &address.to_string()]);
            if let Some(redis) = places.redis {
                command.args(["--redis", &redis.to_string()]);
            }
            command
        }
        Peer::Nchan => nchan(places, address)?,
        Peer::Ws | Peer::SocketIo => {
            let script = if peer == Peer::Ws { "ws.cjs" } else { "socketio.cjs" };
            let mut command = process::pinned("node");
            command
                .arg(places.scripts.join(script))
                .arg(port)
                .env("NODE_PATH", places.tools.join("js/node_modules"));
            if let Some(redis) = places.redis {
                command.arg(redis.to_string());
            }
            command
        }
        Peer::Nats => nats(places, address)?,
        Peer::Sockudo => sockudo(places, address),
    })
}

/// The gateway; `command` says how it is run.
pub fn gateway(mut command: Command, places: &Places, address: SocketAddr) -> io::Result<Command> {
    let control = process::free_address()?;
    command
        .args(["--listen", &address.to_string(), "--control", &control.to_string()])
        .args(["--shards", &places.shards.to_string(), "--settle", "0", "--shutdown-window", "1"])
        .args(["--echo", "--log", "warn"])
        .env("MOORING_CONFIG", GATEWAY_CONFIG);
    if let Some(redis) = places.redis {
        command.args(["--redis-url", &format!("redis://{redis}")]);
    }
    Ok(command)
}

fn nchan(places: &Places, address: SocketAddr) -> io::Result<Command> {
    let prefix = places.state.join("nginx");
    fs::create_dir_all(&prefix)?;
    let module = places.tools.join("nginx/usr/lib/nginx/modules/ngx_nchan_module.so");
    let mut template = fs::read_to_string(places.scripts.join("nchan.conf"))?;
    if let Some(redis) = places.redis {
        template = template.replace("#redis", "").replace("REDIS", &redis.to_string());
    }
    let config = template
        .replace("MODULE", &module.display().to_string())
        .replace("ADDRESS", &address.to_string())
        .replace("PREFIX", &prefix.display().to_string());
    let file = write(&prefix.join("nginx.conf"), &config)?;
    let mut command = process::pinned(places.tools.join("nginx/usr/sbin/nginx"));
    command.arg("-p").arg(&prefix).arg("-c").arg(file).args(["-e", "stderr"]);
    Ok(command)
}

fn nats(places: &Places, address: SocketAddr) -> io::Result<Command> {
    let native = process::free_address()?;
    let config = format!(
        "listen: \"{native}\"\nmax_connections: 19000\nmax_pending: 67108864\n\
         websocket {{ listen: \"{address}\", no_tls: true, compression: false }}\n"
    );
    let file = write(&places.state.join("nats.conf"), &config)?;
    let mut command = process::pinned(places.tools.join("bin/nats-server"));
    command.arg("-c").arg(file);
    Ok(command)
}

fn sockudo(places: &Places, address: SocketAddr) -> Command {
    let mut command = process::pinned(places.tools.join("bin/sockudo"));
    command
        .arg("--config")
        .arg(places.scripts.join("sockudo.toml"))
        .env("HOST", address.ip().to_string())
        .env("PORT", address.port().to_string())
        .env("RUST_LOG", "warn");
    if let Some(redis) = places.redis {
        command.env("ADAPTER_DRIVER", "redis").env("CACHE_DRIVER", "redis");
        command.env("REDIS_URL", format!("redis://{redis}"));
    }
    command
}

fn write(path: &Path, text: &str) -> io::Result<PathBuf> {
    fs::write(path, text)?;
    Ok(path.to_owned())
}
