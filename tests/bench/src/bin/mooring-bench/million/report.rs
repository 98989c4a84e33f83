//! The figures of a million connections, and whether they are worth anything.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use super::{
    hold::{Counts, tenths},
    machine::{Footprint, Usage},
};
use crate::table::{median, number};

/// The interval that figures of pings are for.
const PING_INTERVAL: f64 = 25.0;

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    pub protocol: &'static str,
    pub connections: usize,
    /// Gateways; as many processes hold their clients.
    pub processes: usize,
    pub opening: Duration,
    /// Without connections, and with all of them.
    pub before: Footprint,
    pub held: Footprint,
    pub idle: Idle,
    pub publishes: Vec<Publish>,
    pub end: Counts,
    /// TCP sockets in the end: two for each connection, and some of the servers' own.
    pub tcp: u64,
}

/// A span in which nothing but pings happened.
#[derive(Debug)]
pub struct Idle {
    pub usage: Usage,
    pub took: Duration,
    /// How long the holders counted pings.
    pub counted: Duration,
    pub counts: Counts,
}

/// How long a message took to its recipients, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish {
    pub recipients: u64,
    pub first: f64,
    pub median: f64,
    pub p99: f64,
    pub last: f64,
}

impl Publish {
    /// `heard` counts recipients by when they had it, in tenths of milliseconds since the Unix epoch.
    pub fn new(at: SystemTime, heard: BTreeMap<u64, u64>) -> Self {
        let recipients = heard.values().sum();
        let at = tenths(at);
        let reached = |share: f64| {
            let mut left = (recipients as f64 * share).ceil().max(1.0) as u64;
            let when = heard.iter().find(|(_, count)| {
                left = left.saturating_sub(**count);
                left == 0
            });
            when.map_or(f64::NAN, |(when, _)| when.saturating_sub(at) as f64 / 10.0)
        };
        Self { recipients, first: reached(0.0), median: reached(0.5), p99: reached(0.99), last: reached(1.0) }
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recipients, first, median, p99, last } = self;
        write!(f, "reached {recipients}: first {first} ms, median {median}, 99 % {p99}, last {last}")
    }
}

impl Report {
    /// Whether every connection lived, was pinged while it was idle, and got each message exactly once.
    pub fn is_good(&self) -> bool {
        let expected = self.connections as u64 * self.publishes.len() as u64;
        let Counts { open, ended, tally, .. } = &self.end;
        (*open, *ended) == (self.connections, 0)
            && (tally.delivered, tally.lost, tally.repeated) == (expected, 0, 0)
            && self.idle.counts.fewest_pings > 0
    }

    /// One row per figure.
    pub fn markdown(&self) -> String {
        let rows = [self.held_rows(), self.memory_rows(), self.idle_rows(), self.publish_rows()].concat();
        let rows = rows.into_iter().map(|(figure, value)| format!("| {figure} | {value} |\n"));
        let verdict = if self.is_good() {
            ""
        } else {
            "\nNOT GOOD: see the connections that ended, the pings and the messages.\n"
        };
        format!("| {} | |\n|---|--:|\n{}{verdict}", self.protocol, rows.collect::<String>())
    }

    fn held_rows(&self) -> Vec<(&'static str, String)> {
        let Counts { open, ended, trouble, .. } = &self.end;
        let why = trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"));
        vec![
            ("connections open in the end", number(*open as f64)),
            ("connections that ended before", format!("{ended}{why}")),
            ("TCP sockets of both ends", number(self.tcp as f64)),
            ("gateways, and processes that hold the other ends", format!("{0} + {0}", self.processes)),
            ("time to open all (s)", number(self.opening.as_secs_f64())),
            (
                "handshakes/s, both ends and pings included",
                number(self.connections as f64 / self.opening.as_secs_f64()),
            ),
        ]
    }

    fn memory_rows(&self) -> Vec<(&'static str, String)> {
        let each = |bytes: u64| number(bytes as f64 / self.connections as f64);
        let (before, held) = (&self.before, &self.held);
        let grown = |of: fn(&Footprint) -> u64| of(held).saturating_sub(of(before));
        let all = |at: &Footprint| at.gateways + at.redis + at.load + at.memory.kernel;
        vec![
            ("gateway RSS per connection (bytes)", each(grown(|at| at.gateways))),
            ("the same, with all that the gateways hold without connections", each(held.gateways)),
            ("RSS of all gateways (MB)", number(held.gateways as f64 / 1e6)),
            (
                "kernel objects per connection, one of its two ends (bytes)",
                each(grown(|at| at.memory.slab) / 2),
            ),
            ("all kernel memory per connection, one end (bytes)", each(grown(|at| at.memory.kernel) / 2)),
            ("RSS of the load per connection (bytes)", each(grown(|at| at.load))),
            (
                "all of that, of both ends, per connection (bytes)",
                each(all(held).saturating_sub(all(before))),
            ),
        ]
    }

    fn idle_rows(&self) -> Vec<(&'static str, String)> {
        let Idle { usage, took, counted, counts } = &self.idle;
        let each =
            |cpu: Duration| number(cpu.as_secs_f64() * 1e6 / took.as_secs_f64() / self.connections as f64);
        let per_interval =
            counts.pings as f64 / self.connections as f64 / counted.as_secs_f64() * PING_INTERVAL;
        vec![
            ("idle connection, CPU of its gateway (µs/s)", each(usage.gateways)),
            ("idle connection, CPU of its holder (µs/s)", each(usage.load)),
            ("CPU of Redis (% of a core)", number(usage.redis.as_secs_f64() / took.as_secs_f64() * 100.0)),
            ("the machine's CPU in use (%)", number(usage.busy as f64 / usage.all.max(1) as f64 * 100.0)),
            ("pings answered per connection and 25 s", number(per_interval)),
            ("pings answered by the connection that had the fewest", counts.fewest_pings.to_string()),
        ]
    }

    fn publish_rows(&self) -> Vec<(&'static str, String)> {
        let of = |value: fn(&Publish) -> f64| number(median(self.publishes.iter().map(value).collect()));
        let tally = &self.end.tally;
        vec![
            ("messages published, each to all", self.publishes.len().to_string()),
            ("to the first recipient (ms)", of(|publish| publish.first)),
            ("to the median recipient (ms)", of(|publish| publish.median)),
            ("to 99 % of the recipients (ms)", of(|publish| publish.p99)),
            ("to the last recipient (ms)", of(|publish| publish.last)),
            ("deliveries/s", of(|publish| publish.recipients as f64 / publish.last * 1e3)),
            ("delivered", number(tally.delivered as f64)),
            ("lost", tally.lost.to_string()),
            ("repeated", tally.repeated.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Tally;

    #[test]
    fn a_publish_is_told_by_its_first_median_and_last_recipient() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000);
        let heard = BTreeMap::from([(10_005, 1), (10_100, 98), (11_000, 1)]);
        let expected = Publish { recipients: 100, first: 0.5, median: 10.0, p99: 10.0, last: 100.0 };
        assert_eq!(Publish::new(at, heard), expected);
    }

    fn report(end: Counts, fewest_pings: u16) -> Report {
        let counts = Counts { fewest_pings, ..Counts::default() };
        let second = Duration::from_secs(1);
        Report {
            protocol: "raw",
            connections: 2,
            processes: 1,
            opening: second,
            before: Footprint::default(),
            held: Footprint::default(),
            idle: Idle { usage: Usage::default(), took: second, counted: second, counts },
            publishes: vec![Publish::new(SystemTime::UNIX_EPOCH, BTreeMap::from([(1, 2)]))],
            end,
            tcp: 4,
        }
    }

    #[test]
    fn a_run_is_good_when_all_lived_were_pinged_and_got_each_message_once() {
        let good = Counts { open: 2, tally: Tally { delivered: 2, ..Tally::default() }, ..Counts::default() };
        assert!(report(good.clone(), 1).is_good());
        assert!(!report(good.clone(), 0).is_good());
        assert!(!report(Counts { open: 1, ended: 1, ..good.clone() }, 1).is_good());
        let lost = Tally { delivered: 1, lost: 1, repeated: 0 };
        assert!(!report(Counts { tally: lost, ..good.clone() }, 1).is_good());
        let repeated = Tally { delivered: 2, lost: 0, repeated: 1 };
        assert!(!report(Counts { tally: repeated, ..good }, 1).is_good());
    }
}
