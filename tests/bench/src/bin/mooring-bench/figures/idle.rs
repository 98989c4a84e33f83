//! Connections that do nothing: the memory they hold, and the CPU that their pings take.

use std::time::{Duration, Instant};

use super::{AT_ONCE, micros};
use crate::{
    load::{Load, LoadError},
    peers::Running,
    table::Measured,
};

/// Opened and closed before the start is noted, so that what is allocated once does not count.
const WARM_UP: usize = 500;
/// For memory of closed connections to come back.
const RETURN_WITHIN: Duration = Duration::from_secs(3);
/// One interval of pings.
const INTERVAL: Duration = Duration::from_secs(25);

/// Resident bytes of a server.
pub struct Held {
    connections: usize,
    before: u64,
    with: u64,
    after: u64,
}

impl Held {
    /// Bytes per connection.
    pub fn each(&self) -> f64 {
        self.with.saturating_sub(self.before) as f64 / self.connections as f64
    }
}

pub fn memory(running: &Running, connections: usize) -> Result<Vec<Measured>, LoadError> {
    let held = hold(running, connections)?;
    let before = held.before as f64;
    Ok(vec![
        Measured::lower("idle connection, RSS (bytes)", held.each()),
        Measured::lower("RSS without connections (MB)", before / 1e6),
        Measured::lower("RSS once they are gone : before", held.after as f64 / before),
    ])
}

/// Opens connections, closes them, and looks at the memory.
pub fn hold(running: &Running, connections: usize) -> Result<Held, LoadError> {
    let mut load = Load::new()?;
    load.open(&running.subscriber(), WARM_UP, AT_ONCE)?;
    load.close_after(0);
    watch(&mut load, RETURN_WITHIN)?;
    let before = running.server.rss();
    load.open(&running.subscriber(), connections, AT_ONCE)?;
    watch(&mut load, Duration::from_secs(2))?;
    let with = running.server.rss();
    load.close_after(0);
    watch(&mut load, RETURN_WITHIN)?;
    Ok(Held { connections, before, with, after: running.server.rss() })
}

pub fn cpu(running: &Running, connections: usize) -> Result<Vec<Measured>, LoadError> {
    let (cpu, pings) = watch_pings(running, connections)?;
    Ok(vec![
        Measured::lower("idle connection, server CPU (µs/s)", cpu),
        Measured::higher("pings per connection and 25 s", pings),
    ])
}

/// Server CPU per connection in µs/s, and pings per connection, over one interval.
pub fn watch_pings(running: &Running, connections: usize) -> Result<(f64, f64), LoadError> {
    let mut load = Load::new()?;
    load.open(&running.subscriber(), connections, AT_ONCE)?;
    let (cpu, pings) = (running.server.cpu(), load.pings());
    watch(&mut load, INTERVAL)?;
    let (cpu, pings) = (running.server.cpu() - cpu, load.pings() - pings);
    // Whatever share of the connections was pinged, each is once per interval.
    Ok((micros(cpu, pings) / INTERVAL.as_secs_f64(), pings as f64 / connections as f64))
}

fn watch(load: &mut Load, time: Duration) -> Result<(), LoadError> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.turn(Duration::from_millis(50), |_, _| {})?;
    }
    Ok(())
}
