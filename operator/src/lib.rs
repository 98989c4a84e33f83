//! The operator's shell: watch, observe, execute, report. What to do is decided in `operator-core`.
//!
//! - [`runtime`] wires it up: [`args`], [`lease`], [`watches`], [`rights`], [`admin`], [`metrics`].
//! - [`controller`] is one pass over a cluster. It reads through [`observe`] ([`gateways`], [`lookups`], [`secrets`]), writes through
//!   [`execute`] alone, says so through [`report`], and keeps what the next pass needs in [`memory`] ([`written`], [`rewrites`], [`backoff`], [`said`]);
//!   [`context`] is what every pass shares.
//! - [`error`] says how each failure is treated.
#![forbid(unsafe_code)]

pub mod admin;
pub mod args;
pub mod backoff;
pub mod context;
pub mod controller;
pub mod error;
pub mod execute;
pub mod gateways;
pub mod kubernetes;
pub mod lease;
pub mod lookups;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod report;
pub mod rewrites;
pub mod rights;
pub mod runtime;
pub mod said;
pub mod secrets;
pub mod watches;
pub mod written;
