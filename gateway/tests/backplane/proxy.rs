//! The way of one node to Redis, on which what it is told to goes wrong.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// What Redis says comes this much later.
    Slow(Duration),
    /// Connections end, and there are no others.
    CutOff,
    /// Redis says something that is no reply.
    Garbage,
    /// Redis sends a reply that nobody asked for.
    Unasked,
}

/// Ends with the test.
pub struct Proxy {
    port: u16,
    fault: watch::Sender<Fault>,
}

impl Proxy {
    pub async fn start(redis: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, faults) = watch::channel(Fault::None);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *faults.borrow() != Fault::CutOff {
                    tokio::spawn(carry(client, redis, faults.clone()));
                }
            }
        });
        Self { port, fault }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn carry(client: TcpStream, redis: u16, mut faults: watch::Receiver<Fault>) {
    let Ok(redis) = TcpStream::connect(("127.0.0.1", redis)).await else { return };
    let ((from_client, to_client), (from_redis, to_redis)) = (client.into_split(), redis.into_split());
    tokio::select! {
        () = forward(from_client, to_redis) => {}
        () = answer(from_redis, to_client, faults.clone()) => {}
        _ = faults.wait_for(|fault| *fault == Fault::CutOff) => {}
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut faults: watch::Receiver<Fault>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = from.read(&mut bytes) => {
                let count = read.unwrap_or_default();
                let fault = *faults.borrow();
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
