//! One connection to Redis that comes back by itself.

use std::{future::Future, io, pin::Pin, time::Duration};

use bytes::{Buf, BytesMut};
use gateway_core::resp::{Decoder, Resp};
use redis::{Cmd, ConnectionAddr, ConnectionInfo};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{sleep, timeout},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
const READ_SIZE: usize = 64 * 1024;

/// What happens on a wire.
#[derive(Debug)]
pub(super) enum Event {
    /// Connected; nothing was sent yet.
    Up,
    /// Replies, in order.
    Replies(Vec<Resp>),
    /// The connection ended, or was not to be had; another one is under way.
    Down(String),
}

/// A connection, or the way to the next one.
pub(super) struct Wire {
    info: ConnectionInfo,
    failures: u32,
    state: State,
}

enum State {
    Connecting(Pin<Box<dyn Future<Output = Result<Link, String>> + Send>>),
    Up(Box<Link>),
    Failed(String),
}

impl Wire {
    pub(super) fn new(info: ConnectionInfo) -> Self {
        let state = State::Connecting(Box::pin(connect(info.clone(), Duration::ZERO)));
        Self { info, failures: 0, state }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        match &self.state {
            State::Up(link) => link.output.len() - link.written,
            State::Connecting(_) | State::Failed(_) => 0,
        }
    }

    /// Puts a command on the wire; without a connection it goes nowhere.
    pub(super) fn send(&mut self, command: &Cmd) {
        if let State::Up(link) = &mut self.state {
            command.write_packed_command(&mut link.output);
        }
    }

    /// Gives up the connection; the next event is `Down`.
    pub(super) fn fail(&mut self, why: &str) {
        if self.is_up() {
            self.state = State::Failed(why.to_owned());
        }
    }

    /// The next event. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        let error = match &mut self.state {
            State::Connecting(attempt) => match attempt.await {
                Ok(link) => {
                    self.failures = 0;
                    self.state = State::Up(Box::new(link));
                    return Event::Up;
                }
                Err(error) => error,
            },
            State::Up(link) => match link.turn().await {
                Ok(replies) => return Event::Replies(replies),
                Err(error) => error.to_string(),
            },
            State::Failed(error) => std::mem::take(error),
        };
        // The name is resolved anew: a restarted Redis may have another address.
        self.state = State::Connecting(Box::pin(connect(self.info.clone(), backoff(self.failures))));
        self.failures = self.failures.saturating_add(1);
        Event::Down(error)
    }
}

/// Doubles from one failure to the next; the lower half is left to chance, so that nodes do not come back in step.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_BACKOFF.saturating_mul(1 << failures.min(10)).min(LONGEST_BACKOFF);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

async fn connect(info: ConnectionInfo, wait: Duration) -> Result<Link, String> {
    sleep(wait).await;
    match timeout(CONNECT_WITHIN, open(&info)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no connection to {} within {CONNECT_WITHIN:?}", info.addr())),
    }
}

async fn open(info: &ConnectionInfo) -> Result<Link, String> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err(format!("{} is no TCP address", info.addr()));
    };
    let failed = |error: io::Error| format!("{host}:{port}: {error}");
    let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    let mut link = Link {
        socket,
        input: BytesMut::with_capacity(READ_SIZE),
        decoder: Decoder::default(),
        output: Vec::new(),
        written: 0,
    };
    let settings = info.redis_settings();
    let mut expected = 1;
    if let Some(password) = settings.password() {
        let mut auth = redis::cmd("AUTH");
        auth.arg(settings.username()).arg(password).write_packed_command(&mut link.output);
        expected += 1;
    }
    if settings.db() != 0 {
        redis::cmd("SELECT").arg(settings.db()).write_packed_command(&mut link.output);
        expected += 1;
    }
    // A Redis that still loads its data says so.
    redis::cmd("PING").write_packed_command(&mut link.output);
    while expected > 0 {
        for reply in link.turn().await.map_err(failed)? {
            if let Resp::Error(error) = reply {
                return Err(format!("{host}:{port}: {error}"));
            }
            expected -= 1;
        }
    }
    Ok(link)
}

struct Link {
    socket: TcpStream,
    input: BytesMut,
    decoder: Decoder,
    output: Vec<u8>,
    written: usize,
}

impl Link {
    /// Writes what waits and reads what comes, until there are replies. Nothing is lost when it is cancelled.
    async fn turn(&mut self) -> io::Result<Vec<Resp>> {
        loop {
            let interest = if self.output.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let ready = self.socket.ready(interest).await?;
            if ready.is_writable() {
                self.write()?;
            }
            if ready.is_readable() {
                self.read()?;
                let replies = self.decode()?;
                if !replies.is_empty() {
                    return Ok(replies);
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.socket.try_write(self.output.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(READ_SIZE);
        self.written = 0;
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        self.input.reserve(READ_SIZE);
        match self.socket.try_read_buf(&mut self.input) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection")),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn decode(&mut self) -> io::Result<Vec<Resp>> {
        let mut replies = Vec::new();
        while self.input.has_remaining() {
            match self.decoder.decode(&mut self.input).map_err(io::Error::other)? {
                Some(reply) => replies.push(reply),
                None => break,
            }
        }
        Ok(replies)
    }
}
