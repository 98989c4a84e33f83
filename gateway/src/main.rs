//! `mooring-gateway`: see `mooring-gateway --help`.

#[cfg(feature = "jemalloc")]
mod allocator;

use std::{
    error::Error,
    io::{self, Write as _},
    process::{self, ExitCode},
    time::Duration,
};

use clap::Parser as _;
use mooring_gateway::{
    Gateway,
    args::{Args, Cli, Command},
    logging, probe, shutdown,
};

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
    // The first signal drains it, the second one ends it.
    let stopper = gateway.stopper();
    shutdown::forward_signals(move || stopper.stop())?;
    Ok(gateway.wait()?)
}

#[expect(clippy::exit, reason = "it blocks in its socket, and holds nothing that has an end of its own")]
fn probe(url: &str, limit: Duration) -> Result<(), Box<dyn Error>> {
    shutdown::forward_signals(|| process::exit(1))?;
    // Nobody is left to tell when these lines cannot be written.
    probe::probe(url, limit, |reason| drop(writeln!(io::stderr(), "not yet: {reason}")))?;
    Ok(writeln!(io::stdout(), "{url}: a message went from one client to another")?)
}
