//! Who takes places over HTTP, and gives nothing for them, keeps neither clients nor the kubelet out.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Server, within};

/// Far more than HTTP has places where WebSockets are allowed to take every file.
const MANY: usize = 600;

fn crowded() -> Server {
    Server::start(|s| s.config.limits.max_connections = u32::MAX)
}

/// Connections that have sent this.
async fn senders(server: &Server, to: std::net::SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut senders = Vec::new();
    for _ in 0..count {
        let mut stream = within("a TCP connection", TcpStream::connect(to)).await.unwrap();
        // One that was sent away meanwhile makes no difference.
        let _ = stream.write_all(bytes).await;
        senders.push(stream);
    }
    assert!(server.http(server.control, "GET /livez", &[], b"").await.status == 200);
    senders
}

async fn http_connections(server: &Server) -> usize {
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("mooring_http_connections "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

#[tokio::test]
async fn bodies_that_never_come_keep_nobody_out() {
    let server = crowded();
    let post = b"POST /raw/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let _posts = senders(&server, server.client, MANY, post).await;
    assert!(http_connections(&server).await <= 256 + 2);
    let mut listener = server.raw("a").await;
    listener.text("a").await;
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_nobody_out() {
    let server = crowded();
    let gets = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200);
    let _gets = senders(&server, server.client, MANY, &gets).await;
    assert!(http_connections(&server).await <= 256 + 2);
    let mut listener = server.raw("a").await;
    listener.text("a").await;
}

#[tokio::test]
async fn the_kubelet_is_answered_whoever_holds_connections_of_the_control_port() {
    let server = Server::start(|_| {});
    let gets = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200);
    for bytes in [
        &gets[..],
        b"GET /metrics HTTP/1.1\r\n",
        b"",
        b"POST /drain HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    ] {
        let _held = senders(&server, server.control, 200, bytes).await;
        for path in ["GET /livez", "GET /readyz", "GET /report"] {
            assert_eq!(server.http(server.control, path, &[], b"").await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn who_sends_half_a_body_is_told_so_in_time() {
    let server = Server::start(|_| {});
    for port in [server.client, server.control] {
        let mut stream = within("a TCP connection", TcpStream::connect(port)).await.unwrap();
        let path = if port == server.client { "/raw/a" } else { "/drain" };
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}
