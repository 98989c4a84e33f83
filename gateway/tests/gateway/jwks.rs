//! Keys of tokens that are fetched from where they are published.

use gateway_core::{config::Jwks, control::KeySetHealth};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mooring_gateway::settings::Settings;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Published},
    support::{Server, until},
};

/// A key that somebody signs with, by name.
struct SigningKey {
    id: &'static str,
    key: EncodingKey,
}

impl SigningKey {
    fn new(id: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        Self { id, key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap() }
    }

    fn published(&self) -> Value {
        let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    fn token(&self) -> String {
        self.sign(&json!({"sub": "ada"}))
    }
}

fn set(keys: &[&SigningKey]) -> Published {
    let keys: Vec<_> = keys.iter().map(|key| key.published()).collect();
    Published::Text(json!({"keys": keys}).to_string())
}

fn from(issuer: &Issuer) -> impl FnOnce(&mut Settings) {
    let jwks = Jwks { url: issuer.url(), allow_http: false };
    move |settings| {
        settings.config.auth.anonymous = false;
        settings.config.auth.jwks = Some(jwks);
    }
}

impl Server {
    async fn is_ready(&self) -> bool {
        self.http(self.control, "GET /readyz", &[], b"").await.status == 200
    }

    async fn key_set(&self) -> KeySetHealth {
        self.report().await.jwks.unwrap()
    }

    /// What a publish with this token is answered.
    async fn publish_with(&self, token: &str) -> u16 {
        self.http(self.client, &format!("POST /raw/room?token={token}"), &[], b"x").await.status
    }

    /// Clients can connect with this token, now or in a moment.
    async fn admits(&self, token: &str) {
        until("the key of a token", || async { self.publish_with(token).await == 200 }).await;
        let mut socket = self.web_socket("/connection/websocket").await;
        let reply = socket.command(&json!({"id": 1, "connect": {"token": token}}).to_string()).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
    }
}

#[tokio::test]
async fn keys_are_exchanged_where_they_are_published_and_nobody_who_comes_in_between_is_sent_away_for_good() {
    let (first, second) = (SigningKey::new("first"), SigningKey::new("second"));
    let issuer = Issuer::start(set(&[&first])).await;
    let server = Server::start(from(&issuer));
    until("the first keys", || server.is_ready()).await;
    server.admits(&first.token()).await;
    issuer.publish(set(&[&first, &second]));
    // The token comes before the key that it names, and may be tried again.
    let mut early = server.web_socket("/connection/websocket").await;
    let connect = json!({"id": 1, "connect": {"token": second.token()}}).to_string();
    let reply = early.command(&connect).await;
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["temporary"]),
        (&json!(100), &json!(true)),
        "{reply}"
    );
    server.admits(&second.token()).await;
    server.admits(&first.token()).await;
    assert_eq!((server.key_set().await.keys, server.key_set().await.failure), (2, None));
}

#[tokio::test]
async fn while_the_issuer_is_away_the_keys_stay_and_the_report_says_so() {
    let (first, second) = (SigningKey::new("first"), SigningKey::new("second"));
    let issuer = Issuer::start(set(&[&first])).await;
    let server = Server::start(from(&issuer));
    until("the first keys", || server.is_ready()).await;
    issuer.publish(Published::Nothing);
    assert_eq!(server.publish_with(&second.token()).await, 503);
    until("a failure", || async { server.key_set().await.failure.is_some() }).await;
    let failed = server.key_set().await;
    assert_eq!((failed.url, failed.keys, failed.age_seconds.is_some()), (issuer.url(), 1, true));
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    for line in ["mooring_jwks_keys 1\n", "mooring_jwks_failures_total "] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("mooring_jwks_failures_total 0"), "{metrics}");
    assert!(server.is_ready().await);
    server.admits(&first.token()).await;
    // A set in which nothing can be used is no set.
    issuer.publish(Published::Text(r#"{"keys":[]}"#.to_owned()));
    until("another failure", || async {
        server.key_set().await.failure.is_some_and(|failure| failure.contains("none of its 0 keys"))
    })
    .await;
    server.admits(&first.token()).await;
    issuer.publish(set(&[&second]));
    server.admits(&second.token()).await;
    assert_eq!(server.publish_with(&first.token()).await, 503, "its key is published no more");
    assert_eq!(server.key_set().await.failure, None);
}

#[tokio::test]
async fn a_gateway_that_has_never_had_the_keys_it_needs_is_not_ready() {
    let key = SigningKey::new("key");
    let issuer = Issuer::start(Published::Nothing).await;
    let server = Server::start(from(&issuer));
    until("a failure", || async { server.key_set().await.failure.is_some() }).await;
    assert!(!server.is_ready().await);
    assert_eq!(server.publish_with(&key.token()).await, 503);
    issuer.publish(set(&[&key]));
    until("the keys", || server.is_ready()).await;
    server.admits(&key.token()).await;
    let open = Server::start(|settings| {
        from(&issuer)(settings);
        settings.config.auth.anonymous = true;
    });
    assert!(open.is_ready().await, "who needs no token need not wait for the keys");
}

#[tokio::test]
async fn however_many_tokens_name_keys_that_are_not_known_the_issuer_is_seldom_asked() {
    let (key, unknown) = (SigningKey::new("key"), SigningKey::new("made up"));
    let issuer = Issuer::start(set(&[&key])).await;
    let server = Server::start(from(&issuer));
    until("the keys", || server.is_ready()).await;
    for _ in 0..50 {
        assert_eq!(server.publish_with(&unknown.token()).await, 503);
    }
    server.admits(&key.token()).await;
    assert!(issuer.asked() <= 2, "asked {} times", issuer.asked());
}

#[tokio::test]
async fn whoever_names_another_issuer_trusts_the_one_before_no_longer() {
    let (old, new) = (SigningKey::new("key"), SigningKey::new("key"));
    let (before, after) = (Issuer::start(set(&[&old])).await, Issuer::start(set(&[&new])).await);
    let server = Server::start(from(&before));
    until("the keys", || server.is_ready()).await;
    let mut stays = server.web_socket("/connection/websocket").await;
    stays.command(&json!({"id": 1, "connect": {"token": old.token()}}).to_string()).await;
    let config = json!({"auth": {"anonymous": false, "jwks": {"url": after.url()}}});
    let answer = server.http(server.control, "PUT /config", &[], config.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(server.is_ready().await, "its clients need it");
    server.admits(&new.token()).await;
    assert_eq!(server.publish_with(&old.token()).await, 401, "another key has that name now");
    assert_eq!(server.key_set().await.url, after.url());
    // Who is connected stays.
    stays.command(r#"{"id":9,"ping":{}}"#).await;
    let config = json!({"auth": {"anonymous": true}});
    server.http(server.control, "PUT /config", &[], config.to_string().as_bytes()).await;
    assert_eq!(server.publish_with(&new.token()).await, 401);
    until("nothing to tell", || async { server.report().await.jwks.is_none() }).await;
}

#[tokio::test]
async fn a_url_that_can_be_no_key_set_s_is_refused_with_the_field_and_changes_nothing() {
    let server = Server::start(|_| {});
    let cases = [
        (
            json!({"url": "http://login.example.com/keys"}),
            "auth.jwks.url is \"http://login.example.com/keys\"",
        ),
        (json!({"url": "login"}), "auth.jwks.url is \"login\"; write it like https://"),
        (json!({"uri": "https://a"}), "unknown field `uri`"),
        (json!({}), "missing field `url`"),
        (json!({"url": "https://a", "allowHTTP": true}), "unknown field `allowHTTP`"),
    ];
    for (jwks, words) in cases {
        let config = json!({"auth": {"jwks": jwks}}).to_string();
        let answer = server.http(server.control, "PUT /config", &[], config.as_bytes()).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 422 && message.contains(words), "{config}: {answer:?}");
    }
    assert_eq!(server.report().await.jwks, None);
}
