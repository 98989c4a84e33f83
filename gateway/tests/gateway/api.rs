//! The server API.

use mooring_gateway::settings::Secret;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Server, within};

#[tokio::test]
async fn a_publish_reaches_subscribers_and_answers_its_position() {
    let server = Server::start(|s| s.config.channels.default.history = Some(Default::default()));
    let mut socket = server.centrifuge().await;
    socket.command(r#"{"id":2,"subscribe":{"channel":"news"}}"#).await;
    let answer = server.api("publish", r#"{"channel":"news","data":{"n":1}}"#).await;
    assert_eq!(answer["result"]["offset"], 1, "{answer}");
    assert_eq!(socket.publication().await["pub"]["data"], json!({"n": 1}));
}

#[tokio::test]
async fn an_idempotency_key_publishes_once() {
    let server = Server::start(|s| s.config.channels.default.history = Some(Default::default()));
    let call = r#"{"channel":"news","data":1,"idempotency_key":"k"}"#;
    let (first, second) = (server.api("publish", call).await, server.api("publish", call).await);
    assert_eq!((&first["result"]["offset"], first["result"] == second["result"]), (&json!(1), true));
}

#[tokio::test]
async fn an_empty_idempotency_key_is_none() {
    let server = Server::start(|s| s.config.channels.default.history = Some(Default::default()));
    let mut offsets = Vec::new();
    for call in [
        r#"{"channel":"news","data":1,"idempotency_key":""}"#,
        r#"{"channel":"news","data":2,"idempotency_key":""}"#,
    ] {
        offsets.push(server.api("publish", call).await["result"]["offset"].clone());
    }
    server.api("broadcast", r#"{"channels":["news"],"data":3,"idempotency_key":""}"#).await;
    let history = server.api("history", r#"{"channel":"news","limit":-1}"#).await;
    let publications = history["result"]["publications"].as_array().unwrap();
    let data: Vec<_> = publications.iter().map(|publication| publication["data"].clone()).collect();
    assert_eq!((offsets, data), (vec![json!(1), json!(2)], vec![json!(1), json!(2), json!(3)]));
}

#[tokio::test]
async fn what_the_server_api_publishes_is_counted() {
    let server = Server::start(|_| {});
    server.api("publish", r#"{"channel":"a","data":1}"#).await;
    server.api("broadcast", r#"{"channels":["a","b","nowhere:c"],"data":1}"#).await;
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    assert!(metrics.contains("\nmooring_publications_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn a_broadcast_answers_for_each_channel() {
    let server = Server::start(|_| {});
    let answer = server.api("broadcast", r#"{"channels":["a","nowhere:b"],"data":1}"#).await;
    let responses = answer["result"]["responses"].as_array().unwrap();
    assert!(responses[0]["result"].is_object(), "{answer}");
    assert_eq!(responses[1]["error"]["code"], 102, "{answer}");
}

#[tokio::test]
async fn presence_history_and_info_answer_what_is() {
    let server = Server::start(|s| {
        s.config.channels.default.history = Some(Default::default());
        s.config.channels.default.presence = true;
    });
    let mut socket = server.centrifuge().await;
    socket.command(r#"{"id":2,"subscribe":{"channel":"room"}}"#).await;
    for n in 1..=3 {
        server.api("publish", &format!(r#"{{"channel":"room","data":{n}}}"#)).await;
    }
    let presence = server.api("presence", r#"{"channel":"room"}"#).await;
    assert_eq!(presence["result"]["presence"].as_object().unwrap().len(), 1, "{presence}");
    let stats = server.api("presence_stats", r#"{"channel":"room"}"#).await;
    assert_eq!(stats["result"], json!({"num_clients": 1, "num_users": 1}));
    let history = server.api("history", r#"{"channel":"room","limit":2,"reverse":true}"#).await;
    let data: Vec<_> =
        history["result"]["publications"].as_array().unwrap().iter().map(|p| p["data"].clone()).collect();
    assert_eq!((data, &history["result"]["offset"]), (vec![json!(3), json!(2)], &json!(3)));
    let info = server.api("info", "{}").await;
    assert_eq!(
        (&info["result"]["nodes"][0]["name"], &info["result"]["nodes"][0]["num_clients"]),
        (&json!("gateway"), &json!(1))
    );
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_refused_with_the_field() {
    let server = Server::start(|_| {});
    let cases = [
        ("publish", r#"{"channel":"a"}"#, 107, "missing field `data`"),
        ("publish", r#"{"channel":7,"data":1}"#, 107, "channel: invalid type"),
        ("publish", r#"{"channel":"","data":1}"#, 107, "channel \"\""),
        ("publish", "nonsense", 107, "expected"),
        ("publish", r#"{"channel":"nowhere:a","data":1}"#, 102, "unknown channel"),
        ("dance", "{}", 104, "method not found"),
    ];
    for (method, body, code, message) in cases {
        let answer = server.api(method, body).await;
        assert_eq!(answer["error"]["code"], code, "{method} {body}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(message), "{method} {body}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_ends_its_side_with_its_request_gets_the_answer() {
    let server = Server::start(|_| {});
    let mut stream = server.connect().await;
    let call = "POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\n{\"channel\":\"a\",\"data\":\"b\"}";
    stream.write_all(call.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"result\""), "{answer}");
}

#[tokio::test]
async fn with_a_key_only_its_holders_are_served() {
    let server = Server::start(|s| s.secrets.api_key = Some(Secret::new("k3y")));
    let call =
        async |headers: &[&str]| server.http(server.client, "POST /api/info", headers, b"{}").await.status;
    assert_eq!(call(&[]).await, 401);
    assert_eq!(call(&["X-API-Key: wrong"]).await, 401);
    assert_eq!(call(&["X-API-Key: k3y"]).await, 200);
    assert_eq!(call(&["Authorization: apikey k3y"]).await, 200);
}

#[tokio::test]
async fn without_a_key_nobody_is_served_from_wherever_he_comes() {
    let server = Server::start(|s| s.insecure_api = false);
    let answer = server.http(server.client, "POST /api/info", &[], b"{}").await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("--api-key-file"), "{answer:?}");
}

#[tokio::test]
async fn what_is_served_without_a_key_is_served_to_no_web_page() {
    let server = Server::start(|_| {});
    let answer = server.http(server.client, "POST /api/info", &["Origin: https://evil.example"], b"{}").await;
    assert_eq!(answer.status, 401);
}
