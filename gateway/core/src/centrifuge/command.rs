//! What a client's text message asks for: one or more commands, one JSON object a line.

mod request;

use serde::Deserialize;

use super::codes::{DisconnectCode, ErrorCode};
pub use request::{
    ChannelRequest, Connect, History, Publish, Refresh, Rpc, Send, Since, SubRefresh, Subscribe,
};

/// Levels of nesting a command may have, its own included; JSON readers elsewhere stop at 128.
pub const MAX_DEPTH: usize = 100;

/// Bytes a channel's name may have.
pub const MAX_CHANNEL_LENGTH: usize = 255;

/// One command.
#[derive(Debug)]
pub struct Command<'a> {
    /// Chosen by the client to match the reply; 0 where none is expected.
    pub id: u32,
    /// What it asks for.
    pub method: Method<'a>,
}

/// What a command asks for. Channel names in it have passed [`valid_channel`].
#[derive(Debug)]
pub enum Method<'a> {
    /// `{}`: answers a ping of the server.
    Pong,
    /// The first command of a connection.
    Connect(Box<Connect<'a>>),
    /// Starts deliveries of a channel.
    Subscribe(Box<Subscribe<'a>>),
    /// Ends deliveries of a channel.
    Unsubscribe(ChannelRequest<'a>),
    /// Publishes to a channel.
    Publish(Publish<'a>),
    /// Asks who is present in a channel.
    Presence(ChannelRequest<'a>),
    /// Asks how many are present in a channel.
    PresenceStats(ChannelRequest<'a>),
    /// Reads a channel's stream.
    History(History<'a>),
    /// Asks for an empty reply.
    Ping,
    /// A message to the backend, without reply.
    Send(Send<'a>),
    /// A call to the backend.
    Rpc(Rpc<'a>),
    /// Brings a new connection token.
    Refresh(Refresh<'a>),
    /// Brings a new subscription token.
    SubRefresh(SubRefresh<'a>),
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not a JSON object with the protocol's types.
    #[error("a command is not a JSON object of the protocol's form")]
    Malformed,
    /// More nesting than [`MAX_DEPTH`].
    #[error("a command is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More commands in one message than the caller allows.
    #[error("too many commands in one message")]
    TooMany,
    /// Two methods in one object.
    #[error("a command has more than one method")]
    Ambiguous,
    /// A command that expects a reply has no id.
    #[error("a command that expects a reply has no id")]
    MissingId,
    /// No method that this server knows.
    #[error("command {id} has no method that is known here")]
    UnknownMethod {
        /// Of the command.
        id: u32,
    },
    /// The name is empty, longer than [`MAX_CHANNEL_LENGTH`], or has characters other than printable ASCII.
    #[error("command {id} names no valid channel: 1 to {MAX_CHANNEL_LENGTH} printable ASCII characters")]
    InvalidChannel {
        /// Of the command.
        id: u32,
    },
}

/// What the client is told about a refused command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An error reply; the connection goes on.
    Reply {
        /// Of the command.
        id: u32,
        /// Of the error.
        code: ErrorCode,
    },
    /// The end of the connection.
    Disconnect(DisconnectCode),
}

impl CommandError {
    /// What the client is told.
    #[must_use]
    pub const fn answer(self) -> Answer {
        match self {
            Self::Malformed | Self::TooDeep | Self::TooMany | Self::Ambiguous | Self::MissingId => {
                Answer::Disconnect(DisconnectCode::BadRequest)
            }
            Self::UnknownMethod { id } => Answer::Reply { id, code: ErrorCode::MethodNotFound },
            Self::InvalidChannel { id } => Answer::Reply { id, code: ErrorCode::BadRequest },
        }
    }
}

/// Whether a channel can have that name, whichever protocol names it.
#[must_use]
pub fn valid_channel(name: &str) -> bool {
    (1..=MAX_CHANNEL_LENGTH).contains(&name.len()) && name.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// RFC 8259, section 2.
const JSON_WHITESPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The commands of one text message, parsed one by one. Stop at the first error whose answer is a disconnect.
pub struct Commands<'a> {
    rest: &'a str,
    left: usize,
}

impl<'a> Commands<'a> {
    /// At most `limit` commands are read from `message`.
    #[must_use]
    pub fn new(message: &'a str, limit: usize) -> Self {
        Self { rest: message, left: limit }
    }

    /// What was not parsed yet.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        // All blank lines at once: a message may have as many as bytes.
        self.rest = self.rest.trim_start_matches(JSON_WHITESPACE);
        if self.rest.is_empty() {
            return None;
        }
        let line;
        (line, self.rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        Some(match self.left.checked_sub(1) {
            None => Err(CommandError::TooMany),
            Some(left) => {
                self.left = left;
                parse(line)
            }
        })
    }
}

/// A command as it is written: the method is the member that is there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    id: u32,
    #[serde(borrow)]
    connect: Option<Box<Connect<'a>>>,
    #[serde(borrow)]
    subscribe: Option<Box<Subscribe<'a>>>,
    #[serde(borrow)]
    unsubscribe: Option<ChannelRequest<'a>>,
    #[serde(borrow)]
    publish: Option<Publish<'a>>,
    #[serde(borrow)]
    presence: Option<ChannelRequest<'a>>,
    #[serde(borrow)]
    presence_stats: Option<ChannelRequest<'a>>,
    #[serde(borrow)]
    history: Option<History<'a>>,
    ping: Option<Empty>,
    #[serde(borrow)]
    send: Option<Send<'a>>,
    #[serde(borrow)]
    rpc: Option<Rpc<'a>>,
    #[serde(borrow)]
    refresh: Option<Refresh<'a>>,
    #[serde(borrow)]
    sub_refresh: Option<SubRefresh<'a>>,
}

#[derive(Deserialize)]
struct Empty {}

fn parse(line: &str) -> Result<Command<'_>, CommandError> {
    // Where it expects a struct, serde takes an array of the values as well.
    if !line.starts_with('{') {
        return Err(CommandError::Malformed);
    }
    if depth(line) > MAX_DEPTH {
        return Err(CommandError::TooDeep);
    }
    let line: Line<'_> = serde_json::from_str(line).map_err(|_| CommandError::Malformed)?;
    let id = line.id;
    let method = method(line)?;
    // A reply, be it an error, needs the id.
    if id == 0 && !matches!(method, Method::Pong | Method::Send(_)) {
        return Err(CommandError::MissingId);
    }
    if names_valid_channels(&method) {
        Ok(Command { id, method })
    } else {
        Err(CommandError::InvalidChannel { id })
    }
}

fn method(line: Line<'_>) -> Result<Method<'_>, CommandError> {
    let id = line.id;
    let mut methods = [
        line.connect.map(Method::Connect),
        line.subscribe.map(Method::Subscribe),
        line.unsubscribe.map(Method::Unsubscribe),
        line.publish.map(Method::Publish),
        line.presence.map(Method::Presence),
        line.presence_stats.map(Method::PresenceStats),
        line.history.map(Method::History),
        line.ping.map(|Empty {}| Method::Ping),
        line.send.map(Method::Send),
        line.rpc.map(Method::Rpc),
        line.refresh.map(Method::Refresh),
        line.sub_refresh.map(Method::SubRefresh),
    ]
    .into_iter()
    .flatten();
    match (methods.next(), methods.next()) {
        (None, _) if id == 0 => Ok(Method::Pong),
        (None, _) => Err(CommandError::UnknownMethod { id }),
        (Some(method), None) => Ok(method),
        (Some(_), Some(_)) => Err(CommandError::Ambiguous),
    }
}

fn names_valid_channels(method: &Method<'_>) -> bool {
    match method {
        Method::Connect(connect) => connect.subs.keys().all(|name| valid_channel(name)),
        Method::Subscribe(s) => valid_channel(&s.channel),
        Method::Unsubscribe(r) | Method::Presence(r) | Method::PresenceStats(r) => valid_channel(&r.channel),
        Method::Publish(p) => valid_channel(&p.channel),
        Method::History(h) => valid_channel(&h.channel),
        Method::SubRefresh(r) => valid_channel(&r.channel),
        Method::Pong | Method::Ping | Method::Send(_) | Method::Rpc(_) | Method::Refresh(_) => true,
    }
}

/// The deepest nesting of arrays and objects, judged before parsing: raw documents are skipped by it, not counted.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
