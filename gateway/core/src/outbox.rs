//! What a shard puts out while it handles one input.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    backplane::Op,
    key::{ConnectionKey, RequestId},
    token::Verifier,
};

/// Where a shard's effects go; the shell writes them to sockets and queues, a test records them.
pub trait Outbox {
    /// Writes what the connection's [`crate::transport::Transport`] made of one message, in the order of the calls. The bytes are shared
    /// between all recipients of a broadcast.
    fn send(&mut self, connection: ConnectionKey, bytes: &Bytes);

    /// Bytes that were sent to a connection and that its socket has not taken yet.
    fn waiting(&self, connection: ConnectionKey) -> usize;

    /// A client brought a token that none of our keys has signed, as far as they are known, or that is not for here: its address is charged
    /// with it.
    fn wrong_token(&self, connection: ConnectionKey);

    /// Has a token checked elsewhere, since that takes long; `Shard::checked` is told what came of it. False where too many wait already.
    fn check(&mut self, connection: ConnectionKey, verifier: &Arc<Verifier>, token: &str) -> bool;

    /// A client brought a token that names a key which the key set may have by now.
    fn unknown_key(&self);

    /// Closes the TCP connection once everything sent before is flushed, or its flush deadline passed. Said at most once, and the
    /// last thing said of a connection; the socket's end is told by `Shard::hang_up`. What the client still sends is best read and
    /// dropped for a moment: closing on unread bytes resets the connection, and the close frame may be lost with it.
    fn close(&mut self, connection: ConnectionKey);

    /// Reads nothing more of a connection until [`Outbox::resume`], so that TCP's window holds its peer back: enough of what it asked for
    /// waits for the backplane. Closing it ends that, too.
    fn pause(&mut self, connection: ConnectionKey);

    /// Reads a connection again. Whatever came meanwhile is still in its socket, the end of the stream perhaps included.
    fn resume(&mut self, connection: ConnectionKey);

    /// Hands an operation to the backplane. With a `waiter` its completion comes back through `Shard::inbound`; without, it is
    /// only carried out. Operations of one shard are carried out in the order of the calls.
    fn submit(&mut self, waiter: Option<(ConnectionKey, RequestId)>, op: Op);
}
