//! From a publish on one server to the delivery on another, through Redis.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    AT_ONCE,
    paced::{Offer, Outcome},
    rest,
};
use crate::{
    audit::{Audit, Tally},
    load::{Load, LoadError},
    peers::Running,
    table::{Measured, percentile},
};

/// Publishers take turns, so that none waits for an answer before its next message.
const PUBLISHERS: usize = 32;
const FAN_OUT: usize = 100;
/// Messages per second of an idle server.
const SELDOM: f64 = 100.0;
const RUN: Duration = Duration::from_secs(2);
/// Paced messages at least, so that one of a hundred is ten.
const SAMPLES: u64 = 1_000;
const DRAIN: Duration = Duration::from_secs(3);

/// `here` is published to; subscribers are `there`.
pub fn measure(here: &Running, there: &Running) -> Result<Vec<Measured>, LoadError> {
    let mut measured = Vec::new();
    // First, so that what is compiled or allocated once is there for the rest.
    let most = most(here, there)?;
    measured.push(Measured::higher("through Redis, fan-out 100: messages/s at most", most));
    let half = paced(here, there, FAN_OUT, most / 2.0)?;
    measured.extend(percentiles("through Redis, fan-out 100, half of that, to the last", &half));
    measured.extend(percentiles("through Redis, idle", &paced(here, there, 1, SELDOM)?));
    Ok(measured)
}

fn percentiles(name: &str, sorted: &[Duration]) -> [Measured; 2] {
    [("p50", 0.5), ("p99", 0.99)]
        .map(|(text, share)| Measured::lower(format!("{name}: {text} (ms)"), percentile(sorted, share)))
}

fn connect(here: &Running, there: &Running, subscribers: usize) -> Result<Load, LoadError> {
    let mut load = Load::new()?;
    load.open(&there.subscriber(), subscribers, AT_ONCE)?;
    load.open(&here.publisher(), PUBLISHERS, AT_ONCE)?;
    rest(&mut load)?;
    Ok(load)
}

/// Latencies to the last subscriber with so many publishes per second, sorted.
fn paced(here: &Running, there: &Running, subscribers: usize, rate: f64) -> Result<Vec<Duration>, LoadError> {
    let mut load = connect(here, there, subscribers)?;
    let offer = Offer { subscribers, publishers: PUBLISHERS, rate, time: RUN, samples: SAMPLES };
    match offer.make(&mut load)? {
        Outcome::Served(latencies) => Ok(latencies),
        Outcome::Behind(tally) => {
            Err(LoadError::Refused(format!("behind at {rate:.0} messages/s: {tally:?}")))
        }
    }
}

/// Messages per second when each publisher waits for its last message to reach everybody.
fn most(here: &Running, there: &Running) -> Result<f64, LoadError> {
    let mut load = connect(here, there, FAN_OUT)?;
    let mut audit = Audit::new(FAN_OUT, PUBLISHERS);
    let started = Instant::now();
    let mut due: VecDeque<usize> = (0..PUBLISHERS).collect();
    while started.elapsed() < RUN {
        for publisher in due.drain(..) {
            let sequence = audit.publish(publisher, started.elapsed());
            load.publish(FAN_OUT + publisher, publisher as u8, sequence)?;
        }
        due.extend(turn(&mut load, &mut audit, started, Duration::from_millis(100))?);
    }
    let rate = audit.delivered() as f64 / FAN_OUT as f64 / started.elapsed().as_secs_f64();
    drain(&mut load, audit, started)?;
    Ok(rate)
}

fn turn(
    load: &mut Load,
    audit: &mut Audit,
    started: Instant,
    wait: Duration,
) -> Result<Vec<usize>, LoadError> {
    let mut done = Vec::new();
    load.turn(wait, |connection, (publisher, sequence)| {
        if audit.receive(connection, publisher.into(), sequence, || started.elapsed()) {
            done.push(publisher.into());
        }
    })?;
    Ok(done)
}

/// Waits for the rest; a message that is lost or repeated ends the figure.
fn drain(load: &mut Load, mut audit: Audit, started: Instant) -> Result<(), LoadError> {
    let deadline = Instant::now() + DRAIN;
    while !audit.is_settled() && Instant::now() < deadline {
        turn(load, &mut audit, started, Duration::from_millis(100))?;
    }
    match audit.finish().0 {
        Tally { lost: 0, repeated: 0, .. } => Ok(()),
        wrong => Err(LoadError::Refused(format!("{wrong:?}"))),
    }
}
