//! The gateway's protocols and decisions, sans-IO.
//!
//! Nothing here opens a socket, reads a clock or awaits: bytes, completions and the time come in as arguments, frames and
//! requests to the backplane go out through an [`outbox::Outbox`]. The shell (`mooring-gateway`) owns sockets, threads and Redis.
#![forbid(unsafe_code)]

pub mod address;
pub mod backplane;
pub mod centrifuge;
pub mod config;
pub mod control;
pub mod drain;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod hub;
pub mod key;
pub mod outbox;
mod protocol;
pub mod provisional;
pub mod proxy_header;
pub mod raw;
pub mod resp;
pub mod rights;
pub mod sequencer;
pub mod shard;
pub mod time;
pub mod token;
pub mod transport;
pub mod wheel;
