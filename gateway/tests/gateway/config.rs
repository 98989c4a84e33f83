//! `/config`: a configuration that is exchanged while clients are connected.

use std::{fs, path::PathBuf};

use gateway_core::config::GatewayConfig;
use jsonwebtoken::{EncodingKey, Header};
use mooring_gateway::settings::{Secret, Settings, TokenKeyFiles};
use serde_json::{Value, json};

use crate::support::{Answer, Server, WebSocket, until};

impl Server {
    async fn put_config(&self, document: &str) -> Answer {
        self.http(self.control, "PUT /config", &[], document.as_bytes()).await
    }

    /// Exchanges the configuration; returns its hash.
    async fn reconfigure(&self, document: &Value) -> String {
        let answer = self.put_config(&document.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let hash = answer.json()["configHash"].as_str().unwrap().to_owned();
        assert_eq!(self.report().await.config_hash, hash);
        hash
    }

    async fn config(&self) -> Value {
        self.http(self.control, "GET /config", &[], b"").await.json()
    }
}

fn token(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn with_secret(settings: &mut Settings) {
    settings.secrets.token_keys.hmac_secrets = vec![Secret::new("secret")];
}

/// The reply to a subscribe command; what is pushed meanwhile is skipped.
async fn subscribe(socket: &mut WebSocket, channel: &str) -> Value {
    socket.text(&json!({"id": 2, "subscribe": {"channel": channel}}).to_string()).await;
    loop {
        let message = socket.json().await;
        if message["id"] == 2 {
            return message;
        }
    }
}

#[tokio::test]
async fn a_configuration_is_exchanged_as_a_whole_and_shown_with_its_hash() {
    let server = Server::start(|_| {});
    let before = server.config().await;
    assert_eq!(before["configHash"], GatewayConfig::default().hash());
    assert_eq!(server.report().await.config_hash, GatewayConfig::default().hash());
    let hash =
        server.reconfigure(&json!({"limits": {"subscriptions": 3}, "auth": {"anonymous": true}})).await;
    assert_ne!(before["configHash"], hash);
    let after = server.config().await;
    let expected = json!([3, true, hash]);
    let seen = json!([
        after["config"]["limits"]["subscriptions"],
        after["config"]["auth"]["anonymous"],
        after["configHash"]
    ]);
    assert_eq!(seen, expected);
    // What is shown is what is taken, however it is ordered.
    let again = server.reconfigure(&after["config"]).await;
    let reordered =
        server.reconfigure(&json!({"auth": {"anonymous": true}, "limits": {"subscriptions": 3}})).await;
    assert_eq!([again, reordered], [hash.clone(), hash]);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_with_the_field_and_changes_nothing() {
    let server = Server::start(|_| {});
    let before = server.config().await;
    let cases = [
        ("{", 400, "no JSON"),
        (r#"{"limits":{"subscriptions":0}}"#, 422, "limits.subscriptions is 0; it must be at least 1"),
        (
            r#"{"limits":{"maxMessageBytes":1048576}}"#,
            422,
            "limits.outboundQueueBytes is 1048576; it must be at least four times",
        ),
        (
            r#"{"auth":{"anonymous":false}}"#,
            422,
            "auth.anonymous is false; with it false nobody could connect",
        ),
        (r#"{"limits":{"maxConnection":1}}"#, 422, "unknown field `maxConnection`"),
        (r#"{"limits":{"memoryBytes":1000000}}"#, 422, "it must be at least 16777216"),
        (
            r#"{"limits":{"memoryBytes":33554432}}"#,
            422,
            "limits.memoryBytes is 33554432; it can't change while the gateway runs",
        ),
        (
            r#"{"limits":{"wrongTokensPerMinutePerAddress":5}}"#,
            422,
            "limits.wrongTokensPerMinutePerAddress is 5; it can't change while the gateway runs",
        ),
        (
            r#"{"shards":4}"#,
            422,
            "shards is 4; it can't change while the gateway runs; start it anew with --shards",
        ),
    ];
    for (document, status, words) in cases {
        let answer = server.put_config(document).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(answer.status == status && message.contains(words), "{document}: {answer:?}");
    }
    let huge = server.put_config(&format!(r#"{{"allowedOrigins":["{}"]}}"#, "a".repeat(1024 * 1024))).await;
    assert_eq!(huge.status, 413);
    assert_eq!(server.http(server.control, "POST /config", &[], b"{}").await.status, 405);
    assert_eq!(server.config().await, before);
}

#[tokio::test]
async fn a_configuration_is_shown_and_exchanged_with_the_clusters_token_alone() {
    let server = Server::start(|s| s.secrets.control_token = Some(Secret::new("t0ken")));
    for request in ["GET /config", "PUT /config"] {
        assert_eq!(server.http(server.control, request, &[], b"{}").await.status, 401, "{request}");
        let authorized = ["Authorization: Bearer t0ken"];
        assert_eq!(server.http(server.control, request, &authorized, b"{}").await.status, 200, "{request}");
    }
}

#[tokio::test]
async fn connected_clients_go_on_and_go_by_the_new_configuration() {
    let server = Server::start(|_| {});
    let (mut one, mut other) = (server.centrifuge().await, server.centrifuge().await);
    subscribe(&mut one, "room").await;
    assert_eq!(subscribe(&mut other, "news:today").await["error"]["code"], 102);
    let config = json!({
        "channels": {"namespaces": [{"name": "news"}]},
        "limits": {"subscriptions": 1, "maxConnections": 1, "maxMessageBytes": 2048},
    });
    server.reconfigure(&config).await;
    assert!(subscribe(&mut other, "news:today").await["subscribe"].is_object());
    assert_eq!(subscribe(&mut one, "other").await["error"]["code"], 106);
    server.api("publish", r#"{"channel":"room","data":1}"#).await;
    assert_eq!(one.publication().await["pub"]["data"], 1);
    let third = server
        .http(
            server.client,
            "GET /connection/websocket",
            &[
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ],
            b"",
        )
        .await;
    assert_eq!(third.status, 503, "{third:?}");
    one.text(&"x".repeat(2049)).await;
    assert_eq!(one.close_code().await, 1009);
    other.command(r#"{"id":9,"ping":{}}"#).await;
}

#[tokio::test]
async fn a_channel_whose_history_is_turned_off_and_on_again_delivers_all_the_while() {
    let server = Server::start(|_| {});
    let mut client = server.centrifuge().await;
    subscribe(&mut client, "room").await;
    for (history, data) in [(json!(null), 1), (json!({}), 2), (json!(null), 3), (json!({"size": 1}), 4)] {
        server.reconfigure(&json!({"channels": {"default": {"history": history}}})).await;
        server.api("publish", &json!({"channel": "room", "data": data}).to_string()).await;
        assert_eq!(client.publication().await["pub"]["data"], data);
    }
}

#[tokio::test]
async fn who_loses_a_right_is_told_in_the_words_of_his_protocol_and_all_others_stay() {
    let server = Server::start(with_secret);
    let mut member = server.web_socket("/connection/websocket").await;
    let signed = token("secret", &json!({"sub": "ada"}));
    member.command(&json!({"id": 1, "connect": {"token": signed}}).to_string()).await;
    subscribe(&mut member, "live:x").await;
    let (guest, raw) = (server.centrifuge().await, server.raw("room").await);
    let mut raw_member = server.web_socket(&format!("/raw/room?token={signed}")).await;
    server.reconfigure(&json!({"auth": {"anonymous": false}, "channels": {"namespaces": []}})).await;
    assert_eq!((guest.close_code().await, raw.close_code().await), (3507, 1008));
    assert_eq!(member.json().await["push"]["unsubscribe"]["code"], 2000);
    member.command(r#"{"id":9,"ping":{}}"#).await;
    raw_member.text("still here").await;
    server.holds(2).await;
    let refused = server.http(server.client, "POST /raw/room", &[], b"x").await;
    assert_eq!(refused.status, 401, "{refused:?}");
}

#[tokio::test]
async fn a_token_is_revoked_by_its_name_for_who_is_connected_with_it_and_for_who_comes() {
    let server = Server::start(with_secret);
    let [stolen, good] = ["stolen", "good"].map(|id| token("secret", &json!({"sub": "ada", "jti": id})));
    let connect = |token: &str| json!({"id": 1, "connect": {"token": token}}).to_string();
    let mut thief = server.web_socket("/connection/websocket").await;
    let raw = server.web_socket(&format!("/raw/room?token={stolen}")).await;
    let mut owner = server.web_socket("/connection/websocket").await;
    assert!(thief.command(&connect(&stolen)).await["connect"].is_object());
    assert!(owner.command(&connect(&good)).await["connect"].is_object());
    let revoked = json!({"auth": {"anonymous": true, "revokedTokens": ["stolen", "another"]}});
    let hash = server.reconfigure(&revoked).await;
    assert_eq!((thief.close_code().await, raw.close_code().await), (3507, 1008));
    let refused = server.http(server.client, &format!("POST /raw/room?token={stolen}"), &[], b"x").await;
    assert!(refused.status == 401 && refused.body.contains("it has been revoked"), "{refused:?}");
    let mut thief = server.web_socket("/connection/websocket").await;
    thief.text(&connect(&stolen)).await;
    assert_eq!(thief.close_code().await, 3500);
    owner.command(r#"{"id":9,"ping":{}}"#).await;
    // It is a set: neither order nor repetition counts.
    let again = json!({"auth": {"anonymous": true, "revokedTokens": ["another", "stolen", "stolen"]}});
    assert_eq!(server.reconfigure(&again).await, hash);
}

#[tokio::test]
async fn what_a_token_says_of_its_connection_for_a_backend_is_shown_to_nobody() {
    let server = Server::start(with_secret);
    let claims = json!({"sub": "ada", "jti": "t1", "info": {"name": "Ada"}, "meta": {"card": "4111"}});
    let mut socket = server.web_socket("/connection/websocket").await;
    let connect = json!({"id": 1, "connect": {"token": token("secret", &claims)}}).to_string();
    let mut seen = vec![socket.command(&connect).await, subscribe(&mut socket, "room").await];
    seen.push(socket.command(r#"{"id":3,"presence":{"channel":"room"}}"#).await);
    seen.push(server.api("presence", r#"{"channel":"room"}"#).await);
    seen.push(server.api("publish", r#"{"channel":"room","data":1}"#).await);
    seen.push(socket.publication().await);
    let seen = json!(seen).to_string();
    assert!(seen.contains("Ada") && !seen.contains("4111") && !seen.contains("t1"), "{seen}");
}

#[tokio::test]
async fn keys_of_tokens_are_read_again_when_a_secrets_volume_changes() {
    let directory = std::env::temp_dir().join(format!("mooring-keys-{}", std::process::id()));
    let write = |version: &str, secret: &str| {
        fs::create_dir_all(directory.join(version)).unwrap();
        fs::write(directory.join(version).join("hmac"), secret).unwrap();
        let link = directory.join("next");
        std::os::unix::fs::symlink(version, &link).unwrap();
        fs::rename(&link, directory.join("current")).unwrap();
    };
    write("one", "first");
    let path: PathBuf = directory.join("current/hmac");
    let server = Server::start(|s| {
        s.config.auth.anonymous = false;
        s.token_key_files = TokenKeyFiles { hmac_secrets: vec![path], public_keys: vec![] };
        s.secrets.token_keys = s.token_key_files.read().unwrap();
    });
    let post = async |secret: &str| {
        let token = token(secret, &json!({"sub": "ada"}));
        server.http(server.client, &format!("POST /raw/room?token={token}"), &[], b"x").await.status
    };
    let stays = server.web_socket(&format!("/raw/room?token={}", token("first", &json!({})))).await;
    assert_eq!((post("first").await, post("second").await), (200, 401));
    write("two", "second");
    until("the second key", || async { post("second").await == 200 }).await;
    assert_eq!(post("first").await, 401);
    server.holds(1).await;
    drop(stays);
    fs::remove_dir_all(&directory).unwrap();
}
