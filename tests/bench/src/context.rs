//! What all tasks of the process share. It has one thread, so cells do.

use std::{
    cell::{RefCell, RefMut},
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::net::{TcpStream, lookup_host};

use crate::audit::Auditor;

/// The shared state of the process.
#[derive(Debug)]
pub struct Context {
    /// Where clients connect.
    pub target: Target,
    started: Instant,
    auditor: RefCell<Auditor>,
}

impl Context {
    /// Starts the clock and the books.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { target, started: Instant::now(), auditor: RefCell::new(Auditor::new(unix)) }
    }

    /// Time since the process started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The books; not to be held over an await.
    #[must_use]
    pub fn auditor(&self) -> RefMut<'_, Auditor> {
        self.auditor.borrow_mut()
    }
}

/// Servers, by name and by the addresses that the name had when the process started: a Service's address does not change, and a
/// fleet that looks it up for each connection would measure DNS. Connections go to any of them.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`, for the Host header and for URLs.
    pub authority: String,
    addresses: Vec<SocketAddr>,
}

impl Target {
    /// Looks up a `host:port`.
    pub async fn resolve(authority: &str) -> io::Result<Self> {
        let addresses = lookup_host(authority).await?.collect();
        Ok(Self { authority: authority.to_owned(), addresses })
    }

    /// Servers that have no name.
    #[must_use]
    pub fn at(addresses: Vec<SocketAddr>) -> Self {
        Self { authority: "gateways".to_owned(), addresses }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let mut addresses = self.addresses.clone();
        let first = rand::random_range(0..addresses.len().max(1));
        addresses.rotate_left(first);
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
