//! RFC 6455 framing, the server's side: decoding in place what clients send, encoding whole frames.
//!
//! A [`FrameDecoder`] is fed the bytes of one read and holds nothing between messages; only an unfinished frame or message is copied,
//! and never more of it than the limit.

mod decode;
mod deflate;
mod encode;
mod mask;

pub use decode::{Close, Event, FrameDecoder, FrameError, Terms};
pub use deflate::{Deflate, Inflated};
pub use encode::{binary, close, ping, pong, text};
