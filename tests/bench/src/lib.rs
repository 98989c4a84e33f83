//! A fleet of real WebSocket clients that counts loss, duplicates, order and reconnects.
//!
//! [`audit`] decides what counts and is pure; [`client`], [`publisher`] and [`abuse`] make the traffic; [`control`] is told what to
//! do. One thread does it all, so that thousands of clients take little memory and times compare. [`proxy`] stands between a gateway and
//! its Redis, in tests and in the table of failures.

pub mod abuse;
pub mod args;
pub mod audit;
pub mod channel;
pub mod client;
pub mod context;
pub mod control;
pub mod fleet;
pub mod message;
pub mod probe;
pub mod proxy;
pub mod publisher;
pub mod run;
pub mod stats;
