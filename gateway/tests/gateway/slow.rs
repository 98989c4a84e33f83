//! A client that does not read.

use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, WebSocket, within};

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_the_others_miss_nothing() {
    let server = Server::start(|s| s.config.limits.outbound_queue_bytes = 256 * 1024);
    let mut reader = server.raw("a").await;
    let stuck = server.raw("a").await;
    let mut speaker = server.web_socket("/raw/a").await;
    server.holds(3).await;
    let body = "x".repeat(60_000);
    let closed = async || {
        let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
        metrics.contains("mooring_slow_consumers_total 1\n")
    };
    // The kernel's buffers take some megabytes before the queue fills.
    for round in 0.. {
        assert!(round < 250, "a client that does not read is still served");
        for _ in 0..20 {
            speaker.text(&body).await;
            assert_eq!(other(&mut reader).await.len(), body.len());
        }
        if closed().await {
            break;
        }
    }
    server.holds(2).await;
    speaker.text("the end").await;
    assert_eq!(other(&mut reader).await, Message::text("the end"));
    drop(stuck);
}

#[tokio::test]
async fn a_client_that_stops_reading_twice_for_a_while_gets_all_of_it_in_order() {
    const MESSAGES: usize = 200;
    let server = Server::start(|s| s.config.limits.outbound_queue_bytes = 64 * 1024 * 1024);
    let socket = TcpSocket::new_v4().unwrap();
    // The kernel's other buffer takes 4 MB, so most of the 12 MB has to wait in the gateway.
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = within("a TCP connection", socket.connect(server.client)).await.unwrap();
    let mut sleeper = server.web_socket_over(stream, "/raw/a").await;
    let mut reader = server.raw("a").await;
    let mut speaker = server.web_socket("/raw/a").await;
    server.holds(3).await;
    for _ in 0..2 {
        let sent = (0..MESSAGES).map(|number| Message::text(format!("{number:060000}")));
        for message in sent.clone() {
            speaker.send(message.clone()).await;
            assert_eq!(other(&mut reader).await, message);
        }
        for message in sent {
            assert_eq!(other(&mut sleeper).await, message);
        }
    }
}

/// The next message that is not of the subscribing.
async fn other(reader: &mut WebSocket) -> Message {
    loop {
        let message = reader.message().await;
        if message != Message::text("ready?") {
            return message;
        }
    }
}
