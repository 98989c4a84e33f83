//! How each server is started.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Peer, Places};
use crate::process;

/// Bounds far above what is measured, so that none of them is. Channels with history are those that begin with `kept:`.
const GATEWAY_CONFIG: &str = r#"{"limits":{"maxConnections":19000,"connectionsPerSecond":100000},
    "channels":{"namespaces":[{"name":"live","publish":"Clients"},
        {"name":"kept","publish":"Clients","history":{"size":300,"ttlSeconds":300}}]}}"#;

pub(super) fn command(peer: Peer, places: &Places, address: SocketAddr) -> io::Result<Command> {
    let port = address.port().to_string();
    Ok(match peer {
        Peer::Raw | Peer::Centrifuge => gateway(process::pinned(&places.gateway), places, address)?,
        Peer::Floor | Peer::CoalescingFloor => {
            let mut command = process::pinned(std::env::current_exe()?);
            command.args(["floor", &address.to_string()]);
            if peer == Peer::CoalescingFloor {
                command.arg("--coalesce");
            }
            if let Some(redis) = places.redis {
                command.args(["--redis", &redis.to_string()]);
            }
            command
        }
        Peer::Centrifugo => centrifugo(places, address),
        Peer::Uws => {
            let mut command = process::pinned(places.tools.join("bin/uws"));
            command.arg(port);
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
        .args(["--echo", "--insecure-api", "--log", "warn"])
        .env("MOORING_CONFIG", GATEWAY_CONFIG);
    if let Some(redis) = places.redis {
        command.args(["--redis-url", &format!("redis://{redis}")]);
    }
    Ok(command)
}

/// Its pings come every 25 s, as by itself.
fn centrifugo(places: &Places, address: SocketAddr) -> Command {
    let mut command = process::pinned(places.tools.join("bin/centrifugo"));
    command
        .arg("--config")
        .arg(places.scripts.join("centrifugo.json"))
        .env("CENTRIFUGO_HTTP_SERVER_PORT", address.port().to_string());
    if let Some(redis) = places.redis {
        command.env("CENTRIFUGO_ENGINE_TYPE", "redis");
        command.env("CENTRIFUGO_ENGINE_REDIS_ADDRESS", format!("redis://{redis}"));
    }
    command
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
        "listen: \"{native}\"\nmax_connections: 19000\nmax_pending: 67108864\nping_interval: \"25s\"\n\
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
