//! Opening handshakes: what one costs the server, and how many there are per second when both ends have a core.

use std::time::Instant;

use super::{AT_ONCE, micros};
use crate::{
    load::{Load, LoadError},
    peers::Running,
    table::Measured,
};

/// Handshakes of one run.
const COUNT: usize = 4_000;

pub fn measure(running: &Running, runs: usize) -> Result<Vec<Measured>, LoadError> {
    let mut measured = Vec::new();
    let mut load = Load::new()?;
    // The first connections pay for what is allocated once.
    for run in 0..=runs {
        let (cpu, rate) = round(&mut load, running, 0)?;
        if run > 0 {
            measured.push(Measured::lower("handshake, server CPU (µs)", cpu));
            measured.push(Measured::higher("handshakes/s", rate));
        }
    }
    Ok(measured)
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
