//! One connection to Redis that comes back by itself.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::resp::Resp;
use redis::Cmd;

use super::{
    connect::{Opened, connect},
    connection::Connection,
    failure::Failure,
    server::Server,
};

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// A connection that ends sooner is one more failure: Redis may turn away who has just come.
const LASTING: Duration = Duration::from_millis(500);

/// What happens on a wire.
#[derive(Debug)]
pub(super) enum Event {
    /// Connected; nothing was sent yet. With it comes the id of this life of Redis's data, which it gets anew when it has lost them.
    Up(String),
    /// Replies, in order.
    Replies(Vec<Resp>),
    /// The connection ended, or was not to be had; another one is under way.
    Down(Failure),
}

/// A connection, or the way to the next one.
pub(super) struct Wire {
    server: Arc<Server>,
    /// The key of the id.
    store: String,
    failures: u32,
    up_since: Option<Instant>,
    state: State,
}

enum State {
    Connecting(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Up(Box<Connection>),
    Failed(Failure),
}

impl Wire {
    pub(super) fn new(server: Arc<Server>, store: String) -> Self {
        let state = State::Connecting(Box::pin(connect(server.clone(), store.clone(), Duration::ZERO)));
        Self { server, store, failures: 0, up_since: None, state }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        match &self.state {
            State::Up(connection) => connection.backlog(),
            State::Connecting(_) | State::Failed(_) => 0,
        }
    }

    /// Puts a command on the wire; without a connection it goes nowhere.
    pub(super) fn send(&mut self, command: &Cmd) {
        if let State::Up(connection) = &mut self.state {
            connection.send(command);
        }
    }

    /// Gives up the connection; the next event is `Down`.
    pub(super) fn fail(&mut self, why: Failure) {
        if self.is_up() {
            self.state = State::Failed(why);
        }
    }

    /// The next event. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        let failure = match &mut self.state {
            State::Connecting(attempt) => match attempt.await {
                Ok((connection, store)) => {
                    self.up_since = Some(Instant::now());
                    self.state = State::Up(Box::new(connection));
                    return Event::Up(store);
                }
                Err(failure) => failure,
            },
            State::Up(connection) => match connection.turn().await {
                Ok(replies) => return Event::Replies(replies),
                Err(failure) => failure,
            },
            State::Failed(failure) => mem::replace(failure, Failure::Closed),
        };
        if self.up_since.take().is_some_and(|since| since.elapsed() >= LASTING) {
            self.failures = 0;
        }
        // The name is resolved anew: a restarted Redis may have another address.
        let attempt = connect(self.server.clone(), self.store.clone(), backoff(self.failures));
        self.state = State::Connecting(Box::pin(attempt));
        self.failures = self.failures.saturating_add(1);
        Event::Down(failure)
    }
}

/// Doubles from one failure to the next; the lower half is left to chance, so that nodes do not come back in step.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_BACKOFF.saturating_mul(1 << failures.min(10)).min(LONGEST_BACKOFF);
    longest.mul_f64(rand::random_range(0.5..1.0))
}
