//! Log lines on standard error.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::args::LogFormat;

/// Logs what the filter lets through from here on.
pub fn init(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    let filter = filter.parse::<EnvFilter>()?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Says why the process ends, whatever the filter.
pub fn last_words(error: &dyn Error) {
    // There is nobody left to tell that standard error is closed.
    let _ = writeln!(io::stderr(), "mooring-gateway: {error}");
}
