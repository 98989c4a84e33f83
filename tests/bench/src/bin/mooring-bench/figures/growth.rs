//! The main figures at a quarter, at half and at the whole of their size, per unit of work: nothing may grow faster than its work.

use super::{
    AT_ONCE, Size, fanout,
    flood::flood,
    handshakes,
    idle::{self, Held, Layout},
    rest,
};
use crate::{
    cluster::Cluster,
    load::{Load, LoadError},
    peers::{Peer, Places, Running},
    table::Measured,
};

/// Channels at their most, with one subscriber each.
const CHANNELS: usize = 4_000;
const IN_FLIGHT: [usize; 2] = [1, 32];

pub fn measure(peer: Peer, places: &Places, size: Size) -> Result<Vec<Measured>, LoadError> {
    let alone = || Running::start(peer, places);
    let mut measured = Vec::new();
    if peer.is_ours() {
        let mut held = Vec::new();
        for connections in sizes(size.connections) {
            held.push(idle::hold(&mut Load::new()?, &alone()?, None, Layout::OneChannel, connections)?);
        }
        let row = |what, values| rows(what, "connections", size.connections, values);
        measured.extend(row("idle RSS (bytes)", held.iter().map(Held::user).collect()));
        measured.extend(row("idle CPU (µs/s)", held.iter().filter_map(|held| held.cpu).collect()));
    }
    measured.extend(shake_hands(&alone()?, size.connections)?);
    for in_flight in IN_FLIGHT {
        let what = format!("CPU per delivery, {in_flight} in flight (µs)");
        let running = alone()?;
        measured.extend(grow(&what, "subscribers", size.subscribers, |subscribers| {
            deliver(&running, subscribers, in_flight)
        })?);
    }
    if peer.is_ours() {
        let cluster = Cluster::start(peer, places)?;
        let what = "through Redis, both servers' CPU per message (µs)";
        measured.extend(grow(what, "channels", CHANNELS, |channels| {
            Ok(flood(&cluster, "live", channels, 1)?.servers_cpu())
        })?);
    }
    Ok(measured)
}

fn sizes(most: usize) -> [usize; 3] {
    [most / 4, most / 2, most]
}

/// A figure's value at each size, and how the largest's relates to the smallest's.
fn grow(
    what: &str,
    of: &str,
    most: usize,
    value: impl FnMut(usize) -> Result<f64, LoadError>,
) -> Result<Vec<Measured>, LoadError> {
    let values: Result<Vec<f64>, LoadError> = sizes(most).into_iter().map(value).collect();
    Ok(rows(what, of, most, values?))
}

fn rows(what: &str, of: &str, most: usize, values: Vec<f64>) -> Vec<Measured> {
    let ratio = values
        .first()
        .zip(values.last())
        .map(|(small, large)| Measured::lower(format!("growth, {what}: largest : smallest"), large / small));
    let sized = sizes(most).into_iter().zip(values);
    sized
        .map(|(size, value)| Measured::lower(format!("growth, {what}: {size} {of}"), value))
        .chain(ratio)
        .collect()
}

/// Handshakes while so many connections are open.
fn shake_hands(running: &Running, connections: usize) -> Result<Vec<Measured>, LoadError> {
    let mut load = Load::new()?;
    handshakes::round(&mut load, running, 0)?;
    let mut open = 0;
    grow("CPU per handshake (µs)", "connections open", connections, |connections| {
        load.open(&running.subscriber(), connections - open, AT_ONCE)?;
        open = connections;
        rest(&mut load)?;
        Ok(handshakes::round(&mut load, running, open)?.0)
    })
}

fn deliver(running: &Running, subscribers: usize, in_flight: usize) -> Result<f64, LoadError> {
    let mut load = Load::new()?;
    load.open(&running.subscriber(), subscribers, AT_ONCE)?;
    rest(&mut load)?;
    load.open(&running.publisher(), in_flight, AT_ONCE)?;
    let cpu = fanout::cpu_per_delivery(&mut load, running, subscribers, in_flight)?;
    drop(load);
    running.server.settle();
    Ok(cpu)
}
