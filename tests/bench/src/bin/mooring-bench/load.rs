//! Many client connections on one thread: one poll, one buffer for what is read, nothing held per idle connection but its socket.

mod connection;

use std::{
    io::{self, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use crate::{
    dialect::{Dialect, Position, Role},
    message,
};
use connection::{Connection, Stage, dial};

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

    /// Connections that have sent their opening handshake, and have no answer.
    pub fn shaking(&self) -> usize {
        self.connections.iter().flatten().filter(|connection| connection.stage == Stage::Shaking).count()
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
        self.connections.push(Some(Connection::new(stream, endpoint)));
        self.opened += 1;
        Ok(())
    }
}

/// Where the next connection comes from when `opened` were before it.
fn source(block: u16, opened: usize) -> Ipv4Addr {
    let [high, low] = block.to_be_bytes();
    Ipv4Addr::new(127, high, low, 2 + (opened % SOURCES) as u8)
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpListener, sync::mpsc, thread};

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
