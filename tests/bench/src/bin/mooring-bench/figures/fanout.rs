//! Fan-out: a message of 128 bytes to every subscriber, with a number of publishers of which each sends its next message once its last
//! one has reached everybody.

use std::time::{Duration, Instant};

use super::{AT_ONCE, Size, micros, rest};
use crate::{
    audit::{Audit, Tally},
    load::{Load, LoadError},
    peers::Running,
    table::{Measured, percentile},
};

const IN_FLIGHT: [usize; 4] = [1, 2, 8, 32];
/// Not measured: caches and buffers take their sizes.
const WARM_UP: Duration = Duration::from_millis(300);
const RUN: Duration = Duration::from_millis(1_500);
/// For the last messages to arrive.
const DRAIN: Duration = Duration::from_secs(20);

pub fn measure(running: &Running, size: Size) -> Result<Vec<Measured>, LoadError> {
    let mut measured = Vec::new();
    for subscribers in [size.subscribers / 10, size.subscribers] {
        let mut load = Load::new()?;
        load.open(&running.subscriber(), subscribers, AT_ONCE)?;
        rest(&mut load)?;
        for in_flight in IN_FLIGHT {
            // New ones, since servers close connections that have not published for some seconds.
            load.close_after(subscribers);
            load.open(&running.publisher(), in_flight, AT_ONCE)?;
            let run = run(&mut load, running, subscribers, in_flight)?;
            measured.extend(run.figures(&format!("fan-out {subscribers} × {in_flight}")));
        }
        load.close_after(0);
        running.server.settle();
    }
    Ok(measured)
}

/// Server CPU per delivery in µs; a message that is lost or repeated ends the figure.
pub fn cpu_per_delivery(
    load: &mut Load,
    running: &Running,
    subscribers: usize,
    in_flight: usize,
) -> Result<f64, LoadError> {
    let Run { tally, delivered, cpu, .. } = run(load, running, subscribers, in_flight)?;
    if tally.lost + tally.repeated > 0 {
        return Err(LoadError::Refused(format!("{tally:?}")));
    }
    Ok(micros(cpu, delivered))
}

struct Run {
    tally: Tally,
    /// Within the measured time.
    delivered: u64,
    cpu: Duration,
    took: Duration,
    latencies: Vec<Duration>,
}

impl Run {
    fn figures(self, name: &str) -> impl Iterator<Item = Measured> {
        let rate = self.delivered as f64 / self.took.as_secs_f64();
        let wrong = self.tally.lost + self.tally.repeated;
        [
            Measured::lower(
                format!("{name}: server CPU per delivery (µs)"),
                micros(self.cpu, self.delivered),
            ),
            Measured::higher(format!("{name}: deliveries/s"), rate),
            Measured::lower(format!("{name}: to the last, median (ms)"), percentile(&self.latencies, 0.5)),
        ]
        .into_iter()
        // Only shown when there is something wrong.
        .chain((wrong > 0).then(|| Measured::lower(format!("{name}: lost or repeated"), wrong as f64)))
    }
}

fn run(load: &mut Load, running: &Running, subscribers: usize, in_flight: usize) -> Result<Run, LoadError> {
    let mut audit = Audit::new(subscribers, in_flight);
    let started = Instant::now();
    let mut begun = None;
    let mut due: Vec<usize> = (0..in_flight).collect();
    while started.elapsed() < WARM_UP + RUN {
        for publisher in due.drain(..) {
            let sequence = audit.publish(publisher, started.elapsed());
            load.publish(subscribers + publisher, publisher as u8, sequence)?;
        }
        turn(load, &mut audit, started, &mut due)?;
        if begun.is_none() && started.elapsed() >= WARM_UP {
            begun = Some((running.server.cpu(), audit.delivered(), started.elapsed()));
        }
    }
    let (cpu, delivered, at) = begun.unwrap_or_default();
    let (cpu, delivered, took) =
        (running.server.cpu() - cpu, audit.delivered() - delivered, started.elapsed() - at);
    let deadline = Instant::now() + DRAIN;
    while !audit.is_settled() && Instant::now() < deadline {
        turn(load, &mut audit, started, &mut due)?;
    }
    let (tally, mut latencies) = audit.finish();
    latencies.sort_unstable();
    Ok(Run { tally, delivered, cpu, took, latencies })
}

fn turn(
    load: &mut Load,
    audit: &mut Audit,
    started: Instant,
    done: &mut Vec<usize>,
) -> Result<(), LoadError> {
    load.turn(Duration::from_millis(100), |connection, (publisher, sequence)| {
        let publisher = usize::from(publisher);
        if audit.receive(connection, publisher, sequence, || started.elapsed()) {
            done.push(publisher);
        }
    })
}
