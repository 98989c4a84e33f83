//! Threads whose end is told, however it comes: a gateway that lacks one ends.

use std::{io, thread};

use tokio::sync::mpsc;

/// A thread's end.
#[derive(Debug)]
pub struct Exit {
    /// Which thread.
    pub thread: String,
    /// How.
    pub result: io::Result<()>,
}

/// Starts a thread whose end is told, however it comes.
pub fn spawn(
    name: String,
    exits: mpsc::Sender<Exit>,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name(name.clone()).spawn(move || {
        let end = ExitOnDrop {
            exit: Some(Exit { thread: name, result: Err(io::Error::other("it panicked")) }),
            exits,
        };
        end.with(work());
    })?;
    Ok(())
}

/// Reports the end of a thread, however it comes.
struct ExitOnDrop {
    exit: Option<Exit>,
    exits: mpsc::Sender<Exit>,
}

impl ExitOnDrop {
    fn with(mut self, result: io::Result<()>) {
        if let Some(exit) = &mut self.exit {
            exit.result = result;
        }
    }
}

impl Drop for ExitOnDrop {
    fn drop(&mut self) {
        if let Some(exit) = self.exit.take() {
            // The queue has a place for every thread; nobody listens any more when the gateway ends.
            let _ = self.exits.try_send(exit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_reported_like_one_that_fails() {
        let (exits, mut exited) = mpsc::channel(1);
        spawn("shard-7".to_owned(), exits, || panic!("as the test asked for")).unwrap();
        let exit = exited.blocking_recv().unwrap();
        assert_eq!(
            (exit.thread.as_str(), exit.result.unwrap_err().to_string().as_str()),
            ("shard-7", "it panicked")
        );
    }
}
