//! The way of one gateway to Redis, on which what it is told to goes wrong.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    sync::watch,
};

/// The loopback has segments of 64 KiB and, for some of them, buffers of megabytes; other networks have these.
const SEGMENT: u32 = 1460;
const RECEIVE_BUFFER: usize = 16 * 1024;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// What Redis says comes this much later.
    Slow(Duration),
    /// What Redis says is not read.
    Stalled,
    /// Connections end, and there are no others.
    CutOff,
    /// Redis says something that is no reply.
    Garbage,
    /// Redis sends a reply that nobody asked for.
    Unasked,
}

/// Listens as Redis would, for as long as the runtime runs.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    fault: watch::Sender<Fault>,
}

impl Proxy {
    /// To the Redis on a port of this machine.
    pub async fn start(redis: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (fault, faults) = watch::channel(Fault::None);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *faults.borrow() != Fault::CutOff {
                    tokio::spawn(carry(client, redis, faults.clone()));
                }
            }
        });
        Ok(Self { port, fault })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What goes wrong from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn carry(client: TcpStream, redis: u16, mut faults: watch::Receiver<Fault>) {
    let Ok(redis) = connect(redis).await else { return };
    let ((from_client, to_client), (from_redis, to_redis)) = (client.into_split(), redis.into_split());
    select! {
        () = forward(from_client, to_redis) => {}
        () = answer(from_redis, to_client, faults.clone()) => {}
        _ = faults.wait_for(|fault| *fault == Fault::CutOff) => {}
    }
}

async fn connect(redis: u16) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let stream = TcpSocket::from_std_stream(socket.into());
    let stream = stream.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, redis))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    // Either end has gone: so does the other.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut faults: watch::Receiver<Fault>) {
    let mut bytes = vec![0; CHUNK];
    loop {
        let fault = *faults.borrow();
        select! {
            read = from.read(&mut bytes), if fault != Fault::Stalled => {
                let count = read.unwrap_or_default();
                if let Fault::Slow(delay) = fault {
                    tokio::time::sleep(delay).await;
                }
                if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
            changed = faults.changed() => {
                let said: &[u8] = match *faults.borrow_and_update() {
                    Fault::Garbage => b"HTTP/1.1 400 Bad Request\r\n\r\n",
                    Fault::Unasked => b"$5\r\nhello\r\n",
                    _ => b"",
                };
                if changed.is_err() || to.write_all(said).await.is_err() {
                    return;
                }
            }
        }
    }
}
