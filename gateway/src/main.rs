//! `mooring-gateway`: see `mooring-gateway --help`.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use mooring_gateway::{Gateway, args::Args, logging, shutdown};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc at its start: memory of clients that are gone returns to the system within a second, off the shards' threads.
#[expect(unsafe_code, reason = "jemalloc finds its options by the name of a symbol")]
// SAFETY: the name is jemalloc's own, and a reference to an array is the pointer to a string that it declares.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

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
