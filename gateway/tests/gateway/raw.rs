//! Bare WebSocket messages in a channel.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway_core::config::Audience;
use jsonwebtoken::{EncodingKey, Header};
use mooring_gateway::settings::Secret;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, until};

#[tokio::test]
async fn text_and_binary_reach_everyone_else_once_and_in_order() {
    let server = Server::start(|_| {});
    let mut speaker = server.raw("room").await;
    let mut listeners = Vec::new();
    for _ in 0..6 {
        listeners.push(server.web_socket("/raw/room").await);
    }
    server.holds(7).await;
    let sent: Vec<Message> = (0..100u8)
        .map(|n| {
            if n % 2 == 0 { Message::text(format!("message {n}")) } else { Message::binary(vec![n, 0, 255]) }
        })
        .collect();
    // A listener's own message shows that its subscription is in force.
    for listener in &mut listeners {
        listener.text("ready").await;
    }
    for _ in 0..6 {
        assert_eq!(speaker.message().await, Message::text("ready"));
    }
    for message in &sent {
        speaker.send(message.clone()).await;
    }
    speaker.text("over").await;
    for listener in &mut listeners {
        let mut got = Vec::new();
        loop {
            let message = listener.message().await;
            if message == Message::text("over") {
                break;
            }
            if message != Message::text("ready") {
                got.push(message);
            }
        }
        assert_eq!(got, sent);
    }
    // The speaker got nothing of its own: the next it hears is somebody else's.
    listeners[0].text("bye").await;
    assert_eq!(speaker.message().await, Message::text("bye"));
}

#[tokio::test]
async fn a_posted_body_is_text_or_binary_by_its_type() {
    let server = Server::start(|_| {});
    let mut socket = server.raw("room").await;
    let cases = [
        ("text/plain", &b"hello"[..], Message::text("hello")),
        ("application/json", br#"{"a":1}"#, Message::text(r#"{"a":1}"#)),
        ("application/octet-stream", b"hello", Message::binary(&b"hello"[..])),
        ("text/plain", b"\xff", Message::binary(&b"\xff"[..])),
    ];
    for (content_type, body, expected) in cases {
        let content_type = format!("Content-Type: {content_type}");
        let answer = server.http(server.client, "POST /raw/room", &[&content_type], body).await;
        assert_eq!((answer.status, socket.message().await), (200, expected));
    }
}

#[tokio::test]
async fn channels_do_not_hear_each_other() {
    let server = Server::start(|_| {});
    let (mut a, mut b) = (server.raw("a").await, server.raw("room%201").await);
    server.http(server.client, "POST /raw/room%201", &["Content-Type: text/plain"], b"for b").await;
    server.http(server.client, "POST /raw/a", &["Content-Type: text/plain"], b"for a").await;
    assert_eq!((a.message().await, b.message().await), (Message::text("for a"), Message::text("for b")));
}

#[tokio::test]
async fn a_client_that_says_goodbye_gets_it_back_and_is_forgotten() {
    let server = Server::start(|_| {});
    let mut socket = server.raw("a").await;
    socket.send(Message::Close(None)).await;
    assert!([1000, 1005].contains(&socket.close_code().await));
    server.holds(0).await;
}

#[tokio::test]
async fn an_empty_token_is_none() {
    let server = Server::start(|s| s.secrets.token_keys.hmac_secrets = vec![Secret::new("secret")]);
    let key = EncodingKey::from_secret(b"secret");
    let token = jsonwebtoken::encode(&Header::default(), &json!({"sub": "ada"}), &key).unwrap();
    for (path, header, status) in [
        ("/raw/a?token=", None, 200),
        ("/raw/a?token=", Some(format!("Authorization: Bearer {token}")), 200),
        ("/raw/a?token=", Some("Authorization: Bearer forged".to_owned()), 401),
        ("/raw/a?token=forged", None, 401),
    ] {
        let headers: Vec<&str> = header.as_deref().into_iter().collect();
        let answer = server.http(server.client, &format!("POST {path}"), &headers, b"x").await;
        assert_eq!(answer.status, status, "{path} {header:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let server = Server::start(|s| {
        s.config.auth.anonymous = false;
        s.secrets.token_keys.hmac_secrets = vec![Secret::new("secret")];
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({"sub": "ada", "exp": now + 2});
    let token =
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(b"secret")).unwrap();
    let socket = server.web_socket(&format!("/raw/a?token={token}")).await;
    assert_eq!(socket.close_code().await, 3000);
}

#[tokio::test]
async fn a_full_gateway_refuses_with_503_until_a_connection_ends() {
    let server = Server::start(|s| s.config.limits.max_connections = 1);
    let first = server.web_socket("/raw/a").await;
    let upgrade =
        ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    let head = format!(
        "GET /raw/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n{}\r\n\r\n",
        upgrade.join("\r\n")
    );
    let refused = server.exchange(server.client, head.as_bytes()).await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("\r\nretry-after: "), "{}", refused.head);
    drop(first);
    server.holds(0).await;
    server.web_socket("/raw/a").await;
}

#[tokio::test]
async fn everything_comes_back_from_echo() {
    let server = Server::start(|s| s.echo = true);
    let mut socket = server.web_socket("/echo").await;
    let long = Message::binary(vec![7; 60_000]);
    for message in [Message::text("hi"), long] {
        socket.send(message.clone()).await;
        assert_eq!(socket.message().await, message);
    }
}

#[tokio::test]
async fn a_raw_channel_admits_whom_its_name_admits() {
    let secret = "a secret of thirty-two bytes, ok";
    let server = Server::start(|s| s.secrets.token_keys.hmac_secrets = vec![Secret::new(secret)]);
    let sign = |claims: &Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
    };
    let ada = sign(&json!({"sub": "ada"}));
    let private = sign(&json!({"sub": "ada", "channel": "$room"}));
    let cases = [
        ("room", None, 200),
        ("$room", None, 401),
        ("talk%23ada", None, 401),
        ("talk%23ada", Some(&ada), 200),
        ("talk%23bob", Some(&ada), 401),
        ("$room", Some(&ada), 401),
        ("$room", Some(&private), 200),
        ("room", Some(&private), 401),
    ];
    for (channel, token, status) in cases {
        let token = token.map(|token| format!("?token={token}")).unwrap_or_default();
        let answer = server.http(server.client, &format!("POST /raw/{channel}{token}"), &[], b"x").await;
        assert_eq!(answer.status, status, "{channel} {token}: {answer:?}");
    }
}

#[tokio::test]
async fn a_token_that_a_public_key_verifies_opens_a_raw_channel_and_a_wrong_one_does_not() {
    let server = Server::start(|s| {
        s.config.auth.anonymous = false;
        s.secrets.token_keys.public_keys = vec![Secret::new(include_str!("../../core/src/token/ec.pem"))];
    });
    let token = include_str!("../../core/src/token/ec.jwt").trim_end();
    let wrong = format!("{}AAAA", &token[..token.len() - 4]);
    for (token, status) in [(token, 200), (&*wrong, 401)] {
        let answer = server.http(server.client, &format!("POST /raw/a?token={token}"), &[], b"x").await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn who_may_not_publish_in_a_raw_channel_is_told_so_over_http_and_stays_connected_as_a_listener() {
    let server = Server::start(|s| s.config.channels.default.publish = Audience::Server);
    let mut socket = server.web_socket("/raw/room").await;
    server.holds(1).await;
    socket.text("in vain").await;
    let answer = server.http(server.client, "POST /raw/room", &["Content-Type: text/plain"], b"x").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    until("the refusal is counted", || async {
        let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
        metrics.contains("\nmooring_raw_refused_total 1\n")
    })
    .await;
    server.holds(1).await;
}
