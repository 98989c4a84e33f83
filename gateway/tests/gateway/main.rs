//! The gateway in process, on real sockets.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod api;
mod bad_input;
mod bounds;
mod centrifuge;
mod drain;
mod health;
mod probe;
mod raw;
mod slow;
mod support;
