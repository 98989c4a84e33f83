//! The floor: what one epoll loop can do when it does no more than it has to. It answers an opening handshake without reading it and
//! knows no protocol beyond a frame's first two bytes. It sends each message to each subscriber by a write of its own, or, coalescing, all
//! that one turn of the loop has brought by one write per subscriber. With a Redis, messages go through it.

mod backplane;

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};

use backplane::Backplane;

const LISTENER: Token = Token(usize::MAX);
const REPLIES: Token = Token(usize::MAX - 1);
const MESSAGES: Token = Token(usize::MAX - 2);
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Header and mask of the frames that the generator sends: 128 bytes need two bytes of length.
const CLIENT_HEADER: usize = 8;
/// A server's header for the same length.
const SERVER_HEADER: [u8; 4] = [0x81, 126, 0, 128];
const MESSAGE: usize = 128;
/// Whole frames, so that none is cut.
const SCRATCH: usize = 480 * (CLIENT_HEADER + MESSAGE);
/// What may wait for a subscriber whose socket is full; it is gone with more.
const WAITING_AT_MOST: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Subscriber,
    Publisher,
    Echo,
}

struct Peer {
    stream: TcpStream,
    kind: Kind,
}

/// Connections, and what they are still to be sent.
#[derive(Default)]
struct Peers {
    slots: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// What did not fit into a subscriber's socket.
    waiting: HashMap<usize, Vec<u8>>,
    /// Frames of this turn that nobody was sent yet; always empty unless they are coalesced.
    turn: Vec<u8>,
    coalesce: bool,
}

/// Serves until the process is ended.
pub fn run(address: SocketAddr, redis: Option<SocketAddr>, coalesce: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let connect = |redis| Backplane::connect(redis, poll.registry(), REPLIES, MESSAGES);
    let mut backplane = redis.map(connect).transpose()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers = Peers { coalesce, ..Peers::default() };
    let mut scratch = vec![0; SCRATCH];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match (event.token(), &mut backplane) {
                (LISTENER, _) => peers.accept(&listener, &poll)?,
                (REPLIES, Some(backplane)) => backplane.forget_replies(&mut scratch)?,
                (MESSAGES, Some(backplane)) => {
                    backplane.receive(&mut scratch, |message| peers.publish(message))?;
                }
                (Token(slot), backplane) => peers.serve(slot, event, &mut scratch, backplane.as_mut()),
            }
        }
        let frames = std::mem::take(&mut peers.turn);
        if !frames.is_empty() {
            peers.broadcast(&frames);
        }
    }
}

impl Peers {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or(self.slots.len());
            poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
            if slot == self.slots.len() {
                self.slots.push(None);
            }
            self.slots[slot] = Some(Peer { stream, kind: Kind::New });
        }
    }

    fn serve(&mut self, slot: usize, event: &Event, scratch: &mut [u8], backplane: Option<&mut Backplane>) {
        let writes = !event.is_writable() || self.resume(slot);
        if !(writes && (!event.is_readable() || self.read(slot, scratch, backplane))) {
            self.end(slot);
        }
    }

    fn end(&mut self, slot: usize) {
        self.waiting.remove(&slot);
        if self.slots[slot].take().is_some() {
            self.free.push(slot);
        }
    }

    /// Whether the peer is still there.
    fn read(&mut self, slot: usize, scratch: &mut [u8], mut backplane: Option<&mut Backplane>) -> bool {
        loop {
            let Some(peer) = self.slots[slot].as_mut() else { return true };
            let read = match peer.stream.read(scratch) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            if !self.handle(slot, &scratch[..read], backplane.as_deref_mut()) {
                return false;
            }
            if read < scratch.len() {
                return true;
            }
        }
    }

    fn handle(&mut self, slot: usize, received: &[u8], backplane: Option<&mut Backplane>) -> bool {
        let Some(peer) = self.slots[slot].as_mut() else { return true };
        match peer.kind {
            Kind::New => {
                peer.kind = match received {
                    [b'G', b'E', b'T', b' ', b'/', b'p', ..] => Kind::Publisher,
                    [b'G', b'E', b'T', b' ', b'/', b'e', ..] => Kind::Echo,
                    _ => Kind::Subscriber,
                };
                peer.stream.write_all(SWITCHING).is_ok()
            }
            Kind::Subscriber => true,
            Kind::Echo => messages(received).all(|message| peer.stream.write_all(&framed(message)).is_ok()),
            Kind::Publisher => match backplane {
                Some(backplane) => backplane.publish(messages(received)).is_ok(),
                None => {
                    messages(received).for_each(|message| self.publish(message));
                    true
                }
            },
        }
    }

    fn publish(&mut self, message: &[u8]) {
        let frame = framed(message);
        if self.coalesce {
            self.turn.extend_from_slice(&frame);
        } else {
            self.broadcast(&frame);
        }
    }

    fn broadcast(&mut self, frames: &[u8]) {
        for slot in 0..self.slots.len() {
            if matches!(&self.slots[slot], Some(peer) if peer.kind == Kind::Subscriber)
                && !self.send(slot, frames)
            {
                self.end(slot);
            }
        }
    }

    /// Writes frames to a peer, or has them wait behind those that do already; whether it is still there.
    fn send(&mut self, slot: usize, frames: &[u8]) -> bool {
        let Some(peer) = self.slots[slot].as_mut() else { return true };
        // Hardly ever is anything waiting, and then not even the slot is looked up.
        if !self.waiting.is_empty()
            && let Some(waiting) = self.waiting.get_mut(&slot)
        {
            waiting.extend_from_slice(frames);
            return waiting.len() <= WAITING_AT_MOST;
        }
        match write(&mut peer.stream, frames) {
            Ok(written) if written == frames.len() => true,
            Ok(written) => {
                self.waiting.insert(slot, frames[written..].to_vec());
                true
            }
            Err(_) => false,
        }
    }

    /// Writes what waits for a peer, as far as it fits; whether it is still there.
    fn resume(&mut self, slot: usize) -> bool {
        let (Some(peer), Some(waiting)) = (self.slots[slot].as_mut(), self.waiting.get_mut(&slot)) else {
            return true;
        };
        let Ok(written) = write(&mut peer.stream, waiting) else { return false };
        waiting.drain(..written);
        if waiting.is_empty() {
            self.waiting.remove(&slot);
        }
        true
    }
}

/// How many bytes fitted into the socket.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// The messages of the frames that the generator sends.
fn messages(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    frames.chunks_exact(CLIENT_HEADER + MESSAGE).map(|frame| &frame[CLIENT_HEADER..])
}

fn framed(message: &[u8]) -> [u8; SERVER_HEADER.len() + MESSAGE] {
    let mut framed = [0; SERVER_HEADER.len() + MESSAGE];
    framed[..SERVER_HEADER.len()].copy_from_slice(&SERVER_HEADER);
    framed[SERVER_HEADER.len()..].copy_from_slice(message);
    framed
}
