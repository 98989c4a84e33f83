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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Subscriber,
    /// A subscriber that was there before, and wants what it has missed since.
    Returning(Position),
    Publisher,
}

/// A place in a channel's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

/// What a client does about a message that is none of the benchmark's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Nothing,
    Send(Vec<u8>),
    /// The client is what it wanted to become.
    Ready,
    /// It is, and that far in its channel's stream.
    ReadyAt(Position),
    /// The server refused.
    Refused,
}

impl Dialect {
    /// Whether requests and responses are HTTP's and no WebSocket is opened.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Post | Self::PusherPost)
    }

    /// What to send right after the opening handshake; nothing when the client is ready by then.
    pub fn greeting(self, role: &Role, channel: &str) -> Option<Vec<u8>> {
        match (self, role) {
            (Self::Bare | Self::Post | Self::PusherPost, _) => None,
            (Self::Centrifuge, Role::Subscriber) => Some(subscribe(channel, "")),
            (Self::Centrifuge, Role::Returning(Position { epoch, offset })) => {
                let since = format!(r#","recover":true,"epoch":"{epoch}","offset":{offset}"#);
                Some(subscribe(channel, &since))
            }
            (Self::Centrifuge, Role::Publisher) => Some(frames::masked(TEXT, br#"{"id":2,"connect":{}}"#)),
            // These servers speak first.
            (Self::Nats | Self::SocketIo | Self::Pusher, _) => Some(Vec::new()),
        }
    }

    /// What to do about a frame's payload that is no message of a ready client.
    pub fn answer(self, role: &Role, channel: &str, payload: &[u8]) -> Answer {
        match self {
            Self::Bare | Self::Post | Self::PusherPost => Answer::Nothing,
            Self::Centrifuge if payload == b"{}" => Answer::Send(frames::masked(TEXT, b"{}")),
            Self::Centrifuge if contains(payload, b"\"error\"") => Answer::Refused,
            Self::Centrifuge if contains(payload, b"\"id\":2") => subscribed(role, payload),
            Self::Centrifuge => Answer::Nothing,
            Self::Nats => nats(role, channel, payload),
            Self::Pusher => pusher::answer(channel, payload),
            Self::SocketIo => match payload {
                [b'0', ..] => Answer::Send(frames::masked(TEXT, b"40")),
                [b'4', b'0', ..] => Answer::Ready,
                [b'4', b'4', ..] => Answer::Refused,
                b"2" => Answer::Send(frames::masked(TEXT, b"3")),
                _ => Answer::Nothing,
            },
        }
    }

    /// The answer to a ping that came in one frame with messages, which servers do that coalesce.
    pub fn pong_among(self, payload: &[u8]) -> Option<Vec<u8>> {
        let text = str::from_utf8(payload).ok()?;
        match self {
            // A line of its own; every other brace has something in it.
            Self::Centrifuge => {
                (text.starts_with("{}\n") || text.contains("\n{}")).then(|| frames::masked(TEXT, b"{}"))
            }
            Self::Nats => text.contains("PING\r\n").then(|| frames::masked(BINARY, b"PONG\r\n")),
            _ => None,
        }
    }

    /// The bytes that publish a message. `path` is where a POST goes.
    pub fn publish(self, path: &str, channel: &str, message: &[u8; SIZE]) -> Vec<u8> {
        let text = str::from_utf8(message).unwrap_or_default();
        match self {
            Self::Bare => frames::masked(TEXT, message),
            Self::Centrifuge => {
                let publish = format!(r#"{{"id":3,"publish":{{"channel":"{channel}","data":"{text}"}}}}"#);
                frames::masked(TEXT, publish.as_bytes())
            }
            Self::Nats => frames::masked(BINARY, format!("PUB {channel} {SIZE}\r\n{text}\r\n").as_bytes()),
            Self::SocketIo => frames::masked(TEXT, format!(r#"42["m","{text}"]"#).as_bytes()),
            Self::Pusher | Self::PusherPost => pusher::publish(path, channel, text),
            Self::Post => format!(
                "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n{text}"
            )
            .into_bytes(),
        }
    }
}

/// The commands that connect a centrifuge client and subscribe it; `since` is what follows the channel.
fn subscribe(channel: &str, since: &str) -> Vec<u8> {
    let connect = r#"{"id":1,"connect":{}}"#;
    let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"{since}}}}}"#);
    frames::masked(TEXT, format!("{connect}\n{subscribe}").as_bytes())
}

/// What a centrifuge client makes of the reply to its last command.
fn subscribed(role: &Role, reply: &[u8]) -> Answer {
    if matches!(role, Role::Returning(_)) && !contains(reply, b"\"recovered\":true") {
        return Answer::Refused;
    }
    position(reply).map_or(Answer::Ready, Answer::ReadyAt)
}

/// The place in the stream that a subscribe reply names: no publication that it brings is further. None is named at the start.
fn position(reply: &[u8]) -> Option<Position> {
    let reply = str::from_utf8(reply).ok()?;
    let (_, epoch) = reply.split_once(r#""epoch":""#)?;
    let (epoch, _) = epoch.split_once('"')?;
    let offsets = reply.split(r#""offset":"#).skip(1);
    let offsets = offsets.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    Some(Position { epoch: epoch.to_owned(), offset: offsets.max().unwrap_or(0) })
}

fn nats(role: &Role, channel: &str, payload: &[u8]) -> Answer {
    if payload.starts_with(b"INFO") {
        let subscribe = if *role == Role::Publisher { String::new() } else { format!("SUB {channel} 1\r\n") };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_found_among_messages_and_nowhere_else() {
        let push = r#"{"push":{"channel":"c","pub":{"data":"@xx"}}}"#;
        let reply = r#"{"id":3,"publish":{}}"#;
        let asks = |dialect: Dialect, text: &str| dialect.pong_among(text.as_bytes()).is_some();
        for pinged in [format!("{{}}\n{push}"), format!("{push}\n{{}}"), format!("{push}\n{{}}\n{push}")] {
            assert!(asks(Dialect::Centrifuge, &pinged), "{pinged}");
        }
        assert!(!asks(Dialect::Centrifuge, &format!("{push}\n{reply}\n{push}")));
        assert!(asks(Dialect::Nats, "MSG c 1 3\r\n@xx\r\nPING\r\n"));
        assert!(!asks(Dialect::Nats, "MSG c 1 3\r\n@xx\r\n") && !asks(Dialect::Bare, "PING\r\n"));
    }

    #[test]
    fn a_returning_client_is_ready_only_when_it_has_recovered() {
        let reply = |recovered: &str| {
            format!(
                r#"{{"id":2,"subscribe":{{"positioned":true,"epoch":"ab","offset":42,"was_recovering":true{recovered},
                "publications":[{{"data":"x","offset":41}}]}}}}"#
            )
        };
        let at = |offset| Position { epoch: "ab".to_owned(), offset };
        let answer = |role, reply: String| Dialect::Centrifuge.answer(&role, "c", reply.as_bytes());
        assert_eq!(answer(Role::Returning(at(40)), reply("")), Answer::Refused);
        assert_eq!(answer(Role::Returning(at(40)), reply(r#","recovered":true"#)), Answer::ReadyAt(at(42)));
        assert_eq!(answer(Role::Subscriber, reply("")), Answer::ReadyAt(at(42)));
        let start = r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"ab","positioned":true}}"#;
        assert_eq!(answer(Role::Subscriber, start.to_owned()), Answer::ReadyAt(at(0)));
        assert_eq!(answer(Role::Subscriber, r#"{"id":2,"subscribe":{}}"#.to_owned()), Answer::Ready);
    }
}
