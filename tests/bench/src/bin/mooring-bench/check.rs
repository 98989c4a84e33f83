//! What the gateway's own code costs per unit of work, in instructions, held against a record: unlike times, instructions do not
//! depend on what else the machine does.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    audit::Audit,
    dialect::CHANNEL,
    load::{Endpoint, Load, LoadError},
    peers::{self, Peer, Places},
    process::{self, Server},
};

/// Counts of one binary are up to 2.5 % apart on a busy machine.
const TOLERANCE: f64 = 0.03;
/// The emulated gateway is some fifty times slower.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// For the emulator to obey.
const OBEYED_WITHIN: &str = "60";
/// So many that what is done once per publish, and threads that wake or do not, are a small part.
const SUBSCRIBERS: usize = 250;
/// Units of a batch; one publish reaches all subscribers.
const HANDSHAKES: usize = 60;
const PUBLISHES: usize = 16;
/// Batches that are counted. The first one is not: it pays for what is allocated once.
const BATCHES: usize = 12;
/// What looks worse is counted again: the busier the machine, the longer a batch takes, and the gateway's timers go on meanwhile.
const ATTEMPTS: usize = 3;

/// A unit of work. What there is of it at once arrives at once: how it is grouped is not left to chance.
#[derive(Clone, Copy)]
enum Work {
    /// One of a batch of handshakes.
    Handshake(Peer),
    /// One delivery, with so many publishes at once.
    Delivery(Peer, usize),
}

const WORKS: [(&str, Work); 5] = [
    ("handshake raw", Work::Handshake(Peer::Raw)),
    ("handshake centrifuge", Work::Handshake(Peer::Centrifuge)),
    ("delivery raw 1", Work::Delivery(Peer::Raw, 1)),
    ("delivery centrifuge 1", Work::Delivery(Peer::Centrifuge, 1)),
    ("delivery centrifuge 8", Work::Delivery(Peer::Centrifuge, 8)),
];

/// Counts; then writes the record, or compares with it. The report, and whether nothing is worse than recorded.
pub fn run(places: &Places, record: &Path, write: bool) -> Result<(String, bool), LoadError> {
    let recorded = if write { BTreeMap::new() } else { parse(&fs::read_to_string(record)?) };
    let mut emulator = Emulator::start(places)?;
    let mut counts = BTreeMap::new();
    for (name, work) in WORKS {
        let enough = recorded.get(name).map_or(0.0, |then| then * (1.0 + TOLERANCE));
        counts.insert(name.to_owned(), least(enough, || work.count(&mut emulator))?);
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
    Ok(compare(&counts, &recorded))
}

/// The least of some attempts, which end with one that is little enough.
fn least<E>(enough: f64, mut count: impl FnMut() -> Result<f64, E>) -> Result<f64, E> {
    let mut least = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        least = least.min(count()?);
        if least <= enough {
            break;
        }
    }
    Ok(least)
}

impl Work {
    /// Instructions per unit: the least of the batches, since threads take turns by chance, and what is added thereby is never less than
    /// nothing.
    fn count(self, emulator: &mut Emulator) -> Result<f64, LoadError> {
        let mut load = Load::new()?;
        if let Self::Delivery(peer, _) = self {
            load.open(&peer.subscriber_at(emulator.address, CHANNEL), SUBSCRIBERS, 1)?;
            load.open(&peer.publisher_at(emulator.address, CHANNEL), 1, 1)?;
        }
        let mut least = f64::INFINITY;
        for batch in 0..=BATCHES {
            let units = self.batch(&mut load, emulator)?;
            let instructions = emulator.instructions_since()?;
            if batch > 0 {
                least = least.min(instructions as f64 / units as f64);
            }
        }
        Ok(least)
    }

    /// Does some units; how many.
    fn batch(self, load: &mut Load, emulator: &Emulator) -> Result<usize, LoadError> {
        match self {
            Self::Handshake(peer) => {
                shake_hands(load, emulator, &peer.subscriber_at(emulator.address, CHANNEL))?;
                Ok(HANDSHAKES)
            }
            Self::Delivery(peer, at_once) => {
                deliver(load, &peer.publisher_at(emulator.address, CHANNEL), at_once)?;
                Ok(PUBLISHES * SUBSCRIBERS)
            }
        }
    }
}

/// Opens connections whose requests are all there when the gateway comes to look.
fn shake_hands(load: &mut Load, emulator: &Emulator, endpoint: &Endpoint) -> Result<(), LoadError> {
    let endpoint = Rc::new(endpoint.clone());
    let mut paused = true;
    emulator.server.pause()?;
    load.open_each(std::iter::repeat_n(endpoint, HANDSHAKES), HANDSHAKES, |load| {
        load.turn(Duration::from_millis(10), |_, _| {})?;
        if paused && load.shaking() == HANDSHAKES {
            emulator.server.resume()?;
            paused = false;
        }
        Ok(())
    })
}

/// Publishes `at_once` messages, waits until they have reached everybody, and so on.
fn deliver(load: &mut Load, publisher: &Endpoint, at_once: usize) -> Result<(), LoadError> {
    let mut audit = Audit::new(SUBSCRIBERS, 1);
    let deadline = Instant::now() + SETTLED_WITHIN;
    for _ in 0..PUBLISHES / at_once {
        let messages = (0..at_once).flat_map(|_| publisher.publish(0, audit.publish(0, Duration::ZERO)));
        load.send(SUBSCRIBERS, &messages.collect::<Vec<u8>>())?;
        while !audit.is_settled() {
            if Instant::now() > deadline {
                return Err(LoadError::Refused(format!("not delivered in time: {:?}", audit.finish().0)));
            }
            load.turn(Duration::from_millis(100), |subscriber, (publisher, sequence)| {
                audit.receive(subscriber, publisher.into(), sequence, || Duration::ZERO);
            })?;
        }
    }
    Ok(())
}

/// A gateway that callgrind runs.
struct Emulator {
    server: Server,
    address: SocketAddr,
    file: PathBuf,
    dumps: usize,
}

impl Emulator {
    fn start(places: &Places) -> Result<Self, LoadError> {
        let file = places.state.join("callgrind.out");
        let address = process::free_address()?;
        let mut valgrind = process::anywhere("valgrind");
        valgrind
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(&places.gateway);
        let mut command = peers::gateway(valgrind, places, address)?;
        let server = Server::start("callgrind", &mut command, address, &places.state)?;
        Ok(Self { server, address, file, dumps: 0 })
    }

    /// Instructions since the last count.
    fn instructions_since(&mut self) -> Result<u64, LoadError> {
        let pid = format!("--pid={}", self.server.pid());
        let obeyed = Command::new("timeout").args([OBEYED_WITHIN, "vgdb", &pid, "dump"]).output()?;
        if !obeyed.status.success() {
            let said = String::from_utf8_lossy(&obeyed.stderr);
            return Err(io::Error::other(format!("vgdb: {}: {}", obeyed.status, said.trim())).into());
        }
        self.dumps += 1;
        let dump = PathBuf::from(format!("{}.{}", self.file.display(), self.dumps));
        let text = fs::read_to_string(&dump)?;
        fs::remove_file(&dump)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        Ok(total.ok_or_else(|| io::Error::other(format!("{} has no totals", dump.display())))?)
    }
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

fn compare(counts: &BTreeMap<String, f64>, recorded: &BTreeMap<String, f64>) -> (String, bool) {
    let mut report = String::new();
    let mut failed = 0;
    for (name, now) in counts {
        let (then, verdict) = match recorded.get(name) {
            None => (0.0, "NOT RECORDED"),
            Some(then) if *now > then * (1.0 + TOLERANCE) => (*then, "WORSE"),
            Some(then) if *now < then * (1.0 - TOLERANCE) => (*then, "better: make bench-check RECORD=1"),
            Some(then) => (*then, "ok"),
        };
        failed += usize::from(matches!(verdict, "NOT RECORDED" | "WORSE"));
        report += &format!("{name:24} recorded {then:8.0}  now {now:8.0}  {verdict}\n");
    }
    report += &format!("bench-check: {} passed, {failed} failed\n", counts.len() - failed);
    (report, failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_worse_is_counted_again_and_what_is_worse_stays_so() {
        let attempts = |enough: f64, counts: [f64; ATTEMPTS]| {
            let mut counts = counts.into_iter();
            let least = least(enough, || counts.next().ok_or("asked too often"));
            (least, counts.len())
        };
        assert_eq!(attempts(103.0, [102.0, 0.0, 0.0]), (Ok(102.0), 2));
        assert_eq!(attempts(103.0, [110.0, 103.0, 0.0]), (Ok(103.0), 1));
        assert_eq!(attempts(103.0, [110.0, 104.0, 120.0]), (Ok(104.0), 0));
    }

    #[test]
    fn more_instructions_than_recorded_are_told_from_noise() {
        let recorded = parse("# a comment\na: 100\nb: 100\n");
        let now = |a: f64| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), 98.0)]);
        assert!(compare(&now(102.9), &recorded).1);
        assert!(!compare(&now(103.1), &recorded).1);
        assert!(!compare(&BTreeMap::from([("c".to_owned(), 1.0)]), &recorded).1);
    }
}
