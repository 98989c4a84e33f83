//! The operator against a real kube-apiserver without nodes: what only the API server can show.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and say so, its helpers too"
)]

mod cluster;
mod crd;
mod failures;
mod lease;
mod namespace;
mod namespaces;
mod operator;
mod ownership;
mod pods;
mod process;
mod release;
mod rights;
mod server;
mod undecodable;
