//! The operator's shell: watch, observe, execute, report.
#![forbid(unsafe_code)]

pub mod admin;
pub mod args;
pub mod error;
pub mod gateways;
pub mod lease;
pub mod metrics;
