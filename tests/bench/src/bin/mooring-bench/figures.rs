//! What is measured. Each figure takes a running server and yields values; nothing here knows which server it is.

pub mod backplane;
mod echo;
mod fanout;
mod handshakes;
mod idle;

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    load::{Load, LoadError},
    peers::{Peer, Running},
    table::Measured,
};

/// Connections that are unready at any time while many are opened.
const AT_ONCE: usize = 64;

/// A figure of the table, in order of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// Memory per idle connection.
    Memory,
    /// CPU per opening handshake.
    Handshakes,
    /// CPU per delivery, by subscribers and publishes in flight.
    Fanout,
    /// Messages sent back.
    Echo,
    /// CPU of idle connections.
    Idle,
    /// Latency through Redis; starts its own servers.
    Backplane,
}

impl Figure {
    /// Whether the figure exists for a server.
    pub fn applies_to(self, peer: Peer) -> bool {
        match self {
            Self::Memory | Self::Handshakes | Self::Fanout => true,
            Self::Echo => matches!(peer, Peer::Raw | Peer::Floor | Peer::Ws),
            // The others do not ping, or not at our interval.
            Self::Idle => matches!(peer, Peer::Raw | Peer::Centrifuge | Peer::Nchan | Peer::Sockudo),
            Self::Backplane => !matches!(peer, Peer::Floor | Peer::Ws | Peer::Nats),
        }
    }

    /// Measures it; `runs` times what can be repeated on one server.
    pub fn measure(self, running: &Running, size: Size) -> Result<Vec<Measured>, LoadError> {
        match self {
            Self::Memory => idle::memory(running, size.connections),
            Self::Handshakes => handshakes::measure(running, size.runs),
            Self::Fanout => fanout::measure(running, size),
            Self::Echo => echo::measure(running, size.runs),
            Self::Idle => idle::cpu(running, size.connections),
            Self::Backplane => Ok(Vec::new()),
        }
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Idle connections.
    pub connections: usize,
    /// Subscribers of the larger fan-out; the smaller is a tenth.
    pub subscribers: usize,
    /// Runs of which the median is taken.
    pub runs: usize,
}

/// Lets subscriptions that are confirmed to nobody become active.
fn rest(load: &mut Load) -> Result<(), LoadError> {
    let until = std::time::Instant::now() + Duration::from_millis(500);
    while std::time::Instant::now() < until {
        load.turn(Duration::from_millis(50), |_, _| {})?;
    }
    Ok(())
}

fn micros(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}
