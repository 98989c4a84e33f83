//! The sockets of one shard: what waits for them, and one poll over all of them.
//!
//! An idle connection costs a [`Socket`] here and a registration in the kernel: no task, no buffer, no timer. Sockets are registered
//! edge-triggered: for reading at first, since a new one has room and would say so, and for both directions once one was full.
//! What a turn of the shard sends is chained per socket and goes out when the turn ends, in one call per socket.
//!
//! A socket that the core closes is written out and shut on our side, and the other side gets a little time to close first: a socket
//! closed with unread bytes is reset, and a reset can overtake the close frame (RFC 6455, section 7.1.1).

mod held;
mod socket;
mod turn;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read as _},
    mem,
    time::Duration,
};

use bytes::Bytes;
use gateway_core::{address::Site, key::ConnectionKey};
use mio::{Interest, Registry, Token, net::TcpStream};

use self::{
    held::Held,
    socket::{Ending, NONE, Socket, is_drained},
    turn::Turn,
};
use crate::{
    admission::Permit,
    metrics::{Metrics, Traffic},
    outbound::OutQueue,
    poll_token::{self, Target},
};

/// How long the other side may take to read the rest and to close.
const LINGER: Duration = Duration::from_secs(2);

/// Live sockets by the slot of their connection.
#[derive(Debug)]
pub struct Sockets {
    registry: Registry,
    sockets: Vec<Option<Socket>>,
    /// Those of them that are there.
    live: usize,
    /// What this turn sends.
    turn: Turn,
    /// Slots that this turn sends to or closes.
    dirty: Vec<u32>,
    /// Reused to write a socket's chain; empty between sockets.
    run: OutQueue,
    /// Sockets that may hold more than was read for their event.
    unread: Vec<ConnectionKey>,
    /// Sockets that are being closed, in the order of their deadlines, since all get the same time.
    lingering: VecDeque<(Duration, ConnectionKey)>,
    queue_limit: usize,
    held: Held,
    /// Counted here, since what all shards count together costs each of them a wait for the others.
    traffic: Traffic,
    metrics: Metrics,
}

/// What the core has to hear after a turn was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More waits for this client than may.
    Overflow(ConnectionKey),
    /// The socket is closed or broken; it is to be removed.
    Gone(ConnectionKey),
}

/// What reading a socket once yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; more may wait.
    Some(usize),
    /// So many bytes, and nothing more for now; 0 when there was nothing at all.
    Last(usize),
    /// The other side closed, or the socket broke.
    Gone,
}

impl Sockets {
    /// No sockets yet. `queue_limit` is the most bytes that may wait for one of them.
    #[must_use]
    pub fn new(registry: Registry, queue_limit: usize, metrics: Metrics) -> Self {
        Self {
            registry,
            sockets: Vec::new(),
            live: 0,
            turn: Turn::default(),
            dirty: Vec::new(),
            run: OutQueue::default(),
            unread: Vec::new(),
            lingering: VecDeque::new(),
            queue_limit,
            held: Held::default(),
            traffic: Traffic::default(),
            metrics,
        }
    }

    /// From now on so many bytes at most may wait for a socket.
    pub fn set_queue_limit(&mut self, queue_limit: usize) {
        self.queue_limit = queue_limit;
    }

    /// Takes a socket of the poll over; `key` is free by the core's word.
    pub fn insert(&mut self, key: ConnectionKey, mut stream: TcpStream, permit: Permit) -> io::Result<()> {
        // What has arrived is reported again.
        self.registry.reregister(&mut stream, poll_token::of_connection(key), Interest::READABLE)?;
        let slot = key.slot as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
        }
        self.sockets[slot] = Some(Socket::new(stream, key.generation, permit));
        self.live += 1;
        Ok(())
    }

    /// The connection that an event is for, if it is still there.
    #[must_use]
    pub fn key(&self, token: Token) -> Option<ConnectionKey> {
        let Target::Connection(key) = poll_token::target(token) else { return None };
        let socket = self.sockets.get(key.slot as usize)?.as_ref()?;
        (socket.generation == key.generation).then_some(key)
    }

    /// Reads once into `buffer`.
    pub fn read(&mut self, key: ConnectionKey, buffer: &mut [u8]) -> Received {
        let Some(socket) = self.socket(key) else { return Received::Last(0) };
        if socket.ending != Ending::Open {
            return if is_drained(&mut socket.stream, buffer) { Received::Gone } else { Received::Last(0) };
        }
        if socket.paused {
            // Its end can wait like the rest, but a broken socket never has an event again.
            return if matches!(socket.stream.take_error(), Ok(None)) {
                Received::Last(0)
            } else {
                Received::Gone
            };
        }
        let room = buffer.len();
        let received = loop {
            match socket.stream.read(buffer) {
                Ok(0) => break Received::Gone,
                Ok(n) if n < room => break Received::Last(n),
                Ok(n) => break Received::Some(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Received::Last(0),
                Err(_) => break Received::Gone,
            }
        };
        if let Received::Some(n) | Received::Last(n) = received {
            self.traffic.bytes_received += n as u64;
        }
        received
    }

    /// Chains a frame to what this turn sends to a connection.
    pub fn send(&mut self, key: ConnectionKey, frame: &Bytes) {
        let socket = socket_of(&mut self.sockets, key).filter(|socket| socket.ending == Ending::Open);
        let Some(socket) = socket else { return };
        if let Some(code) = close_code(frame) {
            socket.said_goodbye = true;
            self.metrics.closed(Some(code));
        }
        socket.tail = self.turn.add(frame, socket.tail);
        socket.bytes = socket.bytes.saturating_add(frame.len() as u32);
        mark(socket, key.slot, &mut self.dirty);
    }

    /// Memory that what waits for a connection costs, this turn's frames included.
    #[must_use]
    pub fn waiting(&self, key: ConnectionKey) -> usize {
        let socket = self.sockets.get(key.slot as usize).and_then(Option::as_ref);
        let Some(socket) = socket.filter(|socket| socket.generation == key.generation) else { return 0 };
        socket.waiting() + socket.bytes as usize
    }

    /// Memory that everything takes which sockets have not taken.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.bytes()
    }

    /// What went over the sockets so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Those for which something waits: how much, and since when their socket has taken nothing.
    pub fn slow(&self) -> impl Iterator<Item = (ConnectionKey, usize, Duration)> {
        (0..).zip(&self.sockets).filter_map(|(slot, socket)| {
            let socket = socket.as_ref().filter(|socket| socket.ending == Ending::Open)?;
            let queue = socket.queue.as_ref()?;
            Some((ConnectionKey { slot, generation: socket.generation }, queue.cost(), queue.moved()))
        })
    }

    /// Where a connection's client is.
    #[must_use]
    pub fn site(&self, key: ConnectionKey) -> Option<Site> {
        let socket = self.sockets.get(key.slot as usize).and_then(Option::as_ref);
        Some(socket.filter(|socket| socket.generation == key.generation)?.permit.site())
    }

    /// Reads nothing more of a connection, until it is resumed or closed.
    pub fn pause(&mut self, key: ConnectionKey) {
        if let Some(socket) = self.socket(key) {
            socket.paused = true;
        }
    }

    /// Reads a connection again.
    pub fn resume(&mut self, key: ConnectionKey) {
        if let Some(socket) = self.socket(key)
            && mem::take(&mut socket.paused)
        {
            self.read_later(key);
        }
    }

    /// Has a socket read without an event: there may have been one already.
    pub fn read_later(&mut self, key: ConnectionKey) {
        self.unread.push(key);
    }

    /// Sockets to be read without an event, once.
    pub fn take_unread(&mut self) -> Vec<ConnectionKey> {
        mem::take(&mut self.unread)
    }

    /// Whether there are sockets to be read without an event.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Closes a connection once this turn's frames are written.
    pub fn close(&mut self, key: ConnectionKey) {
        let socket = socket_of(&mut self.sockets, key).filter(|socket| socket.ending == Ending::Open);
        let Some(socket) = socket else { return };
        socket.ending = Ending::Asked;
        mark(socket, key.slot, &mut self.dirty);
        self.resume(key);
    }

    /// Whether so much is collected that it has to be written before the turn goes on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.turn.is_full()
    }

    /// Writes what the turn collected, and says which connections the core has to give up.
    pub fn flush(&mut self, now: Duration, faults: &mut Vec<Fault>) {
        let mut dirty = mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            socket.dirty = false;
            let key = ConnectionKey { slot, generation: socket.generation };
            let tail = mem::replace(&mut socket.tail, NONE);
            socket.bytes = 0;
            self.traffic.frames_sent += self.turn.gather(tail, &mut self.run);
            if socket.ending == Ending::Asked {
                socket.ending = Ending::Flushing;
                self.lingering.push_back((now + LINGER, key));
            }
            if let Some(queue) = &mut socket.queue {
                // The socket is full: it says when that changes.
                self.turn.hold(tail, &mut self.run, &self.held);
                let before = queue.len();
                queue.append(&mut self.run);
                self.held.places(before, queue.len());
            } else {
                let token = poll_token::of_connection(key);
                if socket.write(&mut self.run, &self.registry, token, &mut self.traffic).is_err() {
                    self.run = OutQueue::default();
                    faults.push(Fault::Gone(key));
                    continue;
                }
                let Some(queue) = &mut socket.queue else { continue };
                queue.set_moved(now);
                self.turn.hold(tail, queue, &self.held);
                self.held.places(0, queue.len());
            }
            if socket.ending == Ending::Open && socket.waiting() > self.queue_limit {
                faults.push(Fault::Overflow(key));
            }
        }
        self.dirty = dirty;
        self.turn.clear();
    }

    /// Forgets what waits for a slow client, except a frame that has begun.
    pub fn discard(&mut self, key: ConnectionKey) {
        let socket = socket_of(&mut self.sockets, key);
        if let Some(queue) = socket.and_then(|socket| socket.queue.as_mut()) {
            let before = queue.len();
            queue.discard();
            self.held.places(before, queue.len());
        }
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, key: ConnectionKey, now: Duration) -> Option<Fault> {
        let socket = socket_of(&mut self.sockets, key)?;
        let mut queue = socket.queue.take()?;
        let (places, bytes) = (queue.len(), queue.bytes());
        let token = poll_token::of_connection(key);
        let written = socket.write(&mut queue, &self.registry, token, &mut self.traffic);
        if let Some(queue) = socket.queue.as_mut().filter(|queue| queue.bytes() < bytes) {
            queue.set_moved(now);
        }
        self.held.places(places, socket.queue.as_ref().map_or(0, |queue| queue.len()));
        written.is_err().then_some(Fault::Gone(key))
    }

    /// Drops a socket; the core has to hear that it is gone.
    pub fn remove(&mut self, key: ConnectionKey) {
        let Some(socket) = socket_of(&mut self.sockets, key) else { return };
        let silent = !socket.said_goodbye;
        self.held.places(socket.queue.as_ref().map_or(0, |queue| queue.len()), 0);
        self.sockets[key.slot as usize] = None;
        self.live -= 1;
        if self.live == 0 {
            self.sockets = Vec::new();
        }
        if silent {
            self.metrics.closed(None);
        }
    }

    /// A socket that has taken too long to close, if there is one by now.
    pub fn expired(&mut self, now: Duration) -> Option<ConnectionKey> {
        while let Some((_, key)) = self.lingering.pop_front_if(|(deadline, _)| *deadline <= now) {
            if self.socket(key).is_some() {
                return Some(key);
            }
        }
        None
    }

    /// When [`Sockets::expired`] has something to say.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.lingering.front().map(|(deadline, _)| *deadline)
    }

    fn socket(&mut self, key: ConnectionKey) -> Option<&mut Socket> {
        socket_of(&mut self.sockets, key)
    }
}

fn socket_of(sockets: &mut [Option<Socket>], key: ConnectionKey) -> Option<&mut Socket> {
    sockets.get_mut(key.slot as usize)?.as_mut().filter(|socket| socket.generation == key.generation)
}

fn mark(socket: &mut Socket, slot: u32, dirty: &mut Vec<u32>) {
    if !mem::replace(&mut socket.dirty, true) {
        dirty.push(slot);
    }
}

/// The code of a close frame of ours (RFC 6455, section 5.5.1); 1005 stands for none.
fn close_code(frame: &[u8]) -> Option<u16> {
    match frame {
        [0x88, 0 | 1, ..] => Some(1005),
        [0x88, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
