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

pub fn memory(running: &Running, connections: usize) -> Result<Vec<Measured>, LoadError> {
    let mut load = Load::new()?;
    load.open(&running.subscriber(), WARM_UP, AT_ONCE)?;
    load.close_after(0);
    watch(&mut load, RETURN_WITHIN)?;
    let before = running.server.rss();
    load.open(&running.subscriber(), connections, AT_ONCE)?;
    watch(&mut load, Duration::from_secs(2))?;
    let held = running.server.rss();
    load.close_after(0);
    watch(&mut load, RETURN_WITHIN)?;
    let after = running.server.rss();
    Ok(vec![
        Measured::lower(
            "idle connection, RSS (bytes)",
            held.saturating_sub(before) as f64 / connections as f64,
        ),
        Measured::lower("RSS without connections (MB)", before as f64 / 1e6),
        Measured::lower("RSS once they are gone : before", after as f64 / before as f64),
    ])
}

pub fn cpu(running: &Running, connections: usize) -> Result<Vec<Measured>, LoadError> {
    let mut load = Load::new()?;
    load.open(&running.subscriber(), connections, AT_ONCE)?;
    let (cpu, pings) = (running.server.cpu(), load.pings());
    watch(&mut load, INTERVAL)?;
    let (cpu, pings) = (running.server.cpu() - cpu, load.pings() - pings);
    // Whatever share of the connections was pinged, each is once per interval.
    Ok(vec![
        Measured::lower("idle connection, server CPU (µs/s)", micros(cpu, pings) / INTERVAL.as_secs_f64()),
        Measured::higher("pings per connection and 25 s", pings as f64 / connections as f64),
    ])
}

fn watch(load: &mut Load, time: Duration) -> Result<(), LoadError> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.turn(Duration::from_millis(50), |_, _| {})?;
    }
    Ok(())
}
