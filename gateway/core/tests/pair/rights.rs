//! Who may enter which channel, publish there, and for how long one may try.

use std::time::Duration;

use gateway_core::{
    config::{Auth, ChannelOptions, Channels, GatewayConfig, Namespace, Publishers},
    key::ConnectionKey,
    shard::Opening,
    token::{Key, Verifier},
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::node::Node;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// Everybody may connect, and publish wherever he may enter.
fn node() -> Node {
    let auth = Auth { anonymous: true, ..Auth::default() };
    let verifier = Verifier::new(vec![Key::hmac(SECRET).expect("a secret")], &auth);
    let options = ChannelOptions { publish: Publishers::Clients, ..ChannelOptions::default() };
    let namespaces = vec![Namespace { name: "news".to_owned(), options: options.clone() }];
    let channels = Channels { default: options, namespaces };
    Node::with_verifier(GatewayConfig { auth, channels, ..GatewayConfig::default() }, 1, verifier)
}

fn sign(secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret)).expect("signed")
}

fn connect(node: &mut Node, user: Option<&str>) -> ConnectionKey {
    let token = user.map_or_else(String::new, |user| sign(SECRET, &json!({"sub": user})));
    let key = node.open(Opening::Centrifuge);
    node.say(key, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    assert!(node.lines(key)[0]["connect"].is_object());
    key
}

/// The codes of the errors that come back, 0 for none; publishes and subscribes answer at once here, or wait for the backplane.
fn errors(node: &mut Node, key: ConnectionKey, commands: &[Value]) -> Vec<u64> {
    let mut errors = Vec::new();
    for (id, command) in (2..).zip(commands) {
        let mut command = command.clone();
        command["id"] = json!(id);
        node.say(key, &command.to_string());
        let frames = node.frames(key);
        let lines: Vec<Value> = frames.iter().flat_map(|frame| frame.lines()).collect();
        errors.push(lines.iter().find_map(|line| line["error"]["code"].as_u64()).unwrap_or_default());
    }
    errors
}

#[test]
fn a_channel_admits_whom_its_name_admits_behind_a_namespace_as_well() {
    let mut node = node();
    let cases = [
        (None, "chat", 0),
        (None, "news:today", 0),
        (None, "$chat", 103),
        (None, "$news:today", 103),
        (None, "news:$today", 103),
        (None, "$nowhere:today", 102),
        (None, "talk#ada", 103),
        (None, "talk#", 103),
        (Some("ada"), "talk#bob,ada", 0),
        (Some("ada"), "news:talk#ada", 0),
        (Some("ada"), "talk#bob", 103),
        (Some("ada"), "$news:today", 103),
    ];
    for (user, channel, code) in cases {
        for command in ["subscribe", "publish"] {
            let key = connect(&mut node, user);
            let command = json!({command: {"channel": channel, "data": 1}});
            assert_eq!(errors(&mut node, key, std::slice::from_ref(&command)), [code], "{user:?}: {command}");
        }
    }
}

#[test]
fn a_subscription_token_opens_a_private_channel_of_a_namespace() {
    let mut node = node();
    let key = connect(&mut node, Some("ada"));
    let token = sign(SECRET, &json!({"sub": "ada", "channel": "$news:today"}));
    let subscribe = json!({"subscribe": {"channel": "$news:today", "token": token}});
    assert_eq!(errors(&mut node, key, &[subscribe]), [0]);
}

#[test]
fn wrong_tokens_are_soon_verified_no_more_and_later_again() {
    let mut node = node();
    let key = connect(&mut node, Some("ada"));
    let claims = json!({"sub": "ada", "channel": "$chat"});
    let subscribe = |secret| json!({"subscribe": {"channel": "$chat", "token": sign(secret, &claims)}});
    let codes = errors(&mut node, key, &vec![subscribe(b"another secret"); 300]);
    let refused = codes.iter().filter(|code| **code == 103).count();
    assert!(refused <= 8, "{refused} of 300 were verified");
    assert_eq!(codes.iter().filter(|code| **code == 111).count(), 300 - refused);
    // It is the client's own credit that is used up.
    let other = connect(&mut node, Some("ada"));
    assert_eq!(errors(&mut node, other, &[subscribe(SECRET)]), [0]);
    node.now.monotonic += Duration::from_secs(2);
    assert_eq!(errors(&mut node, key, &[subscribe(SECRET)]), [0]);
}
