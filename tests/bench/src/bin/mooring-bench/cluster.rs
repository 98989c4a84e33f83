//! Two servers of a kind, joined by a Redis.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use crate::{
    dialect::Dialect,
    load::Endpoint,
    peers::{Peer, Places, Running},
    process::{self, Server},
};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For a server that listens to reach Redis.
const JOINED_WITHIN: Duration = Duration::from_secs(15);

/// Two servers that publish to each other.
#[derive(Debug)]
pub struct Cluster {
    pub here: Running,
    pub there: Running,
    pub redis: Redis,
}

/// A Redis that keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    pub server: Server,
    pub address: SocketAddr,
}

/// Bytes on all of Redis's connections since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

impl Cluster {
    pub fn start(peer: Peer, places: &Places) -> io::Result<Self> {
        // On the generator's core: the servers' core is theirs alone.
        let redis = Redis::start(process::on_core("1", "redis-server"), places)?;
        let places = Places { redis: Some(redis.address), ..places.clone() };
        let (here, there) = (Running::start(peer, &places)?, Running::start(peer, &places)?);
        joined(&here)?;
        joined(&there)?;
        Ok(Self { here, there, redis })
    }
}

/// Waits until a server takes messages: nchan refuses them until it has reached Redis.
fn joined(running: &Running) -> io::Result<()> {
    let publisher = running.publisher();
    if process::holds_within(JOINED_WITHIN, || takes_messages(&publisher))? {
        Ok(())
    } else {
        Err(io::Error::other("it takes no messages; it may not reach Redis"))
    }
}

/// Whether a POST succeeds. Servers that are published to in another way refuse nobody.
fn takes_messages(publisher: &Endpoint) -> io::Result<bool> {
    if publisher.dialect != Dialect::Post {
        return Ok(true);
    }
    let mut connection = TcpStream::connect(publisher.address)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    connection.write_all(&publisher.publish(0, 0))?;
    let mut status = [0; "HTTP/1.1 2".len()];
    connection.read_exact(&mut status)?;
    Ok(status.ends_with(b" 2"))
}

impl Redis {
    /// `command` says how it is run.
    pub fn start(mut command: Command, places: &Places) -> io::Result<Self> {
        let address = process::free_address()?;
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(address.port().to_string());
        Ok(Self { server: Server::start("redis", &mut command, address, &places.state)?, address })
    }

    pub fn traffic(&self) -> io::Result<Traffic> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.set_read_timeout(Some(ANSWER_WITHIN))?;
        connection.write_all(b"INFO stats\r\nQUIT\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let number = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
            value.ok_or_else(|| io::Error::other(format!("Redis does not tell {name}")))
        };
        Ok(Traffic { received: number("total_net_input_bytes:")?, sent: number("total_net_output_bytes:")? })
    }
}
