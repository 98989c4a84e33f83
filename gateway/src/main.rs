//! `mooring-gateway`: see `mooring-gateway --help`.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use mooring_gateway::{
    Gateway,
    args::{Args, Cli, Command},
    logging, probe, shutdown,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc at its start: memory of clients that are gone returns to the system within a second, off the shards' threads.
#[expect(unsafe_code, reason = "jemalloc finds its options by the name of a symbol")]
// SAFETY: the name is jemalloc's own, and a reference to an array is the pointer to a string that it declares.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Some(Command::Probe { url, timeout }) => probe(&url, Duration::from_secs(timeout.into())),
        None => serve(&cli.serve),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_words(&*error);
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<(), Box<dyn Error>> {
    logging::init(args.log_format, &args.log)?;
    let gateway = Gateway::start(args.settings()?)?;
    shutdown::forward_signals(gateway.stopper())?;
    Ok(gateway.wait()?)
}

fn probe(url: &str, limit: Duration) -> Result<(), Box<dyn Error>> {
    // Nobody is left to tell when these lines cannot be written.
    probe::probe(url, limit, |reason| drop(writeln!(io::stderr(), "not yet: {reason}")))?;
    Ok(writeln!(io::stdout(), "{url}: a message went from one client to another")?)
}
