//! The operator against a real kube-apiserver without nodes: what only the API server can show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

mod lease;
mod server;
