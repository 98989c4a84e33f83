//! Support for the end-to-end tests: throw-away namespaces, conditions, clusters, the client fleet.
//!
//! The tests run against the cluster that KUBECONFIG names, with the operator installed from the chart; tests/bin/e2e runs them. A
//! failed test prints the whole situation; `KEEP=1` leaves its namespace for a look. `MOORING_FLEET_IMAGE` is the fleet's image, as
//! tests/bin/install prints it, and `MOORING_E2E_RUN` a name for this run.
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
pub mod journal;
pub mod load;
pub mod node;
pub mod operator;
pub mod scope;
pub mod situation;
pub mod wait;

pub use fleet::Fleet;
pub use gateways::Gateways;
pub use journal::{Journal, Moves};
pub use scope::{Scope, in_lane, in_namespace};
pub use wait::eventually;

/// Says that a part of a test can't be shown on this cluster, and why; the run's last line counts these.
pub fn skipped(what: &str, why: &str) {
    eprintln!("skipped: {what}: {why}");
}

/// Prints a measured number; it is part of the test's result.
pub fn measured(what: &str, value: impl std::fmt::Display) {
    eprintln!("measured: {what}: {value}");
}
