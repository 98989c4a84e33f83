//! What is said in a conversation of one connection, by kinds.

/// Channels by what they are; `Private` needs a token, `Unknown` has a namespace that nobody configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Plain,
    Other,
    /// Without history and presence.
    Live,
    Private,
    Unknown,
    Unnamed,
    /// Those that a connection token may subscribe its client to.
    Server,
    Second,
}

impl Channel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Other => "other",
            Self::Live => "live:now",
            Self::Private => "$private",
            Self::Unknown => "unheard:of",
            Self::Unnamed => "",
            Self::Server => "server",
            Self::Second => "server2",
        }
    }

    /// Whether it has history and presence.
    pub fn keeps(self) -> bool {
        self != Self::Live
    }
}

/// A token by what is wrong with it. A good one is Ada's, and one of a subscription is for the channel that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Absent,
    Good,
    /// A good one of a connection, with server-side subscriptions.
    Subscribing,
    /// The same, with a channel that there cannot be.
    SubscribingToUnknown,
    Expired,
    Forged,
    /// Of another user, or not yet valid.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Connect(Token),
    Subscribe { channel: Channel, token: Token, recover: bool },
    Unsubscribe(Channel),
    Publish(Channel),
    Presence(Channel),
    PresenceStats(Channel),
    History(Channel),
    Ping,
    Rpc,
    Send,
    Refresh(Token),
    SubRefresh { channel: Channel, token: Token },
    Pong,
    Unheard,
    Malformed,
}

/// What the client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    Reply(u32, &'static str),
    Error(u32, u64),
    Publication(String),
    Unsubscribed(String, u64),
    Close(u16),
}

/// What the backplane is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Subscribe(Channel),
    Publish,
    Presence,
    PresenceStats,
    History,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Fine,
    Busy,
    Failed,
    Unrecoverable,
}
