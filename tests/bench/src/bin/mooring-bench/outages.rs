//! What clients notice of each failure of Redis: gateways, a Redis and clients of their own for each failure and kind of fleet.

mod cell;
mod engine;
mod fault;
mod report;
mod stand;

use std::{io, path::PathBuf, time::Duration};

use clap::ValueEnum;
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

use self::{
    cell::{Cell, Fleet},
    fault::Fault,
};
use crate::say;

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug, clap::Args)]
pub struct OutagesArgs {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// Directory for logs and for what Redis keeps.
    #[arg(long)]
    state: PathBuf,
    /// Failures; all when absent.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Kinds of fleets; all when absent.
    #[arg(long, value_delimiter = ',')]
    fleets: Vec<Fleet>,
    /// Clients of a fleet.
    #[arg(long, default_value_t = 400)]
    clients: usize,
    /// Seconds that a failure lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    fault_seconds: f64,
    /// Seconds for which Redis is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    stopped_seconds: f64,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum OutagesError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
}

/// The table, and whether it is as it has to be.
pub fn run(args: &OutagesArgs) -> Result<(String, bool), OutagesError> {
    let faults = chosen(&args.faults);
    let fleets = chosen(&args.fleets);
    let mut cells = Vec::new();
    for fault in &faults {
        for fleet in &fleets {
            let cell = measure(args, *fault, *fleet)
                .map_err(|error| OutagesError::Failed(format!("{fault}, {fleet}: {error}")))?;
            say(&format!("{fault}, {fleet}: {cell}"));
            cells.push((*fault, *fleet, cell));
        }
    }
    Ok((report::markdown(args, &cells), cells.iter().all(|(.., cell)| cell.faults().is_empty())))
}

fn chosen<T: ValueEnum + Copy>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}

/// On a runtime of its own, with which all clients end.
fn measure(args: &OutagesArgs, fault: Fault, fleet: Fleet) -> Result<Cell, OutagesError> {
    let lasting = Duration::from_secs_f64(match fault {
        Fault::Stopped => args.stopped_seconds,
        _ => args.fault_seconds,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, cell::measure(args, fault, fleet, lasting))
}

/// Looks until it is so, at most so long; whether it was.
async fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let looking = async {
        while !condition() {
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(limit, looking).await.is_ok()
}
