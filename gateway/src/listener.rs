//! The listening sockets of the client port: one per shard, all on one address; the kernel spreads connections over them.

use std::{future::poll_fn, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    backplane::BackplaneHandle,
    handshakes::Handshakes,
    http::ClientPort,
    node::Node,
    reactor::{Accepted, ReactorRef},
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
/// Connections accepted before others of this thread get their turn.
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

/// Accepts connections of one shard for ever.
pub async fn accept(
    listener: TcpListener,
    node: Arc<Node>,
    backplane: BackplaneHandle,
    reactor: ReactorRef,
    handshakes: Handshakes,
) {
    loop {
        for _ in 0..ACCEPTS {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (node, backplane, reactor) = (node.clone(), backplane.clone(), reactor.clone());
                    handshakes.spawn(|handshake| async move {
                        let accepted = Rc::default();
                        let port = ClientPort { node, backplane, peer, handshake, accepted };
                        serve(stream, port, reactor).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Serves HTTP until the connection ends or becomes a WebSocket, which the reactor then takes with what was read ahead.
async fn serve(stream: TcpStream, port: ClientPort, reactor: ReactorRef) {
    // A connection that says nothing gets no buffer.
    if !matches!(tokio::time::timeout(HEAD_TIMEOUT, stream.readable()).await, Ok(Ok(()))) {
        return;
    }
    let accepted = port.accepted.clone();
    let (stream, read_ahead) = serve_http(stream, port).await;
    let Some(accepted) = accepted.take() else { return linger(stream).await };
    if let Err(error) = hand_over(accepted, stream, read_ahead, &reactor) {
        tracing::warn!(%error, "cannot take a connection over");
    }
}

async fn serve_http(stream: TcpStream, port: ClientPort) -> (TcpStream, Bytes) {
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), port);
    // Errors are the other side's: a broken request, which hyper has answered, or a broken connection.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let parts = connection.into_parts();
    (parts.io.into_inner(), parts.read_buf)
}

/// Lets the other side read its last answer: a socket closed with unread bytes is reset, and a reset can overtake the answer.
async fn linger(mut stream: TcpStream) {
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
    accepted: Accepted,
    stream: TcpStream,
    read_ahead: Bytes,
    reactor: &ReactorRef,
) -> io::Result<()> {
    let stream = mio::net::TcpStream::from_std(stream.into_std()?);
    reactor.borrow_mut().open(accepted, stream, read_ahead)
}
