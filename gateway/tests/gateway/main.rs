//! The gateway in process, on real sockets.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod api;
mod bad_input;
mod bounds;
mod centrifuge;
mod compression;
mod config;
mod drain;
mod health;
mod issuer;
mod jwks;
mod memory;
mod probe;
mod raw;
mod rfc6455;
mod slow;
mod support;
mod tokens;
