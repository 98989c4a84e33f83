//! A gateway that holds as much as it may.

use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Answer, Server, WebSocket, until};

const LIMIT: u64 = 16 * 1024 * 1024;
/// What each of these clients sends of a message that it does not end.
const PART: usize = 60_000;

async fn unfinished(socket: &mut WebSocket) {
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend(65_000_u16.to_be_bytes());
    frame.extend(vec![0; 4 + PART]);
    socket.bytes(&frame).await;
}

async fn held(server: &Server) -> f64 {
    server.report().await.memory.unwrap()
}

async fn shed(server: &Server) -> bool {
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    !metrics.contains("mooring_shed_total 0\n")
}

async fn post(server: &Server, bytes: usize) -> Answer {
    let body = vec![b'x'; bytes];
    server.http(server.client, "POST /raw/a", &["Content-Type: text/plain"], &body).await
}

async fn handshake(server: &Server) -> Answer {
    let head = "GET /raw/a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    let head = String::from_utf8_lossy(&answer[..length]).to_lowercase();
    Answer { status: head[9..12].parse().unwrap(), head, body: String::new() }
}

#[tokio::test]
async fn near_its_limit_a_gateway_refuses_newcomers_and_what_is_large_then_closes_the_slowest_and_then_recovers()
 {
    let server = Server::start(|s| {
        s.config.limits.memory_bytes = Some(LIMIT);
        s.shards = 1;
    });
    let mut neighbour = server.raw("a").await;
    let mut slow = Vec::new();
    for _ in 0..280 {
        slow.push(server.web_socket("/raw/b").await);
    }
    let mut sockets = slow.iter_mut();
    while held(&server).await <= 0.75 {
        unfinished(sockets.next().expect("fewer fill it")).await;
    }
    let refused = handshake(&server).await;
    assert!(refused.status == 503 && refused.head.contains("\r\nretry-after: "), "{refused:?}");
    let refused = post(&server, 5_000).await;
    assert!(refused.status == 503 && refused.head.contains("\r\nretry-after: "), "{refused:?}");
    assert_eq!(post(&server, 4_000).await.status, 200);
    assert_eq!(
        neighbour.message().await,
        Message::text("x".repeat(4_000)),
        "who is there is served as before"
    );
    assert!(!shed(&server).await);

    while !shed(&server).await {
        unfinished(sockets.next().expect("fewer fill it")).await;
    }
    until("room again", || async { held(&server).await < 0.875 }).await;
    drop(sockets);
    assert_eq!(slow.remove(0).close_code().await, 1008, "the first to begin is the first to go");
    assert_eq!(post(&server, 4_000).await.status, 200);
    assert_eq!(neighbour.message().await, Message::text("x".repeat(4_000)));

    drop(slow);
    until("nothing held", || async { held(&server).await < 0.1 }).await;
    assert_eq!((handshake(&server).await.status, post(&server, 5_000).await.status), (101, 200));
    assert_eq!(neighbour.message().await, Message::text("x".repeat(5_000)));
}
