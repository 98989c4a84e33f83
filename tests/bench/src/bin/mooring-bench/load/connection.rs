//! One client connection: its handshake, and what is read from it.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Endpoint, LoadError};
use crate::{
    dialect::{Answer, Position},
    frames::{self, CLOSE, PING, PONG},
    message,
};

/// EINPROGRESS of Linux.
const IN_PROGRESS: i32 = 115;

/// A connection, from the first packet on.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) stage: Stage,
    /// Answered so far, of whichever protocol.
    pub(super) pings: u16,
    /// Where in its channel's stream it became ready.
    pub(super) position: Option<Box<Position>>,
    /// A frame or a response head that has not arrived whole.
    partial: Vec<u8>,
    /// Of a server that ends the connection with each response: the request that it has, then those that wait for a new connection.
    requests: VecDeque<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Shaking,
    Greeting,
    Ready,
}

impl Connection {
    /// One that [`dial`] began.
    pub(super) fn new(stream: TcpStream, endpoint: Rc<Endpoint>) -> Self {
        Self {
            stream,
            endpoint,
            stage: Stage::Connecting,
            pings: 0,
            position: None,
            partial: Vec::new(),
            requests: VecDeque::new(),
        }
    }

    /// Does what an event asks for; whether the connection is still open.
    pub(super) fn serve(
        &mut self,
        event: &Event,
        scratch: &mut [u8],
        arrived: impl FnMut((u8, u32)),
    ) -> Result<bool, LoadError> {
        if self.stage == Stage::Connecting && event.is_writable() {
            self.begin()?;
        }
        let open = !event.is_readable() || self.read(scratch, arrived)?;
        // A close that comes with the last bytes is no event of its own.
        Ok(open && !event.is_read_closed())
    }

    fn begin(&mut self) -> io::Result<()> {
        let Endpoint { path, dialect, .. } = &*self.endpoint;
        if dialect.is_http() {
            self.stage = Stage::Ready;
            return self.requests.front().map_or(Ok(()), |request| self.stream.write_all(request));
        }
        self.stage = Stage::Shaking;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes())
    }

    /// Sends a request when it can have the connection for itself.
    pub(super) fn request(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let free = self.stage == Stage::Ready && self.requests.is_empty();
        self.requests.push_back(bytes);
        if free { self.begin() } else { Ok(()) }
    }

    /// Goes on with the next request on a new connection, the old one having been closed with its response.
    pub(super) fn again(&mut self, stream: TcpStream) {
        self.requests.pop_front();
        self.stream = stream;
        self.stage = Stage::Connecting;
    }

    /// Reads what is there; whether the connection is still open.
    fn read(&mut self, scratch: &mut [u8], mut arrived: impl FnMut((u8, u32))) -> Result<bool, LoadError> {
        loop {
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let read = match self.stream.read(&mut scratch[kept..]) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let full = kept + read == scratch.len();
            let rest = self.handle(&scratch[..kept + read], &mut arrived)?;
            let rest = kept + read - rest..kept + read;
            self.partial.clear();
            if rest.is_empty() {
                self.partial = Vec::new();
            } else {
                self.partial.extend_from_slice(&scratch[rest]);
            }
            if !full {
                return Ok(true);
            }
        }
    }

    /// Handles what is whole; how many bytes are left over.
    fn handle(&mut self, mut bytes: &[u8], arrived: &mut impl FnMut((u8, u32))) -> Result<usize, LoadError> {
        if self.endpoint.dialect.is_http() {
            return responses(bytes).map(|()| 0);
        }
        if self.stage == Stage::Shaking {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(bytes.len());
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(refused(bytes));
            }
            bytes = &bytes[end + 4..];
            let Endpoint { dialect, role, channel, .. } = &*self.endpoint;
            let greeting = dialect.greeting(role, channel);
            self.stage = if greeting.is_some() { Stage::Greeting } else { Stage::Ready };
            self.write(&greeting.unwrap_or_default())?;
        }
        while let Some(frame) = frames::next(&mut bytes) {
            match frame.opcode {
                CLOSE => return Err(refused(frame.payload)),
                PING => {
                    self.pings = self.pings.saturating_add(1);
                    self.write(&frames::masked(PONG, frame.payload))?;
                }
                PONG => {}
                _ => self.message(frame.payload, arrived)?,
            }
        }
        Ok(bytes.len())
    }

    fn message(&mut self, payload: &[u8], arrived: &mut impl FnMut((u8, u32))) -> Result<(), LoadError> {
        let messages = message::decode(payload).map(arrived).count();
        let Endpoint { dialect, role, channel, .. } = &*self.endpoint;
        // A reply may bring what was missed.
        if messages > 0 && self.stage == Stage::Ready {
            let Some(pong) = dialect.pong_among(payload) else { return Ok(()) };
            self.pings = self.pings.saturating_add(1);
            return Ok(self.write(&pong)?);
        }
        match dialect.answer(role, channel, payload) {
            Answer::Nothing => {}
            Answer::Send(bytes) => {
                self.pings = self.pings.saturating_add((self.stage == Stage::Ready).into());
                self.write(&bytes)?;
            }
            Answer::Ready => self.stage = Stage::Ready,
            Answer::ReadyAt(position) => {
                self.position = Some(Box::new(position));
                self.stage = Stage::Ready;
            }
            Answer::Refused => return Err(refused(payload)),
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.stream.write_all(bytes) }
    }
}

/// Responses to POSTs are only worth a look at their status.
fn responses(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes.strip_prefix(b"HTTP/1.1 ") {
        Some([b'2', ..]) | None => Ok(()),
        Some(_) => Err(refused(bytes)),
    }
}

fn refused(bytes: &[u8]) -> LoadError {
    LoadError::Refused(String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned())
}

/// Begins to connect, as the connection at an index.
pub(super) fn dial(
    registry: &Registry,
    source: Ipv4Addr,
    address: SocketAddr,
    index: usize,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
        _ => {}
    }
    let mut stream = TcpStream::from_std(socket.into());
    registry.register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}
