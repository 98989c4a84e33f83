//! The floor's way through Redis: a PUBLISH for each message, and what one subscription brings.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::MESSAGE;

const SUBSCRIBE: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nfloor\r\n";
const SUBSCRIBED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$5\r\nfloor\r\n:1\r\n";
/// What is before a message and after it, when it is published and when it arrives; all have the same length.
const PUBLISH: &[u8] = b"*3\r\n$7\r\nPUBLISH\r\n$5\r\nfloor\r\n$128\r\n";
const ARRIVED: &[u8] = b"*3\r\n$7\r\nmessage\r\n$5\r\nfloor\r\n$128\r\n";
const END: &[u8] = b"\r\n";

/// Two connections to Redis: one for commands, whose replies nobody waits for, and one that is subscribed.
pub struct Backplane {
    commands: TcpStream,
    subscription: TcpStream,
    /// The start of a message whose end has not arrived.
    rest: Vec<u8>,
}

impl Backplane {
    /// Connects and subscribes; `replies` and `messages` are the tokens of the two connections.
    pub fn connect(
        redis: SocketAddr,
        registry: &Registry,
        replies: Token,
        messages: Token,
    ) -> io::Result<Self> {
        let commands = std::net::TcpStream::connect(redis)?;
        let mut subscription = std::net::TcpStream::connect(redis)?;
        subscription.write_all(SUBSCRIBE)?;
        subscription.read_exact(&mut [0; SUBSCRIBED.len()])?;
        let mio = |stream: std::net::TcpStream, token| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            registry.register(&mut stream, token, Interest::READABLE)?;
            io::Result::Ok(stream)
        };
        Ok(Self {
            commands: mio(commands, replies)?,
            subscription: mio(subscription, messages)?,
            rest: Vec::new(),
        })
    }

    /// Publishes messages, all of them in one write.
    pub fn publish<'a>(&mut self, messages: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let commands: Vec<u8> =
            messages.flat_map(|message| [PUBLISH, message, END]).flatten().copied().collect();
        self.commands.write_all(&commands)
    }

    /// Reads replies, and forgets them.
    pub fn forget_replies(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        while read(&mut self.commands, scratch)? > 0 {}
        Ok(())
    }

    /// Reads what has arrived, and hands over each message that is whole.
    pub fn receive(&mut self, scratch: &mut [u8], mut message: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let length = read(&mut self.subscription, scratch)?;
            if length == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&scratch[..length]);
            let mut whole = self.rest.chunks_exact(ARRIVED.len() + MESSAGE + END.len());
            for push in &mut whole {
                message(&push[ARRIVED.len()..][..MESSAGE]);
            }
            self.rest = whole.remainder().to_vec();
        }
    }
}

/// 0 when there is nothing for now; the end of the connection is an error.
fn read(stream: &mut TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    match stream.read(scratch) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
