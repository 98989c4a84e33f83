//! Support for the end-to-end tests: throw-away namespaces, conditions, clusters, the client fleet.
//!
//! The tests run against the cluster that KUBECONFIG names, with the operator installed from the chart. A failed test prints the
//! whole situation; `KEEP=1` leaves its namespace for a look. `MOORING_FLEET_IMAGE` is the fleet's image, as tests/bin/install
//! prints it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test's support fails as tests do"
)]

pub mod fleet;
pub mod gateways;
pub mod inventory;
pub mod node;
pub mod operator;
pub mod scope;
pub mod situation;
pub mod wait;

pub use fleet::Fleet;
pub use gateways::Gateways;
pub use scope::{Scope, alone, beside_others};
pub use wait::eventually;

/// Prints a measured number; it is part of the test's result.
pub fn measured(what: &str, value: impl std::fmt::Display) {
    eprintln!("measured: {what}: {value}");
}
