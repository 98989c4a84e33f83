//! What is said in a conversation of one connection, by kinds.

/// Channels by what their names and namespaces say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Plain,
    Other,
    /// For the two users that it names, one of which is Ada.
    Ours,
    /// For somebody else.
    Theirs,
    Private,
    News,
    OurNews,
    TheirNews,
    /// Private, with the mark before and behind the namespace.
    PrivateOfNews,
    NewsOfPrivate,
    /// Without history and presence.
    Live,
    /// Of a namespace that nobody configures.
    Unknown,
    Unnamed,
    /// Those that a connection token may subscribe its client to; the first is private.
    Server,
    ServerNews,
}

impl Channel {
    pub const ALL: [Self; 15] = [
        Self::Plain,
        Self::Other,
        Self::Ours,
        Self::Theirs,
        Self::Private,
        Self::News,
        Self::OurNews,
        Self::TheirNews,
        Self::PrivateOfNews,
        Self::NewsOfPrivate,
        Self::Live,
        Self::Unknown,
        Self::Unnamed,
        Self::Server,
        Self::ServerNews,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Other => "other",
            Self::Ours => "talk#bob,ada",
            Self::Theirs => "talk#eve",
            Self::Private => "$private",
            Self::News => "news:today",
            Self::OurNews => "news:talk#ada",
            Self::TheirNews => "news:talk#eve",
            Self::PrivateOfNews => "$news:today",
            Self::NewsOfPrivate => "news:$today",
            Self::Live => "live:now",
            Self::Unknown => "unheard:of",
            Self::Unnamed => "",
            Self::Server => "$server",
            Self::ServerNews => "news:server",
        }
    }
}

/// A token by what is wrong with it. One of a subscription is for the channel that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {
    Absent,
    /// Ada's.
    Good,
    /// Ada's, which ends [`BRIEF`] seconds after it is sent.
    Brief,
    /// An anonymous user's.
    Nameless,
    /// Ada's for a connection, with server-side subscriptions.
    Subscribing,
    /// The same, with a channel that there cannot be, and with more than anybody may have.
    SubscribingToUnknown,
    SubscribingToMany,
    Expired,
    Forged,
    /// Of another user, or not yet valid.
    Foreign,
    /// For another channel, or for a channel where it should be for a connection.
    Misplaced,
}

pub const BRIEF: u64 = 5;

/// A token's name (`jti`), by which it is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Connection(Token),
    Subscription(Token),
}

impl Name {
    /// Of the tokens that are good for something.
    pub const ALL: [Self; 7] = [
        Self::Connection(Token::Good),
        Self::Connection(Token::Brief),
        Self::Connection(Token::Nameless),
        Self::Connection(Token::Subscribing),
        Self::Subscription(Token::Good),
        Self::Subscription(Token::Brief),
        Self::Subscription(Token::Nameless),
    ];

    pub fn token(self) -> Token {
        let (Self::Connection(token) | Self::Subscription(token)) = self;
        token
    }

    /// As it is written.
    pub fn text(self) -> String {
        format!("{self:?}")
    }
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
    TooLarge,
    Unrecoverable,
}
