//! Somebody who publishes keys, over HTTP.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What is answered.
pub enum Published {
    /// With 200.
    Text(String),
    /// The connection breaks.
    Nothing,
}

/// Ends with the test.
pub struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    published: Mutex<Published>,
    asked: AtomicUsize,
}

impl Issuer {
    pub async fn start(published: Published) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { published: Mutex::new(published), asked: AtomicUsize::new(0) });
        let serving = tokio::spawn({
            let shared = shared.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(shared.clone().serve(stream));
                }
            }
        });
        Self { address, shared, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub fn publish(&self, published: Published) {
        *self.shared.published.lock().unwrap() = published;
    }

    /// How often.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Relaxed)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        assert!(request.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
        self.asked.fetch_add(1, Relaxed);
        let answer = match &*self.published.lock().unwrap() {
            Published::Text(text) => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            }
            Published::Nothing => return,
        };
        // Who asked may be gone.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
