//! What history costs on the way through Redis, and how often a message takes that way.

use super::flood::flood;
use crate::{
    cluster::Cluster,
    load::LoadError,
    peers::{Peer, Places},
    table::Measured,
};

/// With one subscriber each, so that Redis and what is around it are measured, and not the fan-out.
const CHANNELS: usize = 64;
/// Where subscribers are counted.
const FEW: usize = 8;
const FAN_OUT: usize = 100;

pub fn measure(peer: Peer, places: &Places) -> Result<Vec<Measured>, LoadError> {
    let cluster = Cluster::start(peer, places)?;
    let mut measured = Vec::new();
    let (off, on) = (flood(&cluster, "live", CHANNELS, 1)?, flood(&cluster, "kept", CHANNELS, 1)?);
    for (history, flood) in [("off", &off), ("on", &on)] {
        let name = |what: &str| format!("through Redis, history {history}: {what}");
        measured.extend([
            Measured::higher(name("messages/s"), flood.rate()),
            Measured::lower(name("both servers' CPU per message (µs)"), flood.servers_cpu()),
            Measured::lower(name("Redis's CPU per message (µs)"), flood.redis_cpu()),
            Measured::lower(name("bytes into Redis per message"), flood.received()),
            Measured::lower(name("bytes out of Redis per message"), flood.sent()),
        ]);
    }
    measured.push(Measured::higher("through Redis, messages/s, history on : off", on.rate() / off.rate()));
    measured.push(crossing(&cluster, 1, 1)?);
    measured.push(crossing(&cluster, 1, FAN_OUT)?);
    drop(cluster);
    if !peer.is_ours() {
        return Ok(measured);
    }
    let cluster = Cluster::start(peer, &Places { shards: 2, ..places.clone() })?;
    measured.push(crossing(&cluster, 2, FAN_OUT)?);
    Ok(measured)
}

/// What Redis sends per message does not grow with shards and subscribers when each message goes to a gateway once.
fn crossing(cluster: &Cluster, shards: usize, subscribers: usize) -> Result<Measured, LoadError> {
    let sent = flood(cluster, "live", FEW, subscribers)?.sent();
    let name = format!("bytes out of Redis per message, subscribers × shards {subscribers} × {shards}");
    Ok(Measured::lower(name, sent))
}
