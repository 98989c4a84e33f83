//! The backplanes, each as its users see it: through a handle and the queues of shards.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod access;
mod attacks;
mod both;
mod certificates;
mod clusters;
mod faults;
mod flood;
#[path = "../gateway/support.rs"]
#[allow(dead_code, reason = "some tests need a whole gateway, and little of what its own tests ask of it")]
mod gateway;
mod healing;
mod outages;
mod proxy;
mod raw;
mod redis_server;
mod storm;
mod support;
mod tls;
