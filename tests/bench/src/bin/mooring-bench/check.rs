//! What the gateway's own code costs per unit of work, in instructions, held against a record: unlike times, instructions do not
//! depend on what else the machine does.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    audit::Audit,
    load::{Load, LoadError},
    peers::{self, Peer, Places, Running},
    process::{self, Server},
};

/// Threads take turns by chance, so counts vary by a few per cent.
const TOLERANCE: f64 = 0.10;
/// The emulated gateway is some fifty times slower.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const SUBSCRIBERS: usize = 100;
/// A run does this many units, another one three times as many: the difference leaves out what is done once.
const HANDSHAKES: usize = 200;
const ROUNDS: usize = 40;

/// A unit of work.
#[derive(Clone, Copy)]
enum Work {
    Handshake(Peer),
    /// One delivery, with so many publishes at once.
    Delivery(Peer, usize),
}

const WORKS: [(&str, Work); 5] = [
    ("handshake raw", Work::Handshake(Peer::Raw)),
    ("handshake centrifuge", Work::Handshake(Peer::Centrifuge)),
    ("delivery raw 1", Work::Delivery(Peer::Raw, 1)),
    ("delivery raw 8", Work::Delivery(Peer::Raw, 8)),
    ("delivery centrifuge 1", Work::Delivery(Peer::Centrifuge, 1)),
];

/// Counts; then writes the record, or compares with it. The report, and whether nothing is worse than recorded.
pub fn run(places: &Places, record: &Path, write: bool) -> Result<(String, bool), LoadError> {
    let mut counts = BTreeMap::new();
    for (name, work) in WORKS {
        counts.insert(name.to_owned(), work.count(places)?);
    }
    if write {
        let lines = counts.iter().map(|(name, count)| format!("{name}: {count:.0}\n"));
        let text = format!(
            "# Instructions of the gateway per unit of work; written by `make bench-check RECORD=1`.\n{}",
            lines.collect::<String>()
        );
        fs::write(record, &text)?;
        return Ok((text, true));
    }
    Ok(compare(&counts, &parse(&fs::read_to_string(record)?)))
}

impl Work {
    fn count(self, places: &Places) -> Result<f64, LoadError> {
        let (few, units) = self.instructions(places, 1)?;
        let (many, more) = self.instructions(places, 3)?;
        Ok(many.saturating_sub(few) as f64 / (more - units) as f64)
    }

    /// All instructions of a gateway that did `times` the work, and the units of it.
    fn instructions(self, places: &Places, times: usize) -> Result<(u64, usize), LoadError> {
        match self {
            Self::Handshake(peer) => {
                let count = HANDSHAKES * times;
                emulated(peer, places, |running| Load::new()?.open(&running.subscriber(), count, 1))
                    .map(|all| (all, count))
            }
            Self::Delivery(peer, at_once) => {
                let rounds = ROUNDS * times;
                emulated(peer, places, |running| deliver(running, at_once, rounds))
                    .map(|all| (all, rounds * at_once * SUBSCRIBERS))
            }
        }
    }
}

/// Publishes `at_once` messages, waits until they have reached everybody, and so on.
fn deliver(running: &Running, at_once: usize, rounds: usize) -> Result<(), LoadError> {
    let mut load = Load::new()?;
    load.open(&running.subscriber(), SUBSCRIBERS, 1)?;
    load.open(&running.publisher(), at_once, 1)?;
    let mut audit = Audit::new(SUBSCRIBERS, at_once);
    let deadline = Instant::now() + SETTLED_WITHIN;
    for _ in 0..rounds {
        for publisher in 0..at_once {
            let sequence = audit.publish(publisher, Duration::ZERO);
            load.publish(SUBSCRIBERS + publisher, publisher as u8, sequence)?;
        }
        while !audit.is_settled() {
            if Instant::now() > deadline {
                return Err(LoadError::Refused(format!("{:?} of {rounds} rounds", audit.finish().0)));
            }
            load.turn(Duration::from_millis(100), |subscriber, (publisher, sequence)| {
                audit.receive(subscriber, publisher.into(), sequence, || Duration::ZERO);
            })?;
        }
    }
    Ok(())
}

/// Instructions of a gateway that callgrind runs, from its start to its end.
fn emulated(
    peer: Peer,
    places: &Places,
    work: impl FnOnce(&Running) -> Result<(), LoadError>,
) -> Result<u64, LoadError> {
    let file = places.state.join("callgrind.out");
    let address = process::free_address()?;
    let mut valgrind = process::on_core("0,1", "valgrind");
    valgrind
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(&places.gateway);
    let mut command = peers::gateway(valgrind, places, address)?;
    let server = Server::start("callgrind", &mut command, address, &places.state)?;
    let running = Running::at(peer, server, address);
    work(&running)?;
    drop(running);
    let text = fs::read_to_string(&file)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    Ok(total.ok_or_else(|| io::Error::other(format!("{} has no totals", file.display())))?)
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

fn compare(counts: &BTreeMap<String, f64>, recorded: &BTreeMap<String, f64>) -> (String, bool) {
    let mut report = String::new();
    let mut good = true;
    for (name, now) in counts {
        let (then, verdict) = match recorded.get(name) {
            None => (0.0, "NOT RECORDED"),
            Some(then) if *now > then * (1.0 + TOLERANCE) => (*then, "WORSE"),
            Some(then) if *now < then * (1.0 - TOLERANCE) => (*then, "better: make bench-check RECORD=1"),
            Some(then) => (*then, "ok"),
        };
        good &= !matches!(verdict, "NOT RECORDED" | "WORSE");
        report += &format!("{name:24} recorded {then:8.0}  now {now:8.0}  {verdict}\n");
    }
    (report, good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_instructions_than_recorded_are_told_from_noise() {
        let recorded = parse("# a comment\na: 100\nb: 100\n");
        let now = |a: f64| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), 95.0)]);
        assert!(compare(&now(109.0), &recorded).1);
        assert!(!compare(&now(111.0), &recorded).1);
        assert!(!compare(&BTreeMap::from([("c".to_owned(), 1.0)]), &recorded).1);
    }
}
