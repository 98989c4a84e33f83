//! Puts the parts together and ends them in time.

use std::{io, path::PathBuf, rc::Rc, time::Duration};

use hyper::header::{HeaderValue, InvalidHeaderValue};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
    task::{LocalSet, spawn_local},
    time::{Instant, sleep},
};

use crate::{
    abuse::Abuses,
    args::Args,
    context::{Context, Target},
    control::{self, Control},
    fleet::Fleet,
    publisher::Publisher,
};

/// How often it is looked whether timers fire in time.
const STALL_INTERVAL: Duration = Duration::from_millis(20);

/// Why the fleet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No address for the target's name.
    #[error("--target {0}: {1}")]
    Target(String, #[source] io::Error),
    /// The control port can't be opened, or broke.
    #[error("--listen: {0}")]
    Listen(#[source] io::Error),
    /// The key's file can't be read.
    #[error("--api-key-file {0}: {1}")]
    ApiKeyFile(PathBuf, #[source] io::Error),
    /// The key's file holds something else.
    #[error("--api-key-file {0}: {1}")]
    ApiKey(PathBuf, #[source] InvalidHeaderValue),
    /// Signals can't be waited for.
    #[error("signals: {0}")]
    Signal(#[source] io::Error),
}

/// Runs until the duration is over or a signal comes.
pub async fn run(args: Args) -> Result<(), RunError> {
    LocalSet::new().run_until(run_local(args)).await
}

async fn run_local(args: Args) -> Result<(), RunError> {
    let target = Target::resolve(&args.target).await.map_err(|e| RunError::Target(args.target.clone(), e))?;
    let context = Rc::new(Context::new(target));
    let control = Rc::new(Control {
        context: context.clone(),
        fleet: Fleet::new(context.clone()),
        publisher: Publisher::new(context.clone(), args.api_key_file.map(read_key).transpose()?),
        abuses: Abuses::new(context.clone()),
    });
    let listener = TcpListener::bind(args.listen).await.map_err(RunError::Listen)?;
    tracing::info!(target = args.target, control = %args.listen, seconds = args.duration, "ready");
    spawn_local(watch_stalls(context));
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    select! {
        result = control::serve(control, listener) => result.map_err(RunError::Listen),
        () = sleep(Duration::from_secs(args.duration)) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn read_key(path: PathBuf) -> Result<HeaderValue, RunError> {
    match std::fs::read_to_string(&path) {
        Ok(key) => key.trim_end().parse().map_err(|e| RunError::ApiKey(path, e)),
        Err(error) => Err(RunError::ApiKeyFile(path, error)),
    }
}

/// Measures how late this process is: a machine without a free core moves every moment it notes.
async fn watch_stalls(context: Rc<Context>) {
    loop {
        let due = Instant::now() + STALL_INTERVAL;
        sleep(STALL_INTERVAL).await;
        context.auditor().stalled(due.elapsed());
    }
}
