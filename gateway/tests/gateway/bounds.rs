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
async fn an_address_has_its_share_of_connections_whatever_proxy_it_comes_through() {
    let server = Server::start(|s| {
        s.config.limits.connections_per_address = Some(1);
        s.config.proxies.trusted = vec!["127.0.0.0/8".parse().unwrap()];
        s.config.proxies.proxy_protocol = true;
    });
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 3, 10, 0, 0, 1, 1, 1, 1, 1]].concat();
    // Each twice, of whom the second one is refused.
    let clients: [(&[u8], &str); 3] = [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 5 80\r\n", ""),
        (b"PROXY UNKNOWN\r\n", "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n"),
        (&v2, "X-Forwarded-For: 192.0.2.9\r\n"),
    ];
    let mut held = Vec::new();
    for (header, forwarded) in clients {
        let request = format!(
            "GET /raw/a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{forwarded}\r\n"
        );
        for status in ["HTTP/1.1 101 ", "HTTP/1.1 429 "] {
            let mut stream = server.connect().await;
            stream.write_all(&[header, request.as_bytes()].concat()).await.unwrap();
            let mut answer = [0; 13];
            within("an answer", stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), status, "{forwarded}");
            held.push(stream);
        }
    }
    let mut without = server.connect().await;
    without.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = within("the end", without.read_to_end(&mut answer)).await;
    assert!(read.is_err() || answer.is_empty(), "served without a proxy's header: {answer:?}");
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
