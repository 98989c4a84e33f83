//! What HTTP runs on: a client's TCP connection before the 101.
//!
//! A connection waits for its first bytes in the shard's poll, and most opening handshakes are answered from these in one go: the
//! socket never leaves that poll. The runtime takes it over only when it has to be waited for again.

use std::{
    io::{self, ErrorKind, Write as _},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use mio::{Interest, Registry, net::TcpStream};

use crate::poll_token::NOBODY;

/// A client's TCP connection.
#[derive(Debug)]
pub struct HttpStream {
    socket: Socket,
    /// Read from the socket already, and not by hyper yet.
    read_ahead: Bytes,
    /// The shard's poll.
    registry: Rc<Registry>,
}

#[derive(Debug)]
enum Socket {
    /// In the shard's poll; nobody waits for it.
    Polled(TcpStream),
    /// The runtime tells when it is ready.
    Registered(TokioIo<tokio::net::TcpStream>),
    /// The runtime could not take it.
    Lost,
}

impl HttpStream {
    /// Takes a socket of the shard's poll, and what was read from it.
    pub fn new(socket: TcpStream, read_ahead: Bytes, registry: Rc<Registry>) -> Self {
        Self { socket: Socket::Polled(socket), read_ahead, registry }
    }

    /// The socket, in the shard's poll again, and what was read from it but not by hyper.
    pub fn into_parts(self) -> io::Result<(TcpStream, Bytes)> {
        if let Socket::Polled(socket) = self.socket {
            return Ok((socket, self.read_ahead));
        }
        let mut socket = TcpStream::from_std(into_tokio(self.socket, &self.registry)?.into_std()?);
        self.registry.register(&mut socket, NOBODY, Interest::READABLE)?;
        Ok((socket, self.read_ahead))
    }

    /// The socket, for whoever waits for it.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpStream> {
        into_tokio(self.socket, &self.registry)
    }

    /// The socket for an operation that may have to wait.
    fn registered(&mut self) -> io::Result<Pin<&mut TokioIo<tokio::net::TcpStream>>> {
        if !matches!(self.socket, Socket::Registered(_)) {
            let socket = into_tokio(mem::replace(&mut self.socket, Socket::Lost), &self.registry)?;
            self.socket = Socket::Registered(TokioIo::new(socket));
        }
        match &mut self.socket {
            Socket::Registered(socket) => Ok(Pin::new(socket)),
            Socket::Polled(_) | Socket::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }
}

fn into_tokio(socket: Socket, registry: &Registry) -> io::Result<tokio::net::TcpStream> {
    match socket {
        Socket::Polled(mut socket) => {
            registry.deregister(&mut socket)?;
            tokio::net::TcpStream::from_std(socket.into())
        }
        Socket::Registered(socket) => Ok(socket.into_inner()),
        Socket::Lost => Err(ErrorKind::NotConnected.into()),
    }
}

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            return self.registered()?.poll_read(context, buffer);
        }
        let length = self.read_ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.read_ahead.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Socket::Polled(socket) = &mut self.socket {
            match socket.write(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                written => return Poll::Ready(written),
            }
        }
        self.registered()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.registered()?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Read as _, net::TcpListener, pin::pin, thread};

    use super::*;

    /// A connection: the client's end, and ours in a poll.
    struct Pair {
        client: std::net::TcpStream,
        server: TcpStream,
        poll: mio::Poll,
    }

    impl Pair {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            let mut server = TcpStream::from_std(server);
            let poll = mio::Poll::new().unwrap();
            poll.registry().register(&mut server, NOBODY, Interest::READABLE).unwrap();
            Self { client, server, poll }
        }

        /// What HTTP gets when some bytes of a request were there.
        fn open(self, read_ahead: &'static [u8]) -> (std::net::TcpStream, HttpStream, mio::Poll) {
            let registry = Rc::new(self.poll.registry().try_clone().unwrap());
            (self.client, HttpStream::new(self.server, Bytes::from_static(read_ahead), registry), self.poll)
        }
    }

    async fn read(stream: &mut HttpStream, room: usize) -> Vec<u8> {
        let mut room = vec![0; room];
        let mut buffer = hyper::rt::ReadBuf::new(&mut room);
        poll_fn(|context| Pin::new(&mut *stream).poll_read(context, buffer.unfilled())).await.unwrap();
        buffer.filled().to_vec()
    }

    #[tokio::test]
    async fn the_runtime_does_not_hear_of_a_connection_whose_request_is_there_and_whose_answer_fits() {
        let (mut client, mut stream, _poll) = Pair::new().open(b"request");
        assert_eq!(read(&mut stream, 16).await, b"request");
        let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, b"answer")).await;
        assert_eq!(written.unwrap(), 6);
        assert!(matches!(stream.socket, Socket::Polled(_)));
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn the_rest_of_a_request_is_waited_for() {
        let (mut client, mut stream, _poll) = Pair::new().open(b"req");
        assert_eq!(read(&mut stream, 16).await, b"req");
        {
            let mut rest = pin!(read(&mut stream, 16));
            assert!(poll_fn(|context| Poll::Ready(rest.as_mut().poll(context).is_pending())).await);
            client.write_all(b"uest").unwrap();
            assert_eq!(rest.await, b"uest");
        }
        assert!(matches!(stream.socket, Socket::Registered(_)));
    }

    #[tokio::test]
    async fn an_answer_that_the_socket_does_not_take_at_once_arrives_whole() {
        const LENGTH: usize = 16 * 1024 * 1024;
        let (mut client, mut stream, _poll) = Pair::new().open(b"request");
        let answer = vec![7; LENGTH];
        let mut left = answer.as_slice();
        // Nobody reads until the socket is full.
        while let Poll::Ready(written) =
            poll_fn(|context| Poll::Ready(Pin::new(&mut stream).poll_write(context, left))).await
        {
            left = &left[written.unwrap()..];
        }
        assert!(matches!(stream.socket, Socket::Registered(_)));
        let reader = thread::spawn(move || {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).map(|_| answer)
        });
        while !left.is_empty() {
            let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, left)).await.unwrap();
            left = &left[written..];
        }
        drop(stream);
        assert!(reader.join().unwrap().unwrap() == answer);
    }

    #[tokio::test]
    async fn what_hyper_has_no_room_for_is_handed_on() {
        let (_client, mut stream, _poll) = Pair::new().open(b"request");
        assert_eq!(read(&mut stream, 3).await, b"req");
        assert_eq!(stream.into_parts().unwrap().1, "uest");
    }

    #[tokio::test]
    async fn a_socket_that_the_runtime_had_is_in_the_poll_again_when_it_is_handed_on() {
        let (mut client, mut stream, mut poll) = Pair::new().open(b"request");
        stream.registered().unwrap();
        let (socket, _) = stream.into_parts().unwrap();
        client.write_all(b"frame").unwrap();
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, None).unwrap();
        assert!(events.iter().any(|event| event.token() == NOBODY && event.is_readable()));
        drop(socket);
    }
}
