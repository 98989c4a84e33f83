//! Who may enter which channel, publish there, and for how long one may try.

use std::time::Duration;

use gateway_core::{
    config::{Audience, Auth, ChannelOptions, Channels, Entrants, GatewayConfig, Namespace},
    key::ConnectionKey,
    shard::Opening,
    token::Key,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::node::Node;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// Everybody may connect, and publish wherever he may enter.
fn node() -> Node {
    node_with(ChannelOptions { publish: Audience::Clients, ..ChannelOptions::default() })
}

/// Everybody may connect.
fn node_with(options: ChannelOptions) -> Node {
    let auth = Auth { anonymous: true, ..Auth::default() };
    let namespaces = vec![Namespace { name: "news".to_owned(), options: options.clone() }];
    let channels = Channels { default: options, namespaces };
    let config = GatewayConfig { auth, channels, ..GatewayConfig::default() };
    Node::with_keys(config, 1, vec![Key::hmac(SECRET).expect("a secret")])
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

#[test]
fn a_namespace_says_who_subscribes_without_a_token_for_the_channel() {
    for (subscribe, anonymous, user) in
        [(Entrants::Clients, 0, 0), (Entrants::Users, 103, 0), (Entrants::Tokens, 103, 103)]
    {
        let mut node = node_with(ChannelOptions { subscribe, ..ChannelOptions::default() });
        let token = sign(SECRET, &json!({"sub": "ada", "channel": "news:today"}));
        let bare = json!({"subscribe": {"channel": "news:today"}});
        let with_token = json!({"subscribe": {"channel": "news:today", "token": token}});
        for (name, command, code) in
            [(None, &bare, anonymous), (Some("ada"), &bare, user), (Some("ada"), &with_token, 0)]
        {
            let key = connect(&mut node, name);
            assert_eq!(
                errors(&mut node, key, std::slice::from_ref(command)),
                [code],
                "{subscribe:?} {name:?}"
            );
        }
    }
}

#[test]
fn a_namespace_says_who_reads_its_presence_and_history_with_or_without_a_subscription() {
    let audiences = [Audience::Server, Audience::Subscribers, Audience::Users, Audience::Clients];
    // By audience: an anonymous client outside, Ada outside, both inside.
    let expected = [[103; 4], [103, 103, 0, 0], [103, 0, 103, 0], [0; 4]];
    for (audience, codes) in audiences.into_iter().zip(expected) {
        for (method, other) in
            [("presence", "history"), ("presence_stats", "history"), ("history", "presence")]
        {
            let mut options =
                ChannelOptions { presence: true, history: Some(Default::default()), ..Default::default() };
            let reads_history = method == "history";
            options.read_history = if reads_history { audience } else { Audience::Server };
            options.read_presence = if reads_history { Audience::Server } else { audience };
            let mut node = node_with(options);
            let mut seen = vec![];
            for (inside, name) in [(false, None), (false, Some("ada")), (true, None), (true, Some("ada"))] {
                let key = connect(&mut node, name);
                if inside {
                    node.say(key, r#"{"id":9,"subscribe":{"channel":"news:today"}}"#);
                    node.confirm_subscriptions();
                    node.lines(key);
                }
                let ask = |method: &str| json!({method: {"channel": "news:today"}});
                let answers = errors(&mut node, key, &[ask(method), ask(other)]);
                assert_eq!(answers[1], 103, "{other} has an audience of its own");
                seen.push(answers[0]);
            }
            assert_eq!(seen, codes, "{audience:?} {method}");
        }
    }
}
