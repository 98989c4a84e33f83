//! Signals that end the process.

use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Stopper;

/// Passes every SIGTERM and SIGINT on to the gateway: the first one drains it, the second one ends it.
pub fn forward_signals(stopper: Stopper) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                stopper.stop();
            }
        });
    })?;
    Ok(())
}
