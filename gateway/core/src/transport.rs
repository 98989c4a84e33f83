//! How the messages of a protocol become bytes of a connection.

use bytes::Bytes;

use crate::frame;

/// A whole message for a client, as its protocol gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8.
    Text(&'a [u8]),
    /// Any bytes.
    Binary(&'a [u8]),
}

/// Why a connection ends: a close code and reason as its protocol defines them (RFC 6455, section 7.4, for raw ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// The close code.
    pub code: u16,
    /// For a person.
    pub reason: &'static str,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 6455.
    WebSocket,
}

impl Transport {
    /// How many there are.
    pub const COUNT: usize = 1;

    /// A message.
    #[must_use]
    pub fn message(self, message: Message<'_>) -> Bytes {
        match (self, message) {
            (Self::WebSocket, Message::Text(payload)) => frame::text(payload),
            (Self::WebSocket, Message::Binary(payload)) => frame::binary(payload),
        }
    }

    /// Something that a client which lives answers, without its protocol's doing.
    #[must_use]
    pub fn ping(self) -> Bytes {
        match self {
            Self::WebSocket => frame::ping(b""),
        }
    }

    /// The answer to a client's own ping.
    #[must_use]
    pub fn pong(self, payload: &[u8]) -> Bytes {
        match self {
            Self::WebSocket => frame::pong(payload),
        }
    }

    /// The last word.
    #[must_use]
    pub fn goodbye(self, goodbye: Goodbye) -> Bytes {
        match self {
            Self::WebSocket => frame::close(goodbye.code, goodbye.reason),
        }
    }
}
