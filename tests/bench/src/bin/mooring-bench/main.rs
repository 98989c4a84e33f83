//! `mooring-bench`: the gateway and its peers side by side, the same work on the same core. See `tests/bin/bench` and
//! docs/performance.md.

mod audit;
mod cgroup;
mod check;
mod cluster;
mod dialect;
mod figures;
mod floor;
mod frames;
mod load;
mod message;
mod million;
mod outages;
mod peers;
mod process;
mod pusher;
mod table;

use std::{
    error::Error,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    figures::{Figure, Size},
    load::LoadError,
    peers::{Peer, Places},
    table::{Measured, Table},
};

/// Measures the gateway and its peers.
#[derive(Debug, Parser)]
#[command(name = "mooring-bench", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as the floor: one epoll loop, one write per socket and message, no protocol.
    Floor {
        /// One write per socket for all messages of a turn of the loop.
        #[arg(long)]
        coalesce: bool,
        /// Where to listen.
        address: SocketAddr,
        /// The Redis that messages go through, if any.
        #[arg(long)]
        redis: Option<SocketAddr>,
    },
    /// Measure servers, one after the other, and print the table.
    Run(RunArgs),
    /// Hold a million connections, and publish to all of them.
    Million(million::MillionArgs),
    /// Hold some of them; started by `million`.
    #[command(hide = true)]
    Hold(million::hold::HoldArgs),
    /// Play each failure of Redis to gateways with clients, and print what clients noticed.
    Outages(outages::OutagesArgs),
    /// Count the gateway's instructions per unit of work and compare them with the record.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// Directory for logs.
    #[arg(long)]
    state: PathBuf,
    /// File of the recorded counts.
    #[arg(long)]
    record: PathBuf,
    /// Write the record instead.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// Directory of the peers' programs.
    #[arg(long)]
    tools: PathBuf,
    /// Directory of our servers on others' libraries.
    #[arg(long)]
    scripts: PathBuf,
    /// Directory for logs.
    #[arg(long)]
    state: PathBuf,
    /// Servers, in the order of the columns.
    #[arg(long, value_delimiter = ',', value_parser = peer, default_values = Peer::ALL.map(Peer::name))]
    peers: Vec<Peer>,
    /// Figures.
    #[arg(long, value_delimiter = ',', default_values = ["idle", "handshakes", "fanout", "open-loop", "echo", "backplane", "history", "recovery", "growth"])]
    figures: Vec<Figure>,
    /// Idle connections.
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Subscribers of the larger fan-out, and clients that recover.
    #[arg(long, default_value_t = 10_000)]
    subscribers: usize,
    /// Rounds through the servers, of which the median is taken.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

fn peer(name: &str) -> Result<Peer, String> {
    let names = || Peer::ALL.map(Peer::name).join(", ");
    Peer::ALL
        .into_iter()
        .find(|peer| peer.name() == name)
        .ok_or_else(|| format!("the servers are {}", names()))
}

fn main() -> ExitCode {
    match obey(Args::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("mooring-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether what was measured is good.
fn obey(command: Command) -> Result<bool, Box<dyn Error>> {
    match command {
        Command::Floor { coalesce, address, redis } => floor::run(address, redis, coalesce)?,
        Command::Run(args) => run(&args)?,
        Command::Million(args) => {
            let (report, good) = million::run(&args)?;
            io::stdout().write_all(report.as_bytes())?;
            return Ok(good);
        }
        Command::Hold(args) => million::hold::run(&args)?,
        Command::Outages(args) => {
            let (report, good) = outages::run(&args)?;
            io::stdout().write_all(report.as_bytes())?;
            return Ok(good);
        }
        Command::Check(args) => return Ok(check(&args)?),
    }
    Ok(true)
}

fn run(args: &RunArgs) -> Result<(), LoadError> {
    let places = Places {
        gateway: args.gateway.clone(),
        tools: args.tools.clone(),
        scripts: args.scripts.clone(),
        state: args.state.clone(),
        redis: None,
        shards: 1,
    };
    for figure in &args.figures {
        let mut table = Table::default();
        for (peer, measured) in measure(*figure, args, &places)? {
            table.add(peer, measured);
        }
        // At once: what is measured so far is not to be lost with what fails later.
        writeln!(io::stdout(), "# {}\n\n{}", figure.title(), table.markdown(&args.peers))?;
    }
    Ok(())
}

/// Measures all servers in turn, and then again, the other way round: what changes on the machine meanwhile falls to each of them.
fn measure(figure: Figure, args: &RunArgs, places: &Places) -> Result<Vec<(Peer, Vec<Measured>)>, LoadError> {
    let size = Size { connections: args.connections, subscribers: args.subscribers };
    let peers = args.peers.iter().filter(|peer| figure.applies_to(**peer));
    let mut servers: Vec<(Peer, Vec<Measured>)> = peers.map(|peer| (*peer, Vec::new())).collect();
    for round in 1..=args.runs {
        let mut good = Vec::new();
        for (peer, mut measured) in servers {
            say(&format!("{figure:?} {round}/{}: {}", args.runs, peer.name()));
            // A peer that fails once has no such figure; ours must not fail.
            match figure.measure(peer, places, size) {
                Ok(more) => {
                    measured.extend(more);
                    good.push((peer, measured));
                }
                Err(error) if peer.is_ours() => return Err(error),
                Err(error) => say(&format!("{figure:?}: {}: {error}", peer.name())),
            }
        }
        good.reverse();
        servers = good;
    }
    Ok(servers)
}

fn check(args: &CheckArgs) -> Result<bool, LoadError> {
    let places = Places::without_peers(&args.gateway, &args.state);
    let (report, good) = check::run(&places, &args.record, args.write)?;
    io::stdout().write_all(report.as_bytes())?;
    Ok(good)
}

fn say(text: &str) {
    // Nobody to tell when this fails.
    let _ = writeln!(io::stderr(), "{text}");
}
