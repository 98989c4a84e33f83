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
mod open_loop;
mod paced;
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
    /// Memory and CPU of idle connections.
    Idle,
    /// CPU per opening handshake.
    Handshakes,
    /// CPU per delivery, by subscribers and publishes in flight.
    Fanout,
    /// Latency at offered rates, and the highest rate that is kept up with.
    OpenLoop,
    /// Messages sent back.
    Echo,
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
            Self::Idle | Self::Handshakes | Self::Fanout | Self::OpenLoop => true,
            Self::Echo => peer.is_floor() || matches!(peer, Peer::Raw | Peer::Uws | Peer::Ws),
            Self::Backplane => !matches!(peer, Peer::Uws | Peer::Ws | Peer::Nats),
            // Bare messages have no place in a stream, and Socket.IO's recovery none in its Redis adapter.
            Self::History | Self::Recovery => matches!(peer, Peer::Centrifuge | Peer::Centrifugo),
            Self::Growth => peer.is_ours() || peer.is_floor(),
        }
    }

    /// The heading over its table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Idle => "Idle connections",
            Self::Handshakes => "Opening handshakes",
            Self::Fanout => "Fan-out, closed loop",
            Self::OpenLoop => "Fan-out, open loop",
            Self::Echo => "Echo",
            Self::Backplane => "Through Redis",
            Self::History => "History",
            Self::Recovery => "Recovery",
            Self::Growth => "Growth",
        }
    }

    /// Measures it once, on servers of its own.
    pub fn measure(self, peer: Peer, places: &Places, size: Size) -> Result<Vec<Measured>, LoadError> {
        let alone = || Running::start(peer, places);
        match self {
            Self::Handshakes => handshakes::measure(&alone()?),
            Self::Fanout => fanout::measure(&alone()?, size),
            Self::OpenLoop => open_loop::measure(peer, places, size),
            Self::Echo => echo::measure(&alone()?),
            Self::Idle => idle::measure(peer, places, size.connections),
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
