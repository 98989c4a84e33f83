//! Tokens that take long to verify, brought by many at once, and tokens that end.

use std::{collections::BTreeSet, time::SystemTime};

use futures::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mooring_gateway::settings::{Secret, Settings};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, WebSocket, within};

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn sign(key: &KeyPair, claims: &Value) -> String {
    let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::ES384), claims, &key).unwrap()
}

/// A gateway of one shard that lets in tokens of this key alone.
fn server(key: &KeyPair, change: impl FnOnce(&mut Settings)) -> Server {
    Server::start(|settings| {
        settings.shards = 1;
        settings.config.auth.anonymous = false;
        settings.secrets.token_keys.public_keys = vec![Secret::new(key.public_key_pem())];
        change(settings);
    })
}

fn connect(key: &KeyPair) -> String {
    json!({"id": 1, "connect": {"token": sign(key, &json!({"sub": "ada"}))}}).to_string()
}

/// Clients told so far that their token is none.
async fn refused(server: &Server) -> u32 {
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    let count = metrics.lines().find_map(|line| line.strip_prefix("mooring_closes_total{code=\"3500\"} "));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_flood_of_forged_tokens_holds_up_nobody_who_is_connected_and_each_is_refused() {
    let (ours, theirs) = (key(), key());
    let server = server(&ours, |_| {});
    let mut neighbour = server.web_socket("/connection/websocket").await;
    let reply = neighbour.command(&connect(&ours)).await;
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    let mut forgers: Vec<WebSocket> = Vec::new();
    for _ in 0..100 {
        forgers.push(server.web_socket("/connection/websocket").await);
    }
    let forged = connect(&theirs);
    for forger in &mut forgers {
        forger.text(&forged).await;
    }
    let reply = neighbour.command(r#"{"id":2,"ping":{}}"#).await;
    assert!(reply["ping"].is_object(), "{reply}");
    let refused = refused(&server).await;
    assert!(refused < 50, "{refused} were refused before the neighbour was answered");
    for forger in forgers {
        assert_eq!(forger.close_code().await, 3500);
    }
    neighbour.command(r#"{"id":3,"ping":{}}"#).await;
}

#[tokio::test]
async fn a_token_that_is_revoked_while_it_waits_to_be_checked_publishes_nothing_from_then_on() {
    let key = key();
    let server = server(&key, |_| {});
    let [good, stolen] = ["good", "stolen"].map(|id| sign(&key, &json!({"sub": "ada", "jti": id})));
    let mut listener = server.web_socket(&format!("/raw/room?token={good}")).await;
    let mut speaker = server.web_socket(&format!("/raw/room?token={good}")).await;
    let path = format!("POST /raw/room?token={stolen}");
    let publish = || server.http(server.client, &path, &["Content-Type: text/plain"], b"stolen");
    let publishing = join_all((0..100).map(|_| publish()));
    let revoking = async {
        // The first of them has been checked, and the others wait.
        assert_eq!(listener.message().await, Message::text("stolen"));
        let config = json!({"auth": {"anonymous": false, "revokedTokens": ["stolen"]}}).to_string();
        let answer = server.http(server.control, "PUT /config", &[], config.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        speaker.text("revoked").await;
    };
    let (answers, ()) = tokio::join!(publishing, revoking);
    speaker.text("over").await;
    while listener.message().await != Message::text("revoked") {}
    assert_eq!(listener.message().await, Message::text("over"));
    let statuses: BTreeSet<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 401].into());
}

#[tokio::test]
async fn a_raw_connection_ends_with_its_token_whatever_that_is_and_it_opens_nothing_more() {
    let server = Server::start(|settings| {
        settings.config.auth.anonymous = false;
        settings.secrets.token_keys.hmac_secrets = vec![Secret::new("secret")];
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (soon, late) = (now + 2, now + 1_000);
    let cases = [
        ("room", json!({"sub": "ada", "exp": soon})),
        ("room", json!({"sub": "ada", "exp": late, "expire_at": soon})),
        ("$room", json!({"sub": "ada", "channel": "$room", "exp": soon})),
    ];
    let (mut sockets, mut paths) = (Vec::new(), Vec::new());
    for (channel, claims) in cases {
        let token = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(b"secret"));
        let path = format!("/raw/{channel}?token={}", token.unwrap());
        sockets.push(server.web_socket(&path).await);
        paths.push(path);
    }
    for socket in sockets {
        assert_eq!(socket.close_code().await, 3000);
    }
    for path in paths {
        let refused = server.http(server.client, &format!("POST {path}"), &[], b"x").await;
        assert!(refused.status == 401 && refused.body.contains("the token is expired"), "{refused:?}");
    }
}

#[tokio::test]
async fn raw_clients_whose_tokens_wait_to_be_verified_make_no_room_for_those_who_say_nothing() {
    let (ours, theirs) = (key(), key());
    let server = server(&ours, |settings| settings.config.limits.max_connections = u32::MAX);
    let head = format!(
        "GET /raw/a?token={} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        sign(&theirs, &json!({"sub": "ada"}))
    );
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(server.connect().await);
    }
    for mut stream in waiting {
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer:?}");
    }
}
