//! Tokens whose check takes long, and so is made elsewhere.

use std::time::Duration;

use gateway_core::{
    config::{Auth, GatewayConfig},
    key::ConnectionKey,
    shard::Opening,
    token::Key,
};
use serde_json::{Value, json};

use crate::{
    node::{CLOSE, Frame, Node, masked},
    tokens::{PUBLIC_KEY, SECRET, sign},
};

fn node() -> Node {
    let auth = Auth { anonymous: false, ..Auth::default() };
    Node::with_keys(GatewayConfig { auth, ..GatewayConfig::default() }, 1, keys())
}

fn keys() -> Vec<Key> {
    Key::public(PUBLIC_KEY).expect("a key").into_iter().chain(Key::hmac(SECRET)).collect()
}

fn connect(token: &str) -> String {
    json!({"id": 1, "connect": {"token": token}}).to_string()
}

fn subscribe(id: u32, channel: &str) -> Value {
    let token = sign(&json!({"sub": "ada", "channel": channel}));
    json!({"id": id, "subscribe": {"channel": channel, "token": token}})
}

/// The ids of the replies that a client has got.
fn answered(node: &mut Node, key: ConnectionKey) -> Vec<u64> {
    node.lines(key).iter().map(|reply| reply["id"].as_u64().expect("a reply")).collect()
}

#[test]
fn nothing_is_answered_before_the_token_is_checked_and_then_all_in_order() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    let lines = [connect(&sign(&json!({"sub": "ada"}))), r#"{"id":2,"ping":{}}"#.to_owned()];
    node.say(key, &lines.join("\n"));
    assert_eq!((answered(&mut node, key), node.sink.paused.clone()), (vec![], vec![key]));
    assert_eq!(node.check(), Some(true));
    assert_eq!((answered(&mut node, key), node.sink.paused.clone()), (vec![1, 2], vec![]));
}

#[test]
fn of_one_client_one_token_is_checked_at_a_time_and_a_message_of_many_counts_once() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.say(key, &connect(&sign(&json!({"sub": "ada"}))));
    node.check();
    node.frames(key);
    let mut lines: Vec<String> = (2..52).map(|id| subscribe(id, &format!("$room{id}")).to_string()).collect();
    lines.push(json!({"id": 52, "ping": {}}).to_string());
    let received = node.shard.tally().received;
    node.say(key, &lines.join("\n"));
    let mut checks = 0;
    while node.check().is_some() {
        checks += 1;
        assert!(node.sink.checks.len() <= 1);
    }
    node.confirm_subscriptions();
    let mut ids = answered(&mut node, key);
    ids.sort_unstable();
    assert_eq!((checks, ids), (50, (2..=52).collect()));
    assert_eq!(node.shard.tally().received - received, 51);
}

#[test]
fn a_token_for_which_there_is_no_room_is_refused_for_now() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.sink.is_full_of_checks = true;
    node.say(key, &connect(&sign(&json!({"sub": "ada"}))));
    assert_eq!(node.lines(key)[0]["error"]["code"], 111);
    node.sink.is_full_of_checks = false;
    node.say(key, &connect(&sign(&json!({"sub": "ada"}))));
    node.check();
    assert!(node.lines(key)[0]["connect"].is_object());
}

#[test]
fn whether_a_client_is_still_there_when_its_token_has_been_checked_is_said_and_nothing_else_happens() {
    let mut node = node();
    let token = sign(&json!({"sub": "ada"}));
    let [gone, closing] = [(); 2].map(|()| node.open(Opening::Centrifuge));
    node.say(gone, &connect(&token));
    node.hang_up(gone);
    let successor = node.open(Opening::Centrifuge);
    assert_eq!((successor.slot, node.check()), (gone.slot, Some(false)));
    node.say(closing, &connect(&token));
    node.shard.overflow(closing, node.now, &mut node.sink);
    node.frames(closing);
    assert_eq!((node.check(), node.frames(closing), node.frames(successor)), (Some(true), vec![], vec![]));
}

#[test]
fn a_wrong_token_is_told_of_once_and_its_client_with_it() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.say(key, &connect("nonsense"));
    assert_eq!(node.sink.wrong_tokens.borrow().clone(), []);
    node.check();
    assert_eq!(node.frames(key), [Frame::Close(3500, "invalid token".to_owned())]);
    assert_eq!(node.sink.wrong_tokens.borrow().clone(), [key]);
}

#[test]
fn a_token_that_expires_while_it_is_checked_is_expired() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    let exp = node.now.unix_seconds + 1;
    node.say(key, &connect(&sign(&json!({"sub": "ada", "exp": exp}))));
    node.now.unix_seconds += 2;
    node.check();
    assert_eq!(node.lines(key)[0]["error"]["code"], 109);
}

#[test]
fn a_client_whose_token_is_not_checked_in_time_is_told_to_come_again() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.say(key, &connect(&sign(&json!({"sub": "ada"}))));
    node.pass(Duration::from_secs(15));
    assert_eq!(node.frames(key), [Frame::Close(3013, "too many requests".to_owned())]);
}

#[test]
fn a_token_that_is_revoked_while_it_is_checked_is_checked_again() {
    let mut node = node();
    let [stolen, good] = ["stolen", "good"].map(|id| {
        let key = node.open(Opening::Centrifuge);
        node.say(key, &connect(&sign(&json!({"sub": "ada", "jti": id}))));
        key
    });
    let mut config = GatewayConfig::default();
    config.auth.revoked_tokens = ["stolen".to_owned()].into();
    node.exchange(config, keys());
    while node.check().is_some() {}
    assert_eq!(node.frames(stolen), [Frame::Close(3500, "invalid token".to_owned())]);
    assert!(node.lines(good)[0]["connect"].is_object());
}

#[test]
fn a_configuration_that_is_exchanged_while_a_token_is_checked_counts_for_what_it_opens() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.say(key, &connect(&sign(&json!({"sub": "ada"}))));
    node.check();
    node.frames(key);
    node.say(key, &subscribe(2, "live:x").to_string());
    let mut config = GatewayConfig::default();
    config.channels.namespaces.clear();
    node.exchange(config, vec![Key::hmac(SECRET).expect("a secret")]);
    node.check();
    assert_eq!(node.lines(key)[0]["error"]["code"], 102);
    node.say(key, &subscribe(3, "$room").to_string());
    node.confirm_subscriptions();
    assert_eq!((node.sink.checks.len(), answered(&mut node, key)), (0, vec![3]));
    node.receive(key, masked(CLOSE, &[]));
}
