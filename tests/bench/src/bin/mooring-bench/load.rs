//! Many client connections on one thread: one poll, one buffer for what is read, nothing held per idle connection but its socket.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, event::Event, net::TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    dialect::{Answer, Dialect, Position, Role},
    frames::{self, CLOSE, PING, PONG},
    message,
};

/// Events handled before what they led to is sent, so that a completed message is followed up soon.
const EVENTS: usize = 64;
const SCRATCH: usize = 256 * 1024;
/// Source addresses, in turn: a port that is closed rests for a minute, and one address has too few for many runs.
const SOURCES: usize = 250;
/// The one of 127.0.0.0/8's blocks of 256 addresses that a generator connects from when it is the only one.
const OWN_BLOCK: u16 = 1;
/// For something to arrive.
const WAIT: Duration = Duration::from_millis(100);
/// For all of a number of connections to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where to connect, and what to be there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub path: String,
    pub channel: String,
    pub dialect: Dialect,
    pub role: Role,
}

impl Endpoint {
    /// The bytes that publish a message to its channel.
    pub fn publish(&self, publisher: u8, sequence: u32) -> Vec<u8> {
        self.dialect.publish(&self.path, &self.channel, &message::encode(publisher, sequence))
    }
}

/// All connections of the generator.
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Option<Connection>>,
    scratch: Box<[u8]>,
    /// Which 256 addresses of 127.0.0.0/8 to connect from.
    block: u16,
    opened: usize,
    ready: usize,
    /// Connections that ended by themselves.
    ended: usize,
}

struct Connection {
    stream: TcpStream,
    endpoint: Rc<Endpoint>,
    stage: Stage,
    /// Answered so far, of whichever protocol.
    pings: u16,
    /// Where in its channel's stream it became ready.
    position: Option<Box<Position>>,
    /// A frame or a response head that has not arrived whole.
    partial: Vec<u8>,
    /// Of a server that ends the connection with each response: the request that it has, then those that wait for a new connection.
    requests: VecDeque<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Shaking,
    Greeting,
    Ready,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the server closed connection {0}")]
    Closed(usize),
    #[error("only {ready} of {of} connections were ready within {}", READY_WITHIN.as_secs())]
    Slow { ready: usize, of: usize },
}

impl Load {
    pub fn new() -> io::Result<Self> {
        Self::from_block(OWN_BLOCK)
    }

    /// A generator among others, each with its own block of 256 source addresses of 127.0.0.0/8.
    pub fn from_block(block: u16) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            connections: Vec::new(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            block,
            opened: 0,
            ready: 0,
            ended: 0,
        })
    }

    /// Opens connections, at most `at_once` of them unready at any time, and waits until all are ready. Their indexes follow those
    /// that were opened before.
    pub fn open(&mut self, endpoint: &Endpoint, count: usize, at_once: usize) -> Result<(), LoadError> {
        let endpoint = Rc::new(endpoint.clone());
        self.open_each(std::iter::repeat_n(endpoint, count), at_once, |load| load.turn(WAIT, |_, _| {}))
    }

    /// The same with an endpoint for each; `turn` is repeated meanwhile, and has to take its turns.
    pub fn open_each(
        &mut self,
        mut endpoints: impl ExactSizeIterator<Item = Rc<Endpoint>>,
        at_once: usize,
        mut turn: impl FnMut(&mut Self) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let (first, ready, count) = (self.connections.len(), self.ready, endpoints.len());
        let deadline = Instant::now() + READY_WITHIN;
        while self.ready < ready + count {
            while self.connections.len() - first < self.ready - ready + at_once
                && let Some(endpoint) = endpoints.next()
            {
                self.connect(endpoint)?;
            }
            turn(self)?;
            if Instant::now() > deadline {
                return Err(LoadError::Slow { ready: self.ready - ready, of: count });
            }
        }
        Ok(())
    }

    /// Where in its channel's stream a connection became ready.
    pub fn position(&self, index: usize) -> Option<&Position> {
        self.connections.get(index)?.as_ref()?.position.as_deref()
    }

    /// Pings answered so far on the connections that are open.
    pub fn pings(&self) -> u64 {
        self.pings_of_each().map(|(_, pings)| u64::from(pings)).sum()
    }

    /// The open connections, and how many pings each has answered.
    pub fn pings_of_each(&self) -> impl Iterator<Item = (usize, u16)> {
        let pings = |connection: &Option<Connection>| connection.as_ref().map(|open| open.pings);
        self.connections.iter().map(pings).enumerate().filter_map(|(index, pings)| Some((index, pings?)))
    }

    /// Connections that ended by themselves so far.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// Closes every connection but the first `kept`, which have to be ready.
    pub fn close_after(&mut self, kept: usize) {
        self.connections.truncate(kept);
        self.ready = self.connections.len();
    }

    /// Sends bytes on a ready connection. They are few and the socket is empty, so they go out whole.
    pub fn send(&mut self, index: usize, bytes: &[u8]) -> Result<(), LoadError> {
        let connection = self.connections[index].as_mut().ok_or(LoadError::Closed(index))?;
        connection.stream.write_all(bytes)?;
        Ok(())
    }

    /// Publishes a message on a publisher's connection.
    pub fn publish(&mut self, index: usize, publisher: u8, sequence: u32) -> Result<(), LoadError> {
        let connection = self.connections[index].as_mut().ok_or(LoadError::Closed(index))?;
        let bytes = connection.endpoint.publish(publisher, sequence);
        if connection.endpoint.dialect == Dialect::PusherPost {
            return Ok(connection.request(bytes)?);
        }
        self.send(index, &bytes)
    }

    /// Waits for what arrives and hands each message's publisher and sequence to `arrived`, with the connection it came on. A
    /// connection that ends does not keep the others from their turn; the first one's error is returned then.
    pub fn turn(
        &mut self,
        wait: Duration,
        mut arrived: impl FnMut(usize, (u8, u32)),
    ) -> Result<(), LoadError> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let mut first = None;
        for event in &self.events {
            let index = event.token().0;
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { continue };
            let was_ready = connection.stage == Stage::Ready;
            match connection.serve(event, &mut self.scratch, |message| arrived(index, message)) {
                Ok(true) => self.ready += usize::from(!was_ready && connection.stage == Stage::Ready),
                Ok(false) if connection.endpoint.dialect == Dialect::PusherPost => {
                    let source = source(self.block, self.opened);
                    connection.again(dial(self.poll.registry(), source, connection.endpoint.address, index)?);
                    self.opened += 1;
                    self.ready -= usize::from(was_ready);
                }
                end => {
                    self.connections[index] = None;
                    self.ended += 1;
                    first.get_or_insert(end.err().unwrap_or(LoadError::Closed(index)));
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn connect(&mut self, endpoint: Rc<Endpoint>) -> io::Result<()> {
        let index = self.connections.len();
        let stream = dial(self.poll.registry(), source(self.block, self.opened), endpoint.address, index)?;
        self.connections.push(Some(Connection {
            stream,
            endpoint,
            stage: Stage::Connecting,
            pings: 0,
            position: None,
            partial: Vec::new(),
            requests: VecDeque::new(),
        }));
        self.opened += 1;
        Ok(())
    }
}

/// Where the next connection comes from when `opened` were before it.
fn source(block: u16, opened: usize) -> Ipv4Addr {
    let [high, low] = block.to_be_bytes();
    Ipv4Addr::new(127, high, low, 2 + (opened % SOURCES) as u8)
}

/// Begins to connect, as the connection at an index.
fn dial(registry: &Registry, source: Ipv4Addr, address: SocketAddr, index: usize) -> io::Result<TcpStream> {
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

/// EINPROGRESS of Linux.
const IN_PROGRESS: i32 = 115;

impl Connection {
    /// Does what an event asks for; whether the connection is still open.
    fn serve(
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
    fn request(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let free = self.stage == Stage::Ready && self.requests.is_empty();
        self.requests.push_back(bytes);
        if free { self.begin() } else { Ok(()) }
    }

    /// Goes on with the next request on a new connection, the old one having been closed with its response.
    fn again(&mut self, stream: TcpStream) {
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
        // A reply may bring what was missed.
        if messages > 0 && self.stage == Stage::Ready {
            return Ok(());
        }
        let Endpoint { dialect, role, channel, .. } = &*self.endpoint;
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

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_server_that_closes_with_each_response_gets_each_request_once_and_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut request) = (stream.unwrap(), Vec::new());
                while message::decode(&request).next().is_none() {
                    let mut part = [0; 1_024];
                    let read = stream.read(&mut part).unwrap();
                    request.extend(&part[..read]);
                }
                sender.send(message::decode(&request).collect::<Vec<_>>()).unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                    .unwrap();
            }
        });
        let path = String::from("/apps/bench/events");
        let mut load = Load::new().unwrap();
        let channel = String::new();
        let endpoint =
            Endpoint { address, path, channel, dialect: Dialect::PusherPost, role: Role::Publisher };
        load.open(&endpoint, 1, 1).unwrap();
        for sequence in 0..3 {
            load.publish(0, 7, sequence).unwrap();
        }
        let mut requests = Vec::new();
        let deadline = Instant::now() + READY_WITHIN;
        while requests.len() < 3 && Instant::now() < deadline {
            load.turn(Duration::from_millis(100), |_, _| {}).unwrap();
            requests.extend(received.try_iter());
        }
        assert_eq!(requests, [[(7, 0)], [(7, 1)], [(7, 2)]]);
    }
}
