//! The words that the servers' protocols want from a client: to subscribe, to publish, to stay.

use crate::{
    frames::{self, BINARY, TEXT},
    message::SIZE,
    pusher,
};

/// The channel that everybody is in. Without history or presence in ours, as in the others.
pub const CHANNEL: &str = "live:bench";

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Messages and nothing else, over WebSocket.
    Bare,
    /// The Centrifugo client protocol, JSON.
    Centrifuge,
    /// NATS in WebSocket frames.
    Nats,
    /// Socket.IO 4 (Engine.IO 4).
    SocketIo,
    /// Pusher Channels 7.
    Pusher,
    /// A POST per message on a connection that stays; only for publishers.
    Post,
    /// The same, signed as Pusher wants it, to a server that closes the connection after each; only for publishers.
    PusherPost,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Subscriber,
    Publisher,
}

/// What a client does about a message that is none of the benchmark's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Nothing,
    Send(Vec<u8>),
    /// The client is what it wanted to become.
    Ready,
    /// The server refused.
    Refused,
}

impl Dialect {
    /// Whether requests and responses are HTTP's and no WebSocket is opened.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Post | Self::PusherPost)
    }

    /// What to send right after the opening handshake; nothing when the client is ready by then.
    pub fn greeting(self, role: Role) -> Option<Vec<u8>> {
        match (self, role) {
            (Self::Bare | Self::Post | Self::PusherPost, _) => None,
            (Self::Centrifuge, Role::Subscriber) => {
                let subscribe = format!(
                    r#"{{"id":1,"connect":{{}}}}{}{{"id":2,"subscribe":{{"channel":"{CHANNEL}"}}}}"#,
                    "\n"
                );
                Some(frames::masked(TEXT, subscribe.as_bytes()))
            }
            (Self::Centrifuge, Role::Publisher) => Some(frames::masked(TEXT, br#"{"id":2,"connect":{}}"#)),
            // These servers speak first.
            (Self::Nats | Self::SocketIo | Self::Pusher, _) => Some(Vec::new()),
        }
    }

    /// What to do about a frame's payload in which there is no message.
    pub fn answer(self, role: Role, payload: &[u8]) -> Answer {
        match self {
            Self::Bare | Self::Post | Self::PusherPost => Answer::Nothing,
            Self::Centrifuge if payload == b"{}" => Answer::Send(frames::masked(TEXT, b"{}")),
            Self::Centrifuge if contains(payload, b"\"error\"") => Answer::Refused,
            Self::Centrifuge if contains(payload, b"\"id\":2") => Answer::Ready,
            Self::Centrifuge => Answer::Nothing,
            Self::Nats => nats(role, payload),
            Self::Pusher => pusher::answer(payload),
            Self::SocketIo => match payload {
                [b'0', ..] => Answer::Send(frames::masked(TEXT, b"40")),
                [b'4', b'0', ..] => Answer::Ready,
                [b'4', b'4', ..] => Answer::Refused,
                b"2" => Answer::Send(frames::masked(TEXT, b"3")),
                _ => Answer::Nothing,
            },
        }
    }

    /// The bytes that publish a message. `path` is where a POST goes.
    pub fn publish(self, path: &str, message: &[u8; SIZE]) -> Vec<u8> {
        let text = str::from_utf8(message).unwrap_or_default();
        match self {
            Self::Bare => frames::masked(TEXT, message),
            Self::Centrifuge => {
                let publish = format!(r#"{{"id":3,"publish":{{"channel":"{CHANNEL}","data":"{text}"}}}}"#);
                frames::masked(TEXT, publish.as_bytes())
            }
            Self::Nats => frames::masked(BINARY, format!("PUB {CHANNEL} {SIZE}\r\n{text}\r\n").as_bytes()),
            Self::SocketIo => frames::masked(TEXT, format!(r#"42["m","{text}"]"#).as_bytes()),
            Self::Pusher | Self::PusherPost => pusher::publish(path, text),
            Self::Post => format!(
                "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n{text}"
            )
            .into_bytes(),
        }
    }
}

fn nats(role: Role, payload: &[u8]) -> Answer {
    if payload.starts_with(b"INFO") {
        let subscribe = if role == Role::Subscriber { format!("SUB {CHANNEL} 1\r\n") } else { String::new() };
        let hello = format!("CONNECT {{\"verbose\":false}}\r\n{subscribe}PING\r\n");
        Answer::Send(frames::masked(BINARY, hello.as_bytes()))
    } else if payload.starts_with(b"PONG") {
        Answer::Ready
    } else if payload.starts_with(b"PING") {
        Answer::Send(frames::masked(BINARY, b"PONG\r\n"))
    } else if payload.starts_with(b"-ERR") {
        Answer::Refused
    } else {
        Answer::Nothing
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
