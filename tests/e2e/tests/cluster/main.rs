//! What a user would do and see, against a real cluster, counted by a fleet of real clients.
#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod bad_input;
mod delivery;
mod disruption;
mod healing;
mod lifecycle;
mod refusals;
mod scaling;
mod steady;
mod support;
