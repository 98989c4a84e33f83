//! `mooring-gateway`: see `mooring-gateway --help`.

#[cfg(feature = "jemalloc")]
mod allocator;

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use mooring_gateway::{Gateway, args::Args, logging, shutdown};

fn main() -> ExitCode {
    let args = Args::parse();
    let result = logging::init(args.log_format, &args.log).map_err(Into::into).and_then(|()| run(&args));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_words(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let gateway = Gateway::start(args.settings()?)?;
    shutdown::forward_signals(gateway.stopper())?;
    Ok(gateway.wait()?)
}
