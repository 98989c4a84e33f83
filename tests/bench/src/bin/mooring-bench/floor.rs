//! The floor: what one epoll loop can do when it does no more than it has to. It answers an opening handshake without reading it,
//! sends each message to each subscriber by a write of its own, and knows no protocol beyond a frame's first two bytes.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(usize::MAX);
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
pub fn run(address: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
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
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut peers, &mut free)?;
            } else if !serve(event.token().0, &mut peers, &mut scratch) {
                peers[event.token().0] = None;
                free.push(event.token().0);
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
fn serve(slot: usize, peers: &mut [Option<Peer>], scratch: &mut [u8]) -> bool {
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
        Kind::Echo => received
            .chunks_exact(CLIENT_HEADER + MESSAGE)
            .all(|frame| peer.stream.write_all(&framed(frame)).is_ok()),
        Kind::Publisher => {
            for frame in received.chunks_exact(CLIENT_HEADER + MESSAGE) {
                broadcast(peers, &framed(frame));
            }
            true
        }
    }
}

fn broadcast(peers: &mut [Option<Peer>], frame: &[u8]) {
    for peer in peers.iter_mut().flatten().filter(|peer| peer.kind == Kind::Subscriber) {
        // A subscriber that is gone or full is told by its own event, or by the audit.
        let _ = peer.stream.write(frame);
    }
}

fn framed(frame: &[u8]) -> [u8; SERVER_HEADER.len() + MESSAGE] {
    let mut framed = [0; SERVER_HEADER.len() + MESSAGE];
    framed[..SERVER_HEADER.len()].copy_from_slice(&SERVER_HEADER);
    framed[SERVER_HEADER.len()..].copy_from_slice(&frame[CLIENT_HEADER..]);
    framed
}
