//! Clusters in virtual time, to which happens what can happen, run by the planner and judged by a referee that sees the truth only.
//! docs/simulator.md says how to read, repeat and extend it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod api;
mod chance;
mod clients;
mod defects;
mod faults;
mod gateway;
mod happen;
mod history;
mod nodes;
mod planted;
mod play;
mod pod;
mod referee;
mod seam;
mod search;
mod shell;
mod stories;
mod wish;
mod world;
mod writes;
