//! Echo: each of a number of connections has one message under way, there and back.

use std::time::{Duration, Instant};

use super::{AT_ONCE, micros};
use crate::{
    dialect::Dialect,
    load::{Load, LoadError},
    message,
    peers::Running,
    table::Measured,
};

const CONNECTIONS: usize = 100;
const WARM_UP: Duration = Duration::from_millis(300);
const RUN: Duration = Duration::from_millis(1_500);

pub fn measure(running: &Running) -> Result<Vec<Measured>, LoadError> {
    let Some(endpoint) = running.echo() else { return Ok(Vec::new()) };
    let mut load = Load::new()?;
    load.open(&endpoint, CONNECTIONS, AT_ONCE)?;
    let mut next = vec![0; CONNECTIONS];
    for index in 0..CONNECTIONS {
        send(&mut load, index, 0)?;
    }
    exchange(&mut load, &mut next, WARM_UP)?;
    let (cpu, started) = (running.server.cpu(), Instant::now());
    let echoes = exchange(&mut load, &mut next, RUN)?;
    let (cpu, took) = (running.server.cpu() - cpu, started.elapsed());
    Ok(vec![
        Measured::lower("echo, server CPU (µs)", micros(cpu, echoes)),
        Measured::higher("echoes/s", echoes as f64 / took.as_secs_f64()),
    ])
}

/// Answers each echo with the next message; how many came. One that is not the expected one ends the run.
fn exchange(load: &mut Load, next: &mut [u32], time: Duration) -> Result<u64, LoadError> {
    let until = Instant::now() + time;
    let mut echoes = 0;
    let mut came = Vec::new();
    while Instant::now() < until {
        load.turn(Duration::from_millis(100), |index, (_, sequence)| came.push((index, sequence)))?;
        for (index, sequence) in came.drain(..) {
            if sequence != next[index] {
                return Err(LoadError::Refused(format!("echo {sequence} came for {}", next[index])));
            }
            next[index] += 1;
            send(load, index, next[index])?;
            echoes += 1;
        }
    }
    Ok(echoes)
}

fn send(load: &mut Load, index: usize, sequence: u32) -> Result<(), LoadError> {
    load.send(index, &Dialect::Bare.publish("", "", &message::encode(0, sequence)))
}
