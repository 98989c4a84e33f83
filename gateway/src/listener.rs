//! The listening sockets of the client port: one per shard, all on one address; the kernel spreads connections over them.

use std::{
    io::{self, ErrorKind, Read as _},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gateway_core::proxy_header::{self, ProxyHeader};
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use mio::{Events, Interest, Registry, net::TcpListener};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    backplane::BackplaneHandle,
    http::{ClientPort, HttpStream},
    node::Node,
    places::{Places, Silent},
    poll_token::{self, Target},
    reactor::{ReactorRef, Upgraded},
};

/// Connections the kernel keeps for a shard that is busy; the kernel lowers it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Bytes the kernel takes beyond what it has sent; more waits in our queues, where it is counted and shared.
const NOT_SENT: u32 = 16 * 1024;
/// For the first byte, and then for a whole request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A request head at most; tokens are the largest part of it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// For the other side to close after its last answer, and what it may still send until then.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;
/// Bytes of a request that are read before hyper asks; more waits in the socket.
const FIRST_BYTES: usize = 4096;
/// Connections accepted in a turn at most.
const ACCEPTS: usize = 64;
/// Until accepting is tried again when the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `count` sockets to one address; port 0 takes a free one for all of them.
pub fn bind(address: SocketAddr, count: u16) -> io::Result<Vec<std::net::TcpListener>> {
    let first = bind_one(address)?;
    let address = first.local_addr()?;
    let rest = (1..count).map(|_| bind_one(address));
    std::iter::once(Ok(first)).chain(rest).collect()
}

/// Options of a listening socket pass to the connections it accepts.
fn bind_one(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What the clients of one shard come in by: the listening socket, and the connections that have not brought a request.
pub struct Listener {
    socket: TcpListener,
    registry: Rc<Registry>,
    places: Places,
    node: Arc<Node>,
    backplane: BackplaneHandle,
    reactor: ReactorRef,
    /// Connections may wait, of which the poll does not say anything again.
    unaccepted: bool,
    /// Until when nothing is accepted, as monotonic time.
    paused_until: Option<Duration>,
    /// For the first bytes of a connection.
    scratch: Box<[u8]>,
}

impl Listener {
    /// Listens on a socket of its own, which joins the shard's poll.
    pub fn new(
        socket: std::net::TcpListener,
        registry: Registry,
        places: Places,
        node: Arc<Node>,
        backplane: BackplaneHandle,
        reactor: ReactorRef,
    ) -> io::Result<Self> {
        let mut socket = TcpListener::from_std(socket);
        registry.register(&mut socket, poll_token::LISTENER, Interest::READABLE)?;
        Ok(Self {
            socket,
            registry: Rc::new(registry),
            places,
            node,
            backplane,
            reactor,
            unaccepted: false,
            paused_until: None,
            scratch: vec![0; FIRST_BYTES].into_boxed_slice(),
        })
    }

    /// Handles what the poll reported, and accepts some of those who wait.
    pub fn handle_events(&mut self, events: &Events) {
        for event in events {
            match poll_token::target(event.token()) {
                Target::Listener => self.unaccepted = true,
                Target::Silent(id) => self.serve(id),
                Target::Connection(_) | Target::Nobody => {}
            }
        }
        if self.has_unaccepted() {
            self.accept();
        }
    }

    /// Whether a turn is due although the poll reports nothing.
    #[must_use]
    pub fn has_unaccepted(&self) -> bool {
        self.unaccepted && self.paused_until.is_none()
    }

    /// Handles what is due by now.
    pub fn handle_timeout(&mut self) {
        let now = self.node.clock.elapsed();
        self.paused_until.take_if(|until| *until <= now);
        self.places.expire(now);
    }

    /// When [`Listener::handle_timeout`] has something to do, as monotonic time.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        [self.paused_until, self.places.next_timeout()].into_iter().flatten().min()
    }

    fn accept(&mut self) {
        let now = self.node.clock.elapsed();
        for _ in 0..ACCEPTS {
            let taken = self.socket.accept().and_then(|(stream, peer)| {
                self.places.arrive(stream, peer, now + HEAD_TIMEOUT, &self.registry)
            });
            match taken {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unaccepted = false;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// For whom a connection is and what it says, without the header of a proxy that writes one; nothing when that header is missing.
    fn behind_proxy(&self, peer: IpAddr, mut first: Bytes) -> Option<(IpAddr, Bytes)> {
        let reactor = self.reactor.borrow();
        let proxies = reactor.policy().proxies();
        if !proxies.proxy_protocol || !proxies.trusted.iter().any(|network| network.contains(peer)) {
            return Some((peer, first));
        }
        match proxy_header::parse(&first) {
            Ok(ProxyHeader { length, client }) => Some((client.unwrap_or(peer), first.split_off(length))),
            Err(error) => {
                tracing::debug!(%error, %peer, "refused a connection");
                self.node.metrics.refused("proxy_header");
                None
            }
        }
    }

    /// Serves a connection that says something; one that ends without a word is forgotten.
    fn serve(&mut self, id: u64) {
        let Some(Silent { mut stream, peer, .. }) = self.places.speak(id) else { return };
        let first = match stream.read(&mut self.scratch) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Bytes::new()
            }
            Ok(length) if length > 0 => Bytes::copy_from_slice(&self.scratch[..length]),
            _ => return,
        };
        let Some((peer, first)) = self.behind_proxy(peer.ip(), first) else { return };
        let registry = self.registry.clone();
        let stream = HttpStream::polled(stream, first, registry.clone());
        let (node, backplane, reactor) = (self.node.clone(), self.backplane.clone(), self.reactor.clone());
        self.places.spawn(id, peer, |place| async move {
            let (upgraded, framing) = (Rc::default(), stream.framing());
            let port = ClientPort { node, backplane, reactor, peer, place, framing, upgraded };
            serve(stream, port, &registry).await;
        });
    }
}

/// Serves HTTP until the connection ends or becomes a WebSocket, which the reactor then takes with what was read ahead.
async fn serve(stream: HttpStream, port: ClientPort, registry: &Registry) {
    // It is held to the end of the connection.
    let (upgraded, place, reactor) = (port.upgraded.clone(), port.place.clone(), port.reactor.clone());
    let (stream, read_ahead) = serve_http(stream, port).await;
    match upgraded.take() {
        None => linger(stream).await,
        Some(upgraded) => {
            if let Err(error) = hand_over(upgraded, stream, read_ahead, registry, &reactor) {
                tracing::warn!(%error, "cannot take a connection over");
            }
        }
    }
    drop(place);
}

async fn serve_http(stream: HttpStream, port: ClientPort) -> (HttpStream, BytesMut) {
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        // Otherwise hyper waits for the client's end while it answers.
        .half_close(true)
        .serve_connection(stream, port);
    // What hyper has answered is sent before this ends, which polling without a shutdown would not wait for; after a 101 nothing is shut
    // down. Errors are the other side's: a broken request, which hyper has answered, or a broken connection.
    let _ = (&mut connection).await;
    let parts = connection.into_parts();
    (parts.io, parts.read_buf.into())
}

/// Lets the other side read its last answer: a socket closed with unread bytes is reset, and a reset can overtake the answer.
async fn linger(stream: HttpStream) {
    let Ok(mut stream) = stream.into_tokio() else { return };
    if stream.shutdown().await.is_ok() {
        // However it goes on, the connection ends here.
        let _ = tokio::time::timeout(
            LINGER,
            tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()),
        )
        .await;
    }
}

fn hand_over(
    upgraded: Upgraded,
    stream: HttpStream,
    mut read_ahead: BytesMut,
    registry: &Registry,
    reactor: &ReactorRef,
) -> io::Result<()> {
    let (stream, unread) = stream.into_parts(registry)?;
    read_ahead.extend_from_slice(&unread);
    reactor.borrow_mut().open(upgraded, stream, read_ahead)
}
