//! Shards of different nodes over a model of the backplane, in virtual time: what clients see, and what they never see.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what a test takes for granted fails it; what it ran, it says"
)]

mod answers;
mod backplane;
mod checks;
mod compression;
mod conversation;
mod crowd;
mod events;
mod exchange;
mod histories;
mod lifecycle;
mod model;
mod node;
mod pace;
mod pause;
mod protocol;
mod raw;
mod recovery;
mod rfc6455;
mod rights;
mod rules;
mod tokens;
mod vocabulary;
mod wire;
mod world;
