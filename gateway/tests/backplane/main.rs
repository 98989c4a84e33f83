//! The backplanes, each as its users see it: through a handle and the queues of shards.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod both;
mod outages;
mod redis_server;
mod support;
