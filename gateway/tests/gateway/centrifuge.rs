//! The centrifuge protocol on a real socket; its details are tested in the core.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_subscriber_gets_what_others_publish() {
    let server = Server::start(|_| {});
    let (mut alice, mut bob) = (server.centrifuge().await, server.centrifuge().await);
    let reply = alice.command(r#"{"id":2,"subscribe":{"channel":"chat"}}"#).await;
    assert!(reply["subscribe"].is_object(), "{reply}");
    bob.command(r#"{"id":2,"subscribe":{"channel":"chat"}}"#).await;
    bob.text(r#"{"id":3,"publish":{"channel":"chat","data":{"text":"hi"}}}"#).await;
    let push = alice.publication().await;
    assert_eq!((&push["channel"], &push["pub"]["data"]), (&json!("chat"), &json!({"text": "hi"})));
}

#[tokio::test]
async fn a_subscriber_that_comes_back_gets_what_it_missed_once_and_then_what_is_live() {
    let server = Server::start(|s| s.config.channels.default.history = Some(Default::default()));
    for n in 1..=3 {
        server.api("publish", &format!(r#"{{"channel":"chat","data":{n}}}"#)).await;
    }
    let mut socket = server.centrifuge().await;
    let first = socket.command(r#"{"id":2,"subscribe":{"channel":"chat"}}"#).await;
    let epoch = first["subscribe"]["epoch"].as_str().unwrap().to_owned();
    assert_eq!(first["subscribe"]["offset"], 3, "{first}");
    drop(socket);
    for n in 4..=6 {
        server.api("publish", &format!(r#"{{"channel":"chat","data":{n}}}"#)).await;
    }
    let mut socket = server.centrifuge().await;
    let recover =
        json!({"id": 2, "subscribe": {"channel": "chat", "recover": true, "offset": 3, "epoch": epoch}});
    let reply = socket.command(&recover.to_string()).await;
    let data: Vec<_> =
        reply["subscribe"]["publications"].as_array().unwrap().iter().map(|p| p["data"].clone()).collect();
    assert_eq!(
        (reply["subscribe"]["recovered"].clone(), data),
        (json!(true), vec![json!(4), json!(5), json!(6)])
    );
    server.api("publish", r#"{"channel":"chat","data":7}"#).await;
    let push = socket.publication().await;
    assert_eq!((&push["pub"]["data"], &push["pub"]["offset"]), (&json!(7), &json!(7)));
    let accepted = server.report().await.accepted;
    assert_eq!((accepted.new, accepted.resumed), (1, 1));
}

#[tokio::test]
async fn a_client_without_a_token_is_sent_away_where_one_is_needed() {
    let server = Server::start(|s| {
        s.config.auth.anonymous = false;
        s.secrets.jwt_hmac_secrets = vec![mooring_gateway::settings::Secret::new("secret")];
    });
    let mut socket = server.web_socket("/connection/websocket").await;
    socket.text(r#"{"id":1,"connect":{}}"#).await;
    assert_eq!(socket.close_code().await, 3500);
    let answer = server.http(server.client, "POST /raw/a", &[], b"x").await;
    assert_eq!(answer.status, 401);
}
