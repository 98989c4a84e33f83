//! Claims about the operator's decisions.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod crd;
mod desired;
mod drains;
mod failures;
mod fixtures;
mod hpa;
mod invariants;
mod resources;
mod revision;
mod scaling;
mod status;
