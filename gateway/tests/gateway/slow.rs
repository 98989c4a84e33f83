//! A client that does not read.

use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, WebSocket};

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

/// The next message that is not of the subscribing.
async fn other(reader: &mut WebSocket) -> Message {
    loop {
        let message = reader.message().await;
        if message != Message::text("ready?") {
            return message;
        }
    }
}
