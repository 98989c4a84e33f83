//! What is not HTTP, not a handshake or not a frame gets the answer of its RFC, and only that connection suffers.

use mooring_gateway::settings::Secret;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, frame, within};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

async fn handshake(server: &Server, headers: &[&str]) -> (u16, String) {
    let head = format!("GET /raw/a HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", headers.join("\r\n"));
    let answer = server.exchange(server.client, head.as_bytes()).await;
    (answer.status, answer.head)
}

#[tokio::test]
async fn a_request_without_an_upgrade_is_told_to_upgrade() {
    let server = Server::start(|_| {});
    let (status, head) = handshake(&server, &["Connection: close"]).await;
    assert_eq!(status, 426);
    assert!(head.contains("\r\nupgrade: websocket"), "{head}");
}

#[tokio::test]
async fn another_version_is_told_the_one_spoken_here() {
    let server = Server::start(|_| {});
    let headers = ["Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 8", KEY];
    let (status, head) = handshake(&server, &headers).await;
    assert_eq!(status, 426);
    assert!(head.contains("\r\nsec-websocket-version: 13"), "{head}");
}

#[tokio::test]
async fn a_bad_key_is_a_bad_request() {
    let server = Server::start(|_| {});
    let common = ["Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    assert_eq!(handshake(&server, &common).await.0, 400);
    assert_eq!(handshake(&server, &[&common[..], &["Sec-WebSocket-Key: c2hvcnQ="]].concat()).await.0, 400);
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_listed_is_forbidden() {
    let server = Server::start(|s| s.config.allowed_origins = vec!["https://example.com".to_owned()]);
    let headers = |origin| {
        ["Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY, origin]
    };
    assert_eq!(handshake(&server, &headers("Origin: https://evil.example")).await.0, 403);
}

#[tokio::test]
async fn a_request_whose_body_never_comes_is_answered_by_what_its_head_says() {
    let server = Server::start(|settings| {
        settings.config.auth.anonymous = false;
        settings.secrets.token_keys.hmac_secrets = vec![Secret::new("secret")];
        settings.insecure_api = false;
        settings.secrets.api_key = Some(Secret::new("key"));
    });
    let cases = [("/raw/room", 401), ("/api/publish", 401), ("/nowhere", 404)];
    for (path, status) in cases {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
        for _ in 0..20 {
            assert_eq!(server.exchange(server.client, head.as_bytes()).await.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_request() {
    let server = Server::start(|_| {});
    assert_eq!(server.exchange(server.client, b"\x16\x03\x01\x02\x00 what\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn a_request_that_two_readers_could_read_differently_is_refused_on_both_ports() {
    let server = Server::start(|_| {});
    let cases = [
        ("no Host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ("a line that ends with LF", "GET / HTTP/1.1\r\nHost: a\nConnection: close\r\n\r\n"),
        ("an empty line that ends with LF", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\n"),
        (
            "a length and chunks",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks and a length",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        ),
    ];
    for port in [server.client, server.control] {
        for (flaw, request) in cases {
            let answer = server.exchange(port, request.as_bytes()).await;
            assert_eq!(answer.status, 400, "{flaw} on {port}: {answer:?}");
        }
        for coding in ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
            let answer = server.exchange(port, [&head, "0\r\n\r\n"].concat().as_bytes()).await;
            assert_eq!(answer.status, 501, "{coding:?} on {port}: {answer:?}");
        }
        let old = server.exchange(port, b"GET / HTTP/1.0\r\n\r\n").await;
        assert_ne!(old.status, 400, "HTTP/1.0 needs no Host");
    }
}

#[tokio::test]
async fn the_flaw_of_a_later_request_of_a_connection_is_seen_as_well() {
    let server = Server::start(|_| {});
    let publish = "POST /raw/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\n\n";
    let bytes = [publish, publish, "GET / HTTP/1.1\nHost: a\r\n\r\n"].concat();
    let answer = server.exchange(server.client, bytes.as_bytes()).await;
    let statuses: Vec<&str> = answer.body.split("HTTP/1.1 ").skip(1).filter_map(|a| a.get(..3)).collect();
    assert_eq!((answer.status, statuses), (200, vec!["200", "400"]), "{answer:?}");
}

#[tokio::test]
async fn a_body_in_chunks_is_one_body() {
    let server = Server::start(|s| s.config.limits.max_message_bytes = 1024);
    let mut listener = server.raw("a").await;
    let post = |chunks: usize| {
        let head = "POST /raw/a HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head, &"1\r\nx\r\n".repeat(chunks), "0\r\n\r\n"].concat()
    };
    assert_eq!(server.exchange(server.client, post(1024).as_bytes()).await.status, 200);
    assert_eq!(listener.message().await, Message::text("x".repeat(1024)));
    assert_eq!(server.exchange(server.client, post(1025).as_bytes()).await.status, 413);
}

#[tokio::test]
async fn a_request_head_without_end_is_refused() {
    let server = Server::start(|_| {});
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(64 * 1024));
    assert_eq!(server.exchange(server.client, head.as_bytes()).await.status, 431);
}

#[tokio::test]
async fn each_broken_frame_closes_its_connection_with_the_code_of_its_flaw() {
    let server = Server::start(|s| s.config.limits.max_message_bytes = 1024);
    let too_long = [&[0x82, 0x80 | 126, 0x04, 0x01, 0, 0, 0, 0][..], &[0; 1025]].concat();
    let cases: [(&str, Vec<u8>, u16); 6] = [
        ("a message over the limit", too_long, 1009),
        ("text that is no UTF-8", frame(0x81, b"\xc3\x28"), 1007),
        ("an unmasked frame", b"\x81\x01a".to_vec(), 1002),
        ("a reserved bit", frame(0xc1, b"a"), 1002),
        ("a reserved opcode", frame(0x83, b"a"), 1002),
        ("a fragmented ping", frame(0x09, b"a"), 1002),
    ];
    for (flaw, bytes, code) in cases {
        let mut socket = server.web_socket("/raw/a").await;
        socket.bytes(&bytes).await;
        assert_eq!(socket.close_code().await, code, "{flaw}");
    }
}

#[tokio::test]
async fn a_frame_that_came_with_the_handshake_is_not_lost() {
    let server = Server::start(|s| s.echo = true);
    let head = format!(
        "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}\r\n\r\n"
    );
    // A close frame ends the exchange.
    let bytes = [head.as_bytes(), &frame(0x81, b"early"), &frame(0x88, b"")].concat();
    let answer = server.exchange(server.client, &bytes).await;
    assert_eq!(answer.status, 101);
    assert!(answer.body.contains("\u{5}early"), "{:?}", answer.body);
}

#[tokio::test]
async fn a_command_of_no_known_name_fails_alone() {
    let server = Server::start(|_| {});
    let mut socket = server.centrifuge().await;
    let reply = socket.command(r#"{"id":2,"dance":{}}"#).await;
    assert_eq!(reply["error"]["code"], 104, "{reply}");
    let reply = socket.command(r#"{"id":3,"subscribe":{"channel":"a"}}"#).await;
    assert!(reply["subscribe"].is_object(), "{reply}");
}

#[tokio::test]
async fn what_is_no_command_ends_the_connection_for_good() {
    let server = Server::start(|_| {});
    let mut socket = server.centrifuge().await;
    socket.text("hello").await;
    assert_eq!(socket.close_code().await, 3501);
}

#[tokio::test]
async fn who_opens_connections_and_says_nothing_keeps_nobody_out() {
    let server = Server::start(|_| {});
    let mut listener = server.raw("a").await;
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..5_000 {
        silent.push(server.connect().await);
    }
    let mut speaker = server.raw("b").await;
    speaker.text("and now").await;
    server.http(server.client, "POST /raw/a", &["Content-Type: text/plain"], b"still here").await;
    assert_eq!(listener.message().await, Message::text("still here"));
    // The silent ones are sent away after a while.
    let mut byte = [0];
    let last = silent.last_mut().unwrap();
    assert!(matches!(within("the end of a silent connection", last.read(&mut byte)).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = Server::start(|s| s.config.limits.max_message_bytes = 1024);
    let answer = server.http(server.client, "POST /raw/a", &[], &[b'x'; 1025]).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_u64()), (413, Some(413)));
}
