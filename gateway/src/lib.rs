//! The gateway's shell: sockets, shards, HTTP, backplanes and metrics around `gateway_core`.
//!
//! One thread per shard ([`shard`]), each with its own listening socket ([`listener`]), its connections and one [`reactor`] in which
//! everything that happens to them is a turn. A connection begins as an entry of the shard's poll, is an HTTP task ([`http`]) from its
//! first bytes to the 101, and then an entry of that poll again ([`sockets`]) and nothing else. One thread carries the backplane
//! ([`backplane`]), one the control port ([`control`]), the drain ([`mod@drain`]) and exchanges of the policy ([`policies`]), and two check
//! tokens where that takes long ([`checks`]). Threads talk through bounded queues; [`gateway`] starts and watches them.

mod admission;
pub mod args;
pub mod backplane;
pub mod budget;
mod cgroup;
mod checks;
mod clock;
mod config_document;
mod config_file;
mod control;
mod drain;
mod files;
mod gateway;
mod http;
mod jwks;
mod listener;
pub mod logging;
pub mod memory;
mod metrics;
mod node;
mod ops;
mod outbound;
mod page;
mod places;
mod policies;
mod poll_token;
pub mod probe;
mod reactor;
pub mod settings;
mod shard;
pub mod shutdown;
mod sockets;
mod tls;
mod token_keys;
mod watched;

pub use gateway::{Gateway, GatewayError, Stopper};

/// This gateway's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
