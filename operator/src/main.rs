//! `mooring-operator`: see `mooring-operator --help`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use mooring_operator::args::{Cli, Command, RunArgs};
use mooring_operator::runtime;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Some(Command::Crd) => operator_core::crd::crd_yaml().map_err(Into::into).and_then(|crd| print(&crd)),
        Some(Command::Reference) => print(&operator_core::crd::reference()),
        Some(Command::ConfigurationReference) => print(&operator_core::crd::configuration_reference()),
        None => run(cli.run),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when this cannot be written.
            let _ = writeln!(std::io::stderr(), "mooring-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn run(args: RunArgs) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(&args.log)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(runtime::run(args))?)
}
