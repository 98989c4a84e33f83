//! What is measured. Each figure takes a running server and yields values; nothing here knows which server it is.

mod backplane;
mod channels;
mod echo;
mod fanout;
mod flood;
mod growth;
mod handshakes;
mod history;
mod idle;
mod recovery;

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    cluster::Cluster,
    load::{Load, LoadError},
    peers::{Peer, Places, Running},
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
    /// Latency through Redis.
    Backplane,
    /// What history costs on the way through Redis.
    History,
    /// A killed node's clients come to the other one.
    Recovery,
    /// The main figures at growing sizes.
    Growth,
}

impl Figure {
    /// Whether the figure exists for a server.
    pub fn applies_to(self, peer: Peer) -> bool {
        match self {
            Self::Memory | Self::Handshakes | Self::Fanout => true,
            Self::Echo => matches!(peer, Peer::Raw | Peer::Floor | Peer::Ws),
            // The others do not ping, or not at our interval.
            Self::Idle => matches!(peer, Peer::Raw | Peer::Centrifuge | Peer::Nchan | Peer::Sockudo),
            Self::Backplane => !matches!(peer, Peer::Ws | Peer::Nats),
            // Bare messages have no place in a stream, and Socket.IO's recovery none in its Redis adapter.
            Self::History | Self::Recovery => peer == Peer::Centrifuge,
            Self::Growth => peer.is_ours() || peer == Peer::Floor,
        }
    }

    /// How often it is measured when others are `runs` times: memory does not vary, and idling takes half a minute.
    pub fn rounds(self, runs: usize) -> usize {
        match self {
            Self::Memory | Self::Idle => 1,
            _ => runs,
        }
    }

    /// Measures it once, on servers of its own.
    pub fn measure(self, peer: Peer, places: &Places, size: Size) -> Result<Vec<Measured>, LoadError> {
        let alone = || Running::start(peer, places);
        match self {
            Self::Memory => idle::memory(&alone()?, size.connections),
            Self::Handshakes => handshakes::measure(&alone()?),
            Self::Fanout => fanout::measure(&alone()?, size),
            Self::Echo => echo::measure(&alone()?),
            Self::Idle => idle::cpu(&alone()?, size.connections),
            Self::Backplane => {
                let Cluster { here, there, redis: _redis } = Cluster::start(peer, places)?;
                backplane::measure(&here, &there)
            }
            Self::History => history::measure(peer, places),
            Self::Recovery => recovery::measure(peer, places, size),
            Self::Growth => growth::measure(peer, places, size),
        }
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Idle connections.
    pub connections: usize,
    /// Subscribers of the larger fan-out, of which the smaller has a tenth, and clients that recover.
    pub subscribers: usize,
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
