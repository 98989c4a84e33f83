//! One socket: how it is written to, and how far its end is.

use std::{
    io::{self, ErrorKind, Read as _},
    mem,
    net::Shutdown,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::{
    admission::Permit,
    metrics::Traffic,
    outbound::{OutQueue, Written},
};

/// No chain.
pub(super) const NONE: u32 = u32::MAX;
/// Reads at once of what nobody listens to any more, so that a client that goes on sending holds up nobody.
const DRAIN_READS: usize = 16;

/// One live socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) generation: u32,
    /// This turn's frames: their last place in the turn, and their bytes.
    pub(super) tail: u32,
    pub(super) bytes: u32,
    pub(super) dirty: bool,
    /// A close frame is on its way, so the close is counted.
    pub(super) said_goodbye: bool,
    /// The core wants nothing more of it for now; only as long as it is open.
    pub(super) paused: bool,
    /// It has been full, so the poll says when it has room.
    tells_room: bool,
    pub(super) ending: Ending,
    /// Only while the socket takes no more.
    pub(super) queue: Option<Box<OutQueue>>,
    pub(super) permit: Permit,
}

/// How far the end of a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    /// The core closed it in this turn.
    Asked,
    /// What waits is being written.
    Flushing,
    /// Our side is shut; the other side has yet to close.
    Shut,
}

impl Socket {
    /// A socket that is registered for reading.
    pub(super) fn new(stream: TcpStream, generation: u32, permit: Permit) -> Self {
        Self {
            stream,
            generation,
            tail: NONE,
            bytes: 0,
            dirty: false,
            said_goodbye: false,
            paused: false,
            tells_room: false,
            ending: Ending::Open,
            queue: None,
            permit,
        }
    }

    /// Memory that what the socket has not taken costs.
    pub(super) fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.cost())
    }

    /// Writes frames; keeps those that the socket does not take yet. `run` is empty afterwards unless the socket is broken.
    pub(super) fn write(
        &mut self,
        run: &mut OutQueue,
        registry: &Registry,
        token: Token,
        traffic: &mut Traffic,
    ) -> io::Result<()> {
        let before = run.bytes();
        let written = run.write_to(&mut self.stream)?;
        traffic.bytes_sent += (before - run.bytes()) as u64;
        if written == Written::Blocked {
            self.queue = Some(Box::new(mem::take(run)));
            if !mem::replace(&mut self.tells_room, true) {
                let both = Interest::READABLE | Interest::WRITABLE;
                registry.reregister(&mut self.stream, token, both)?;
            }
        } else if self.ending == Ending::Flushing {
            self.ending = Ending::Shut;
            self.stream.shutdown(Shutdown::Write)?;
            // What arrived before has had its event.
            if is_drained(&mut self.stream, &mut [0; 4096]) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

/// Reads what nobody listens to any more; whether the other side has closed.
pub(super) fn is_drained(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    for _ in 0..DRAIN_READS {
        match stream.read(buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
    false
}
