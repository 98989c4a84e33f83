//! Opening handshakes: what one costs the server, and how many there are per second when both ends have a core.

use std::time::Instant;

use super::{AT_ONCE, micros};
use crate::{
    load::{Load, LoadError},
    peers::Running,
    table::{Measured, median},
};

/// Handshakes at a time, and how often so many.
const COUNT: usize = 4_000;
const TIMES: usize = 3;

pub fn measure(running: &Running) -> Result<Vec<Measured>, LoadError> {
    let mut load = Load::new()?;
    // The first connections pay for what is allocated once.
    round(&mut load, running, 0)?;
    let (mut cpus, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (cpu, rate) = round(&mut load, running, 0)?;
        cpus.push(cpu);
        rates.push(rate);
    }
    // One value for this server: what it differs by within a second is no spread of rounds.
    Ok(vec![
        Measured::lower("handshake, server CPU (µs)", median(cpus)),
        Measured::higher("handshakes/s", median(rates)),
    ])
}

/// Opens connections beside those that are open, and closes them. Server CPU of one in µs, and how many there were per second.
pub fn round(load: &mut Load, running: &Running, open: usize) -> Result<(f64, f64), LoadError> {
    let (cpu, started) = (running.server.cpu(), Instant::now());
    load.open(&running.subscriber(), COUNT, AT_ONCE)?;
    let (cpu, took) = (running.server.cpu() - cpu, started.elapsed());
    load.close_after(open);
    running.server.settle();
    Ok((micros(cpu, COUNT as u64), COUNT as f64 / took.as_secs_f64()))
}
