//! What HTTP runs on: a TCP connection, on the client port before the 101.
//!
//! Of what comes in, HTTP is given a head at most to its end, then the body that it announces: see [`Framing`].
//!
//! A connection waits for its first bytes in the shard's poll, and most opening handshakes are answered from these in one go: the
//! socket never leaves that poll. The runtime takes it over only when it has to be waited for again.

use std::{
    future::Future as _,
    io::{self, ErrorKind, Write as _},
    mem::{self, MaybeUninit},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use mio::{Interest, Registry, net::TcpStream};
use tokio::time::Sleep;

use super::framing::{Framing, Next};
use crate::poll_token::NOBODY;

/// Read from a socket at once.
const READ: usize = 16 * 1024;
/// For the other side to take something of an answer that waits.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A TCP connection that speaks HTTP.
#[derive(Debug)]
pub struct HttpStream {
    socket: Socket,
    /// Read from the socket already, and not by hyper yet.
    read_ahead: Bytes,
    framing: Framing,
    /// Runs while an answer waits for room.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Socket {
    /// In the shard's poll; nobody waits for it.
    Polled(TcpStream, Rc<Registry>),
    /// The runtime tells when it is ready.
    Registered(TokioIo<tokio::net::TcpStream>),
    /// The runtime could not take it.
    Lost,
}

impl HttpStream {
    /// Takes a socket of the shard's poll, and what was read from it.
    pub fn polled(socket: TcpStream, read_ahead: Bytes, registry: Rc<Registry>) -> Self {
        Self::new(Socket::Polled(socket, registry), read_ahead)
    }

    /// Takes a socket of the runtime's.
    pub fn registered(socket: tokio::net::TcpStream) -> Self {
        Self::new(Socket::Registered(TokioIo::new(socket)), Bytes::new())
    }

    fn new(socket: Socket, read_ahead: Bytes) -> Self {
        Self { socket, read_ahead, framing: Framing::default(), stalled: None }
    }

    /// What its service has to tell it.
    pub fn framing(&self) -> Framing {
        self.framing.clone()
    }

    /// The socket, in the shard's poll again, and what was read from it but not by hyper.
    pub fn into_parts(self, registry: &Registry) -> io::Result<(TcpStream, Bytes)> {
        if let Socket::Polled(socket, _) = self.socket {
            return Ok((socket, self.read_ahead));
        }
        let mut socket = TcpStream::from_std(into_tokio(self.socket)?.into_std()?);
        registry.register(&mut socket, NOBODY, Interest::READABLE)?;
        Ok((socket, self.read_ahead))
    }

    /// The socket, for whoever waits for it.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpStream> {
        into_tokio(self.socket)
    }

    /// The socket for an operation that may have to wait.
    fn waiting(&mut self) -> io::Result<Pin<&mut TokioIo<tokio::net::TcpStream>>> {
        if !matches!(self.socket, Socket::Registered(_)) {
            let socket = into_tokio(mem::replace(&mut self.socket, Socket::Lost))?;
            self.socket = Socket::Registered(TokioIo::new(socket));
        }
        match &mut self.socket {
            Socket::Registered(socket) => Ok(Pin::new(socket)),
            Socket::Polled(..) | Socket::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Reads from the socket when nothing is read ahead.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            let mut room = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut room);
            ready!(self.waiting()?.poll_read(context, buffer.unfilled()))?;
            self.read_ahead = Bytes::copy_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Socket::Polled(socket, _) = &mut self.socket {
            match socket.write(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                written => return Poll::Ready(written),
            }
        }
        self.waiting()?.poll_write(context, bytes)
    }
}

fn into_tokio(socket: Socket) -> io::Result<tokio::net::TcpStream> {
    match socket {
        Socket::Polled(mut socket, registry) => {
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
        let next = match self.framing.next() {
            Next::Body(0) => Next::default(),
            // HTTP has not taken this head for one, and answers no other request.
            Next::Unknown(_) => return Poll::Ready(Ok(())),
            next => next,
        };
        ready!(self.fill(context))?;
        let room = self.read_ahead.len().min(buffer.remaining());
        let (length, next) = match next {
            Next::Head(mut scanner) => match scanner.scan(&self.read_ahead[..room]) {
                Some(end) => (end, Next::Unknown(scanner.verdict())),
                None => (room, Next::Head(scanner)),
            },
            Next::Body(left) => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(room);
                (length, Next::Body(left - length as u64))
            }
            next @ (Next::Rest | Next::Unknown(_)) => (room, next),
        };
        buffer.put_slice(&self.read_ahead.split_to(length));
        self.framing.set(next);
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.write(context, bytes);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        stalled.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting()?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Read as _, net::TcpListener, pin::pin, thread};

    use gateway_core::head::BadHead;

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
            (
                self.client,
                HttpStream::polled(self.server, Bytes::from_static(read_ahead), registry),
                self.poll,
            )
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
        assert!(matches!(stream.socket, Socket::Polled(..)));
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
        let (_client, mut stream, poll) = Pair::new().open(b"request");
        assert_eq!(read(&mut stream, 3).await, b"req");
        assert_eq!(stream.into_parts(poll.registry()).unwrap().1, "uest");
    }

    #[tokio::test]
    async fn a_socket_that_the_runtime_had_is_in_the_poll_again_when_it_is_handed_on() {
        let (mut client, mut stream, mut poll) = Pair::new().open(b"request");
        stream.waiting().unwrap();
        let (socket, _) = stream.into_parts(poll.registry()).unwrap();
        client.write_all(b"frame").unwrap();
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, None).unwrap();
        assert!(events.iter().any(|event| event.token() == NOBODY && event.is_readable()));
        drop(socket);
    }

    #[tokio::test]
    async fn nothing_beyond_a_head_is_given_away_before_it_is_known_to_whom() {
        let (_client, mut stream, poll) = Pair::new().open(b"GET / HTTP/1.1\r\n\r\nframe");
        assert_eq!(read(&mut stream, 64).await, b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(read(&mut stream, 64).await, b"", "no other request");
        assert_eq!(stream.into_parts(poll.registry()).unwrap().1, "frame");
    }

    #[tokio::test]
    async fn a_body_is_given_to_its_end_and_then_a_head_is_looked_at_again() {
        let (_client, mut stream, _poll) = Pair::new().open(b"a\nb\n\nGET / HTTP/1.1\n\r\nrest");
        let framing = stream.framing();
        framing.set(Next::Body(5));
        assert_eq!(read(&mut stream, 64).await, b"a\nb\n\n");
        assert_eq!(read(&mut stream, 64).await, b"GET / HTTP/1.1\n\r\n");
        assert!(matches!(framing.next(), Next::Unknown(Err(BadHead::BareLf))));
        framing.set(Next::Rest);
        assert_eq!(read(&mut stream, 64).await, b"rest");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_for_a_while_is_given_up() {
        let (client, mut stream, _poll) = Pair::new().open(b"request");
        let started = tokio::time::Instant::now();
        let error = loop {
            let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, &[0; 65_536])).await;
            if let Err(error) = written {
                break error;
            }
        };
        assert_eq!((error.kind(), started.elapsed() >= WRITE_TIMEOUT), (ErrorKind::TimedOut, true));
        drop(client);
    }
}
