//! The operator's decisions, pure: no runtime, no client, no clock, no unordered map.
//!
//! One direction: the shell observes ([`observed::Observed`]), the spec is parsed ([`desired::Desired`]), [`plan::plan`] decides
//! what to do and says why, and the shell carries out the [`plan::Plan`] as it stands. What is unknown is never taken for zero.
#![forbid(unsafe_code)]

pub mod crd;
pub mod desired;
pub mod drift;
pub mod names;
pub mod observed;
pub mod ownership;
pub mod plan;
pub mod refusal;
pub mod resources;
pub mod words;
