//! Signals that end the process.

use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};

/// Has `told` called at every SIGTERM and SIGINT, which the first process of a container would not notice otherwise.
pub fn forward_signals(told: impl Fn() + Send + 'static) -> io::Result<()> {
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
                told();
            }
        });
    })?;
    Ok(())
}
