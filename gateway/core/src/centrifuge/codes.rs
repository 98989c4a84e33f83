//! The protocol's numbers, as far as this server says them: errors of replies, codes of disconnects and of unsubscribe pushes.
//!
//! Source: <https://centrifugal.dev/docs/server/codes>.

/// Why a command failed; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum ErrorCode {
    /// The server, or what it depends on, failed; the client tries again.
    Internal = 100,
    /// No namespace of that name.
    UnknownChannel = 102,
    /// The client may not do that.
    PermissionDenied = 103,
    /// No such command, or no such RPC method.
    MethodNotFound = 104,
    /// The connection is subscribed to that channel already.
    AlreadySubscribed = 105,
    /// A limit of the connection is reached.
    LimitExceeded = 106,
    /// The command's fields make no sense; trying again does not help.
    BadRequest = 107,
    /// The channel has that feature turned off.
    NotAvailable = 108,
    /// The client fetches a new token and tries again.
    TokenExpired = 109,
    /// The client tries again later.
    TooManyRequests = 111,
    /// `since` names a place that the stream no longer holds.
    UnrecoverablePosition = 112,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The text on the wire; also the metric label.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::UnknownChannel => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
        }
    }

    /// Whether clients try the same command again by themselves.
    #[must_use]
    pub const fn temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }
}

/// Why the server ends a connection: code and reason of the WebSocket close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum DisconnectCode {
    /// The node goes away; what a drain sends.
    Shutdown = 3001,
    /// The connection's token ran out and was not refreshed.
    Expired = 3005,
    /// The client reads too slowly.
    Slow = 3008,
    /// Publications may be missing; the client recovers when it is back.
    InsufficientState = 3010,
    /// A ping was not answered in time.
    NoPong = 3012,
    /// The connection's or a subscription's token is forged or not for here.
    InvalidToken = 3500,
    /// The client broke the protocol.
    BadRequest = 3501,
    /// No `connect` arrived in time.
    Stale = 3502,
    /// More subscriptions than allowed.
    ChannelLimit = 3505,
    /// A binary message on a JSON connection.
    InappropriateProtocol = 3506,
}

impl DisconnectCode {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Shutdown,
        Self::Expired,
        Self::Slow,
        Self::InsufficientState,
        Self::NoPong,
        Self::InvalidToken,
        Self::BadRequest,
        Self::Stale,
        Self::ChannelLimit,
        Self::InappropriateProtocol,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The text on the wire; also the metric label.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Expired => "connection expired",
            Self::Slow => "slow",
            Self::InsufficientState => "insufficient state",
            Self::NoPong => "no pong",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "stale",
            Self::ChannelLimit => "channel limit",
            Self::InappropriateProtocol => "inappropriate protocol",
        }
    }
}

/// Why the server ends one subscription of a connection that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum UnsubscribeCode {
    /// Publications may be missing; the client subscribes again from where it is.
    InsufficientState = 2500,
    /// The subscription's token ran out; the client subscribes again with a new one.
    Expired = 2501,
}

impl UnsubscribeCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The text on the wire; also the metric label.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InsufficientState => "insufficient state",
            Self::Expired => "subscription expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_client_comes_back_and_a_refused_one_stays_away() {
        // SDKs connect again after 3000 to 3499, and stay away after 3500 to 3999.
        let moved = [DisconnectCode::Shutdown, DisconnectCode::Slow, DisconnectCode::NoPong];
        assert_eq!(moved.map(DisconnectCode::code), [3001, 3008, 3012]);
        let refused =
            [DisconnectCode::InvalidToken, DisconnectCode::BadRequest, DisconnectCode::ChannelLimit];
        assert_eq!(refused.map(DisconnectCode::code), [3500, 3501, 3505]);
    }

    #[test]
    fn only_what_may_pass_by_itself_is_temporary() {
        assert!(ErrorCode::Internal.temporary() && ErrorCode::TooManyRequests.temporary());
        assert!(!ErrorCode::BadRequest.temporary() && !ErrorCode::TokenExpired.temporary());
        assert_eq!(
            (ErrorCode::TokenExpired.code(), ErrorCode::TokenExpired.message()),
            (109, "token expired")
        );
    }
}
