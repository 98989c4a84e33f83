//! `mooring-gateway`: see `mooring-gateway --help`.

#[cfg(feature = "jemalloc")]
mod allocator;

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
