//! The floor: what one epoll loop can do when it does no more than it has to. It answers an opening handshake without reading it,
//! sends each message to each subscriber by a write of its own, and knows no protocol beyond a frame's first two bytes. With a Redis,
//! messages go through it.

mod backplane;

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
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

/// Serves until the process is ended, or nothing has happened for a minute.
pub fn run(address: SocketAddr, redis: Option<SocketAddr>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let connect = |redis| Backplane::connect(redis, poll.registry(), REPLIES, MESSAGES);
    let mut backplane = redis.map(connect).transpose()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut scratch = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, Some(Duration::from_secs(60)))?;
        if events.is_empty() {
            return Ok(());
        }
        for event in &events {
            match (event.token(), &mut backplane) {
                (LISTENER, _) => accept(&listener, &poll, &mut peers, &mut free)?,
                (REPLIES, Some(backplane)) => backplane.forget_replies(&mut scratch)?,
                (MESSAGES, Some(backplane)) => {
                    backplane.receive(&mut scratch, |message| broadcast(&mut peers, message))?;
                }
                (Token(slot), backplane) => {
                    if !serve(slot, &mut peers, &mut scratch, backplane.as_mut()) {
                        peers[slot] = None;
                        free.push(slot);
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    peers: &mut Vec<Option<Peer>>,
    free: &mut Vec<usize>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let slot = free.pop().unwrap_or(peers.len());
        poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
        if slot == peers.len() {
            peers.push(None);
        }
        peers[slot] = Some(Peer { stream, kind: Kind::New });
    }
}

/// Whether the peer is still there.
fn serve(
    slot: usize,
    peers: &mut [Option<Peer>],
    scratch: &mut [u8],
    backplane: Option<&mut Backplane>,
) -> bool {
    let Some(peer) = peers[slot].as_mut() else { return true };
    let read = match peer.stream.read(scratch) {
        Ok(0) => return false,
        Ok(read) => read,
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    };
    let received = &scratch[..read];
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
                messages(received).for_each(|message| broadcast(peers, message));
                true
            }
        },
    }
}

/// The messages of the frames that the generator sends.
fn messages(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    frames.chunks_exact(CLIENT_HEADER + MESSAGE).map(|frame| &frame[CLIENT_HEADER..])
}

fn broadcast(peers: &mut [Option<Peer>], message: &[u8]) {
    let frame = framed(message);
    for peer in peers.iter_mut().flatten().filter(|peer| peer.kind == Kind::Subscriber) {
        // A subscriber that is gone or full is told by its own event, or by the audit.
        let _ = peer.stream.write(&frame);
    }
}

fn framed(message: &[u8]) -> [u8; SERVER_HEADER.len() + MESSAGE] {
    let mut framed = [0; SERVER_HEADER.len() + MESSAGE];
    framed[..SERVER_HEADER.len()].copy_from_slice(&SERVER_HEADER);
    framed[SERVER_HEADER.len()..].copy_from_slice(message);
    framed
}
