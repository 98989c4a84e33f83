//! A Redis, and gateways with a proxy each in front of it.

use std::{io, net::SocketAddr, path::Path};

use mooring_fleet::{channel::Channel, proxy::Proxy, stats::Protocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::engine::Engine;
use crate::process::{self, Server};

pub const GATEWAYS: usize = 2;
const GAPS: &str = "mooring_raw_gaps_total ";
/// Without history; all else as by itself.
const NOTHING_KEPT: &str = r#"{"channels":{"default":{"presence":true,"joinLeave":true}}}"#;

/// Ends when dropped, Redis last.
#[derive(Debug)]
pub struct Stand {
    pub gateways: Vec<Gateway>,
    pub proxies: Vec<Proxy>,
    pub engine: Engine,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    pub client: SocketAddr,
    control: SocketAddr,
}

impl Stand {
    /// Whether channels keep what is published to them.
    pub async fn start(gateway: &Path, logs: &Path, kept: bool) -> io::Result<Self> {
        let engine = Engine::start(logs)?;
        let (mut gateways, mut proxies) = (Vec::new(), Vec::new());
        for number in 1..=GATEWAYS {
            let proxy = Proxy::start(engine.port()).await?;
            gateways.push(Gateway::start(gateway, logs, &format!("gateway-{number}"), proxy.port(), kept)?);
            proxies.push(proxy);
        }
        Ok(Self { gateways, proxies, engine })
    }

    /// How often gateways have noted that a raw client may have missed something.
    pub async fn gaps(&self) -> io::Result<u64> {
        let mut gaps = 0;
        for gateway in &self.gateways {
            gaps += gateway.gaps().await?;
        }
        Ok(gaps)
    }

    /// Whether so many clients are present in the first channels, all together, wherever one asks.
    pub async fn are_present(&self, clients: u64, channels: usize) -> bool {
        for gateway in &self.gateways {
            let mut present = 0;
            for number in 0..channels {
                let channel = Channel { protocol: Protocol::Centrifuge, number };
                present += gateway.present(&channel.name()).await.unwrap_or_default();
            }
            if present != clients {
                return false;
            }
        }
        true
    }
}

impl Gateway {
    fn start(binary: &Path, logs: &Path, name: &str, redis: u16, kept: bool) -> io::Result<Self> {
        let (client, control) = (process::free_address()?, process::free_address()?);
        let mut command = process::anywhere(binary);
        command
            .args(["--listen", &client.to_string(), "--control", &control.to_string()])
            .args(["--redis-url", &format!("redis://127.0.0.1:{redis}"), "--node-name", name])
            .args(["--shards", "2", "--settle", "0", "--shutdown-window", "1"])
            .args(["--anonymous", "--insecure-api"]);
        if !kept {
            command.env("MOORING_CONFIG", NOTHING_KEPT);
        }
        Ok(Self { server: Server::start(name, &mut command, client, logs)?, client, control })
    }

    /// Clients that are present in a channel.
    async fn present(&self, channel: &str) -> io::Result<u64> {
        let body = format!(r#"{{"channel":"{channel}"}}"#);
        let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let answer = ask(self.client, &format!("POST /api/presence_stats HTTP/1.1\r\n{head}"), &body).await?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        body["result"]["num_clients"].as_u64().ok_or_else(|| io::Error::other(answer))
    }

    async fn gaps(&self) -> io::Result<u64> {
        let answer = ask(self.control, "GET /metrics HTTP/1.1\r\n", "").await?;
        let value = answer.lines().find_map(|line| line.strip_prefix(GAPS)?.parse().ok());
        value.ok_or_else(|| io::Error::other(format!("a gateway does not tell {GAPS}")))
    }
}

/// Sends one request, its line and its own headers being `head`; the whole answer.
async fn ask(address: SocketAddr, head: &str, body: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("{head}Host: a\r\nConnection: close\r\n\r\n{body}");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Asked to end it would move its clients first, which are gone.
        let _ = self.server.kill();
    }
}
