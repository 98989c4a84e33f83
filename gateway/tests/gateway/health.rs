//! What the control port and the page show of a gateway that just runs.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, until};

#[tokio::test]
async fn a_gateway_that_serves_is_alive_and_ready() {
    let server = Server::start(|_| {});
    for path in ["GET /livez", "GET /readyz"] {
        assert_eq!(server.http(server.control, path, &[], b"").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn connections_to_the_control_port_that_say_nothing_keep_no_probe_out() {
    let server = Server::start(|_| {});
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(TcpStream::connect(server.control).await.unwrap());
    }
    let probe = timeout(Duration::from_secs(2), server.http(server.control, "GET /livez", &[], b""));
    assert_eq!(probe.await.unwrap().status, 200);
}

#[tokio::test]
async fn the_metrics_count_connections_by_protocol() {
    let server = Server::start(|_| {});
    let _raw = server.web_socket("/raw/a").await;
    let _centrifuge = server.centrifuge().await;
    server.holds(2).await;
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    for line in
        ["mooring_connections{protocol=\"centrifuge\"} 1\n", "mooring_connections{protocol=\"raw\"} 1\n"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn what_goes_over_web_sockets_is_counted_frame_by_frame_and_byte_by_byte() {
    let server = Server::start(|s| s.echo = true);
    let mut sockets = [server.web_socket("/echo").await, server.web_socket("/echo").await];
    for socket in &mut sockets {
        for text in ["a", "bc"] {
            socket.text(text).await;
            assert_eq!(socket.message().await, Message::text(text));
        }
    }
    // A frame has two bytes besides its payload, a client's four more.
    let (frames, sent, received) = (4, 2 * (3 + 4), 2 * (7 + 8));
    until("the numbers of all shards", || async {
        let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
        let counted = |name: &str, count| metrics.contains(&format!("\nmooring_{name}_total {count}\n"));
        counted("frames_sent", frames) && counted("sent_bytes", sent) && counted("received_bytes", received)
    })
    .await;
}

#[tokio::test]
async fn the_client_port_shows_the_chat_page_and_nothing_of_the_control_port() {
    let server = Server::start(|_| {});
    let page = server.http(server.client, "GET /", &[], b"").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    for path in ["GET /metrics", "GET /report", "POST /drain", "GET /echo"] {
        assert_eq!(server.http(server.client, path, &[], b"").await.status, 404, "{path}");
    }
}
