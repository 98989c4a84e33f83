//! A million connections on one machine: as many gateways as the limit of open files asks for, joined by one Redis, and as many
//! processes that hold the other ends. What they cost while they are idle, and how long one publish takes to reach all of them.

mod cluster;
pub mod hold;
mod holders;
mod layout;
mod machine;
mod report;

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime},
};

use self::{
    cluster::Cluster,
    hold::{Counts, Order},
    holders::Holders,
    layout::Layout,
    machine::{Footprint, Usage},
    report::{Idle, Publish, Report},
};
use crate::{
    dialect::CHANNEL,
    load::{Load, LoadError},
    peers::{Peer, Places},
    say,
};

/// After the last handshake, until every connection has had its first ping and the time to answer it.
const SETTLE: Duration = Duration::from_secs(35);
/// How long idle connections are watched: two intervals of pings.
const WATCH: Duration = Duration::from_secs(50);
/// Between two publishes.
const REST: Duration = Duration::from_secs(5);
/// For what has no reason to take long.
const SOON: Duration = Duration::from_secs(30);
/// For all handshakes.
const OPENED_WITHIN: Duration = Duration::from_secs(1_200);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What to hold, and with what.
#[derive(Debug, clap::Args)]
pub struct MillionArgs {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// Directory for logs.
    #[arg(long)]
    state: PathBuf,
    /// Connections.
    #[arg(long, default_value_t = 1_000_000)]
    connections: usize,
    /// What they speak: raw or centrifuge.
    #[arg(long, default_value = Peer::Raw.name(), value_parser = protocol)]
    protocol: Peer,
    /// Messages, one after the other, each to all of them.
    #[arg(long, default_value_t = 3)]
    publishes: usize,
}

/// One of the gateway's protocols.
fn protocol(name: &str) -> Result<Peer, String> {
    let ours = Peer::ALL.into_iter().filter(|peer| peer.is_ours());
    ours.into_iter()
        .find(|peer| peer.name() == name)
        .ok_or_else(|| "the protocols are raw and centrifuge".to_owned())
}

/// Why it cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MillionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "a process may open {files} files here, and needs {spare} beside its connections; raise the limit with ulimit -n"
    )]
    Files { files: usize, spare: usize },
    #[error(
        "both ends of {connections} connections take some {needed} MB, and {available} MB are available; lower CONNECTIONS"
    )]
    Memory { connections: usize, needed: u64, available: u64 },
    #[error("holder {0} ended early; what it said is above")]
    HolderEnded(usize),
    #[error("{missing} of the holders did not answer within {} s", within.as_secs())]
    Late { missing: usize, within: Duration },
}

/// Measures; the report, and whether every connection lived, was pinged, and got each message once.
pub fn run(args: &MillionArgs) -> Result<(String, bool), MillionError> {
    let layout = Layout::new(args.connections, machine::open_files()?)?;
    layout.fits(machine::memory()?.available)?;
    let processes = layout.shares.len();
    say(&format!(
        "{processes} gateways, Redis, and {processes} processes that hold {} connections",
        args.connections
    ));
    let places = Places::without_peers(&args.gateway, &args.state);
    let cluster = Cluster::start(&places, &layout)?;
    let holders = Holders::start(&layout, &cluster.addresses, args.protocol)?;
    let mut run = Run { protocol: args.protocol, connections: args.connections, cluster, holders };
    let report = run.measure(args.publishes)?;
    say("closing");
    Ok((report.markdown(), report.is_good()))
}

struct Run {
    protocol: Peer,
    connections: usize,
    // The clients go first: gateways without clients end at once.
    holders: Holders,
    cluster: Cluster,
}

impl Run {
    fn measure(&mut self, publishes: usize) -> Result<Report, MillionError> {
        let before = self.footprint()?;
        let opening = self.open()?;
        say(&format!(
            "opened in {:.0} s; {} s until all were pinged",
            opening.as_secs_f64(),
            SETTLE.as_secs()
        ));
        thread::sleep(SETTLE);
        let held = self.footprint()?;
        say(&format!("idle for {} s", WATCH.as_secs()));
        let idle = self.watch()?;
        let publishes =
            (0..publishes).map(|sequence| self.publish(sequence as u32)).collect::<Result<_, _>>()?;
        thread::sleep(REST);
        let end = self.holders.tell(Order::Audit, SOON, |_| {})?;
        let tcp = machine::tcp_sockets()?;
        Ok(Report {
            protocol: self.protocol.name(),
            connections: self.connections,
            processes: self.cluster.addresses.len(),
            opening,
            before,
            held,
            idle,
            publishes,
            end: Counts::total(&end),
            tcp,
        })
    }

    fn open(&mut self) -> Result<Duration, MillionError> {
        let started = Instant::now();
        let mut told = started;
        self.holders.tell(Order::Open, OPENED_WITHIN, |open| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                say(&format!("{:4.0} s: {open} connections", started.elapsed().as_secs_f64()));
            }
        })?;
        Ok(started.elapsed())
    }

    fn watch(&mut self) -> Result<Idle, MillionError> {
        self.holders.tell(Order::Mark, SOON, |_| {})?;
        let (before, started) = (self.usage()?, Instant::now());
        thread::sleep(WATCH);
        let (usage, took) = (self.usage()? - before, started.elapsed());
        let counts = self.holders.tell(Order::Count, SOON, |_| {})?;
        // The holders count for as long as it takes to ask them.
        let counted = started.elapsed();
        Ok(Idle { usage, took, counted, counts: Counts::total(&counts) })
    }

    /// Publishes on the first gateway; everybody on every gateway gets it.
    fn publish(&mut self, sequence: u32) -> Result<Publish, MillionError> {
        thread::sleep(REST);
        self.holders.tell(Order::Expect, SOON, |_| {})?;
        let mut publisher = Load::new()?;
        publisher.open(&self.protocol.publisher_at(self.cluster.addresses[0], CHANNEL), 1, 1)?;
        let at = SystemTime::now();
        publisher.publish(0, 0, sequence)?;
        // What the gateway answers; a refusal ends the run.
        publisher.turn(SOON, |_, _| {})?;
        let counts = self.holders.tell(Order::Await, hold::AWAIT + SOON, |_| {})?;
        let publish = Publish::new(at, Counts::total(&counts).heard);
        say(&format!("message {sequence} {publish}"));
        Ok(publish)
    }

    fn usage(&self) -> Result<Usage, MillionError> {
        let (busy, all) = machine::cpu()?;
        let gateways = self.cluster.cpu();
        Ok(Usage { gateways, redis: self.cluster.redis.server.cpu(), load: self.holders.cpu(), busy, all })
    }

    fn footprint(&self) -> Result<Footprint, MillionError> {
        machine::forget_names();
        let memory = machine::memory()?;
        Ok(Footprint {
            gateways: self.cluster.rss(),
            redis: self.cluster.redis.server.rss(),
            load: self.holders.rss(),
            memory,
        })
    }
}
