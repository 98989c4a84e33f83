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
    /// Connected; nothing was sent yet. With it comes the id of this life of Redis's data, which it gets anew when it has lost them.
    Up(String),
    /// Replies, in order.
    Replies(Vec<Resp>),
    /// The connection ended, or was not to be had; another one is under way.
    Down(String),
}

/// A connection, or the way to the next one.
pub(super) struct Wire {
    info: ConnectionInfo,
    /// The key of the id.
    store: String,
    failures: u32,
    state: State,
}

/// A connection with the id of [`Event::Up`], or why there is none.
type Opened = Result<(Link, String), String>;

enum State {
    Connecting(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Up(Box<Link>),
    Failed(String),
}

impl Wire {
    pub(super) fn new(info: ConnectionInfo, store: String) -> Self {
        let state = State::Connecting(Box::pin(connect(info.clone(), store.clone(), Duration::ZERO)));
        Self { info, store, failures: 0, state }
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
                Ok((link, store)) => {
                    self.failures = 0;
                    self.state = State::Up(Box::new(link));
                    return Event::Up(store);
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
        let attempt = connect(self.info.clone(), self.store.clone(), backoff(self.failures));
        self.state = State::Connecting(Box::pin(attempt));
        self.failures = self.failures.saturating_add(1);
        Event::Down(error)
    }
}

/// Doubles from one failure to the next; the lower half is left to chance, so that nodes do not come back in step.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_BACKOFF.saturating_mul(1 << failures.min(10)).min(LONGEST_BACKOFF);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

async fn connect(info: ConnectionInfo, store: String, wait: Duration) -> Opened {
    sleep(wait).await;
    match timeout(CONNECT_WITHIN, open(&info, &store)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no connection to {} within {CONNECT_WITHIN:?}", info.addr())),
    }
}

async fn open(info: &ConnectionInfo, store: &str) -> Opened {
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
    let refused = |error: String| format!("{host}:{port}: {error}");
    let settings = info.redis_settings();
    if let Some(password) = settings.password() {
        let mut auth = redis::cmd("AUTH");
        auth.arg(settings.username()).arg(password);
        link.ask(&auth).await.map_err(refused)?;
    }
    if settings.db() != 0 {
        link.ask(redis::cmd("SELECT").arg(settings.db())).await.map_err(refused)?;
    }
    // A Redis that still loads its data says so.
    link.ask(&redis::cmd("PING")).await.map_err(refused)?;
    let id = link.store_id(store).await.map_err(refused)?;
    Ok((link, id))
}

struct Link {
    socket: TcpStream,
    input: BytesMut,
    decoder: Decoder,
    output: Vec<u8>,
    written: usize,
}

impl Link {
    /// Asks what everything else depends on.
    async fn ask(&mut self, command: &Cmd) -> Result<Resp, String> {
        command.write_packed_command(&mut self.output);
        let replies = self.turn().await.map_err(|error| error.to_string())?;
        match <[Resp; 1]>::try_from(replies) {
            Ok([Resp::Error(error)]) => Err(error),
            Ok([reply]) => Ok(reply),
            Err(replies) => Err(format!("{} replies to one command", replies.len())),
        }
    }

    /// The id of this life of Redis's data; drawn when there is none. A Redis that is full can still tell it.
    async fn store_id(&mut self, key: &str) -> Result<String, String> {
        let mut get = redis::cmd("GET");
        get.arg(key);
        let mut id = self.ask(&get).await?;
        if id == Resp::Nil {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(format!("{:08x}", rand::random::<u32>())).arg("NX");
            self.ask(&set).await?;
            id = self.ask(&get).await?;
        }
        match id {
            Resp::Text(id) if id.len() == 8 && id.iter().all(u8::is_ascii_hexdigit) => {
                Ok(String::from_utf8_lossy(&id).into_owned())
            }
            other => Err(format!("{key} is {other:?}; delete it, so that a new one is drawn")),
        }
    }

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
