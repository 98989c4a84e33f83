//! The gateway's shell: sockets, shards, HTTP, backplanes and metrics around `gateway_core`.
//!
//! One thread per shard ([`shard`]), each with its own listening socket ([`listener`]), its connections and one [`reactor`] in which
//! everything that happens to them is a turn. A connection begins as an entry of the shard's poll, is an HTTP task ([`http`]) from its
//! first bytes to the 101, and then an entry of that poll again ([`sockets`]) and nothing else. One thread carries the backplane
//! ([`backplane`]), one the control port ([`control`]) and the drain ([`mod@drain`]). Threads talk through bounded queues; [`gateway`]
//! starts and watches them.

mod admission;
pub mod args;
pub mod backplane;
mod budget;
mod clock;
mod control;
mod drain;
mod files;
mod gateway;
mod http;
mod listener;
pub mod logging;
mod metrics;
mod node;
mod ops;
mod outbound;
mod page;
mod places;
mod poll_token;
pub mod probe;
mod reactor;
pub mod settings;
mod shard;
pub mod shutdown;
mod sockets;

pub use gateway::{Gateway, GatewayError, Stopper};

/// This gateway's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
