//! Whom an event of a shard's poll is for.

use gateway_core::key::ConnectionKey;
use mio::Token;

/// The listening socket's; no id and no slot gets that high.
pub const LISTENER: Token = Token(usize::MAX);
/// A socket's on its way from one owner to the next, who asks again what is ready.
pub const NOBODY: Token = Token(usize::MAX - 1);
/// Set in the tokens of connections that have said nothing yet; slots are below.
const SILENT: usize = 1 << 31;

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The listening socket has connections.
    Listener,
    /// A connection said something for the first time.
    Silent(u64),
    /// A WebSocket; an event may outlive it.
    Connection(ConnectionKey),
    /// See [`NOBODY`].
    Nobody,
}

/// The token of a WebSocket.
#[must_use]
pub fn of_connection(key: ConnectionKey) -> Token {
    Token((key.slot as usize) | (key.generation as usize) << 32)
}

/// The token of a connection that has said nothing yet, by its id among those.
#[must_use]
pub fn of_silent(id: u64) -> Token {
    let id = id as usize;
    Token((id & (SILENT - 1)) | SILENT | (id >> 31) << 32)
}

/// Whom a token is of.
#[must_use]
pub fn target(token: Token) -> Target {
    let (low, high) = (token.0 & 0xFFFF_FFFF, token.0 >> 32);
    match token {
        LISTENER => Target::Listener,
        NOBODY => Target::Nobody,
        _ if low & SILENT != 0 => Target::Silent(((low & (SILENT - 1)) | high << 31) as u64),
        _ => Target::Connection(ConnectionKey { slot: low as u32, generation: high as u32 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_whom_it_was_made_for() {
        for id in [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0x1234_5678_9ABC] {
            assert_eq!(target(of_silent(id)), Target::Silent(id));
        }
        for (slot, generation) in [(0, 0), (7, u32::MAX), (0x7FFF_FFFF, 1)] {
            let key = ConnectionKey { slot, generation };
            assert_eq!(target(of_connection(key)), Target::Connection(key));
        }
        assert_eq!((target(LISTENER), target(NOBODY)), (Target::Listener, Target::Nobody));
    }
}
