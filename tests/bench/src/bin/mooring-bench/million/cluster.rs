//! The servers: gateways joined by one Redis.

use std::{io, net::SocketAddr, time::Duration};

use super::layout::Layout;
use crate::{
    cluster::Redis,
    peers::{self, Places},
    process::{self, Server},
};

/// Beside the subscribers: who publishes.
const PUBLISHERS: usize = 10;

/// Dropping it ends all of them.
#[derive(Debug)]
pub struct Cluster {
    gateways: Vec<Server>,
    pub redis: Redis,
    pub addresses: Vec<SocketAddr>,
}

impl Cluster {
    /// Starts Redis and a gateway for each share, on whichever core.
    pub fn start(places: &Places, layout: &Layout) -> io::Result<Self> {
        let redis = Redis::start(process::anywhere("redis-server"), places)?;
        let places = Places { redis: Some(redis.address), ..places.clone() };
        let mut cluster = Self { gateways: Vec::new(), redis, addresses: Vec::new() };
        for (index, share) in layout.shares.iter().enumerate() {
            let address = process::free_address()?;
            let name = format!("gateway-{index}");
            let mut command = peers::gateway(process::anywhere(&places.gateway), &places, address)?;
            command.args(["--node-name", &name]).env("MOORING_CONFIG", config(share + PUBLISHERS));
            cluster.gateways.push(Server::start(&name, &mut command, address, &places.state)?);
            cluster.addresses.push(address);
        }
        Ok(cluster)
    }

    /// CPU time of all gateways so far.
    pub fn cpu(&self) -> Duration {
        self.gateways.iter().map(Server::cpu).sum()
    }

    /// Resident bytes of all gateways.
    pub fn rss(&self) -> u64 {
        self.gateways.iter().map(Server::rss).sum()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once; each is then waited for.
        self.gateways.iter().for_each(Server::ask_to_end);
    }
}

/// The bound of connections is the share; the pace of new ones is not to be measured.
fn config(connections: usize) -> String {
    format!(
        r#"{{"limits":{{"maxConnections":{connections},"connectionsPerSecond":100000}},
            "channels":{{"namespaces":[{{"name":"live","publish":"Clients"}}]}}}}"#
    )
}
