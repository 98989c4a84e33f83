//! What a user would do and see, against a real cluster, counted by a fleet of real clients.
#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod deadline;
mod delivery;
mod disruption;
mod healing;
mod lifecycle;
mod operator;
mod rest;
mod scaling;
