//! /livez, /readyz and /metrics.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tracing::debug;

use crate::metrics::{self, Metrics, Totals};

/// A client that sends no whole request in this time is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Probes and a scraper or two. Whoever comes beyond takes the place of the one that is here longest: every pod may connect, and
/// were they to wait, some that say nothing would keep the kubelet's probes out, and it would end the operator.
const MAX_CONNECTIONS: usize = 32;

/// What the admin server tells.
#[derive(Clone)]
pub struct Admin {
    ready: Arc<Mutex<Result<(), String>>>,
    metrics: Metrics,
    totals: Arc<dyn Fn() -> Totals + Send + Sync>,
}

impl Admin {
    /// Not ready yet; `totals` is asked at each scrape.
    pub fn new(metrics: Metrics, totals: impl Fn() -> Totals + Send + Sync + 'static) -> Self {
        let starting = Err("the API server has not said yet what the operator may do".into());
        Self { ready: Arc::new(Mutex::new(starting)), metrics, totals: Arc::new(totals) }
    }

    /// Ready to lead, or why not.
    pub fn set_ready(&self, ready: Result<(), String>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = ready;
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves for as long as the listener works.
    ///
    /// # Errors
    /// When no more connections can be accepted.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<Infallible> {
        let mut connections = VecDeque::with_capacity(MAX_CONNECTIONS);
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                // The peer gave up before it was its turn.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            connections.retain(|connection: &AbortHandle| !connection.is_finished());
            if connections.len() >= MAX_CONNECTIONS
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            let admin = self.clone();
            let task = tokio::spawn(async move {
                let service =
                    service_fn(|request| std::future::ready(Ok::<_, Infallible>(admin.answer(&request))));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    debug!(%peer, %error, "admin connection ended");
                }
            });
            connections.push_back(task.abort_handle());
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.ready() {
                Ok(()) => text(StatusCode::OK, "ok\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
            },
            "/metrics" => match self.metrics.encode(&(self.totals)()) {
                Ok(body) => response(StatusCode::OK, metrics::CONTENT_TYPE, body.into()),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    async fn status(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    async fn served() -> (Admin, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Admin::new(Metrics::new().unwrap(), Totals::default);
        tokio::spawn(admin.clone().serve(listener));
        (admin, address)
    }

    #[tokio::test]
    async fn it_is_alive_at_once_and_ready_when_told() {
        let (admin, address) = served().await;
        assert_eq!(status(address, "GET /livez").await, "HTTP/1.1 200 OK");
        assert_eq!(status(address, "GET /readyz").await, "HTTP/1.1 503 Service Unavailable");
        admin.set_ready(Ok(()));
        assert_eq!(status(address, "GET /readyz").await, "HTTP/1.1 200 OK");
        assert_eq!(status(address, "GET /metrics").await, "HTTP/1.1 200 OK");
        assert_eq!(status(address, "POST /metrics").await, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status(address, "GET /").await, "HTTP/1.1 404 Not Found");
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_no_probe_out() {
        let (_admin, address) = served().await;
        let mut silent = Vec::new();
        for _ in 0..4 * MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let probe = timeout(Duration::from_secs(1), status(address, "GET /livez"));
        assert_eq!(probe.await.unwrap(), "HTTP/1.1 200 OK");
    }
}
