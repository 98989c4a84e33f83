//! What becomes of connected clients when the policy is exchanged, and how fast.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    backplane::{BusOp, Op, PresenceOp},
    config::{Auth, ChannelOptions, Channels, GatewayConfig, Namespace, ProtocolName, Protocols},
    key::ConnectionKey,
    shard::Opening,
    token::{EntryToken, Key},
};
use serde_json::{Value, json};

use crate::{
    node::{Frame, Node},
    tokens::{SECRET, sign},
};

pub fn keys() -> Vec<Key> {
    vec![Key::hmac(SECRET).expect("a secret")]
}

/// Everybody may connect, and a namespace `a` is there besides the default one.
fn open_to_all() -> GatewayConfig {
    let options = ChannelOptions::default();
    let namespaces = vec![Namespace { name: "a".to_owned(), options: options.clone() }];
    GatewayConfig { channels: Channels { default: options, namespaces }, ..GatewayConfig::default() }
}

fn for_tokens() -> GatewayConfig {
    GatewayConfig { auth: Auth { anonymous: false, ..Auth::default() }, ..open_to_all() }
}

fn node() -> Node {
    Node::with_keys(open_to_all(), 1, keys())
}

pub fn with_token(node: &mut Node) -> ConnectionKey {
    let key = node.open(Opening::Centrifuge);
    let token = sign(&json!({"sub": "ada"}));
    node.say(key, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    assert!(node.lines(key)[0]["connect"].is_object());
    key
}

pub fn raw_with_token(node: &mut Node, channel: &str) -> ConnectionKey {
    let token =
        EntryToken { id: Some("raw".into()), user: "ada".into(), expires_at: None, names_channel: false };
    let key = node.open(Opening::Raw { channel: channel.to_owned(), token: Some(token) });
    node.confirm_subscriptions();
    key
}

pub fn subscribe(node: &mut Node, key: ConnectionKey, channel: &str) {
    node.say(key, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
    node.confirm_subscriptions();
    let lines = node.lines(key);
    assert!(lines[0]["subscribe"].is_object(), "{lines:?}");
}

/// A connection whose connect command brings a token of these claims.
fn come_with(node: &mut Node, claims: &Value) -> ConnectionKey {
    let key = node.open(Opening::Centrifuge);
    let token = sign(claims);
    node.say(key, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    key
}

/// What everybody may do, but for these tokens.
fn revoking<const N: usize>(ids: [&str; N]) -> GatewayConfig {
    let revoked_tokens = ids.map(str::to_owned).into();
    GatewayConfig { auth: Auth { revoked_tokens, ..Auth::default() }, ..open_to_all() }
}

/// The close code that a client has got.
fn close_code(node: &mut Node, key: ConnectionKey) -> Option<u16> {
    node.frames(key).iter().find_map(|frame| match frame {
        Frame::Close(code, _) => Some(*code),
        _ => None,
    })
}

#[test]
fn who_has_no_token_is_sent_away_once_one_is_asked_for_and_no_faster_than_a_drain_goes() {
    let mut node = node();
    let anonymous: Vec<_> = (0..10).map(|_| node.connect()).collect();
    let raw: Vec<_> = (0..10).map(|_| node.open(Opening::raw("room"))).collect();
    node.confirm_subscriptions();
    let stay = [with_token(&mut node), raw_with_token(&mut node, "room")];
    let mut config = for_tokens();
    config.drain.max_reconnects_per_second = 5;
    node.exchange(config, keys());
    assert_eq!(node.frames(anonymous[0]), vec![], "not in the same moment");
    let mut closed = 0;
    for second in 1..=5 {
        node.pass(Duration::from_secs(1));
        let mut now = 0;
        for (keys, code) in [(&anonymous, 3507), (&raw, 1008)] {
            now += keys.iter().filter(|key| close_code(&mut node, **key) == Some(code)).count();
        }
        closed += now;
        assert!(now <= 5 && closed + 1 >= (second * 5).min(20), "{now} in second {second}, {closed} in all");
    }
    assert_eq!((closed, stay.map(|key| node.frames(key))), (20, [vec![], vec![]]));
}

#[test]
fn who_has_no_token_may_not_connect_from_the_exchange_on() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.exchange(for_tokens(), keys());
    node.say(key, r#"{"id":1,"connect":{}}"#);
    assert_eq!(close_code(&mut node, key), Some(3500));
}

#[test]
fn subscriptions_of_a_namespace_that_is_gone_end_for_good_and_the_others_stay() {
    let mut node = node();
    let key = node.connect();
    subscribe(&mut node, key, "a:x");
    subscribe(&mut node, key, "room");
    node.ops();
    let mut config = open_to_all();
    config.channels.namespaces.clear();
    node.exchange(config, keys());
    node.pass(Duration::from_secs(1));
    let told =
        json!({"push": {"channel": "a:x", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}});
    assert_eq!(node.lines(key), vec![told]);
    assert_eq!(node.ops(), vec![Op::Bus(BusOp::Release { channel: Arc::from("a:x") })]);
    assert_eq!(node.shard.channels(), 1);
}

#[test]
fn clients_of_a_protocol_that_is_served_no_more_are_told_so() {
    for (left, centrifuge, raw) in
        [(ProtocolName::Raw, Some(3508), None), (ProtocolName::Centrifuge, None, Some(1008))]
    {
        let mut node = node();
        let keys_ = [node.connect(), node.open(Opening::raw("room")), node.open(Opening::Echo)];
        node.exchange(GatewayConfig { protocols: Protocols(vec![left]), ..open_to_all() }, keys());
        node.pass(Duration::from_secs(1));
        assert_eq!(keys_.map(|key| close_code(&mut node, key)), [centrifuge, raw, None]);
    }
}

#[test]
fn limits_that_shrink_take_nothing_from_who_is_above_them() {
    let mut node = node();
    let key = node.connect();
    subscribe(&mut node, key, "a:x");
    subscribe(&mut node, key, "room");
    let mut config = open_to_all();
    config.limits.subscriptions = 1;
    node.exchange(config, keys());
    node.pass(Duration::from_secs(1));
    assert_eq!(node.frames(key), vec![]);
    node.say(key, r#"{"id":3,"subscribe":{"channel":"other"}}"#);
    assert_eq!(node.lines(key)[0]["error"]["code"], 106);
}

#[test]
fn a_subscription_under_way_is_judged_by_the_policy_in_force_when_it_is_confirmed() {
    let mut node = node();
    let key = node.connect();
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a:x"}}"#);
    let mut config = open_to_all();
    config.channels.namespaces.clear();
    node.exchange(config, keys());
    node.pass(Duration::from_secs(1));
    assert_eq!(node.frames(key), vec![]);
    node.confirm_subscriptions();
    assert_eq!(node.lines(key)[0]["error"]["code"], 102);
    assert_eq!(
        (node.ops(), node.shard.channels()),
        (vec![Op::Bus(BusOp::Release { channel: Arc::from("a:x") })], 0)
    );
}

#[test]
fn a_client_appears_where_presence_is_turned_on_and_disappears_where_it_is_turned_off() {
    let mut node = node();
    let key = node.connect();
    subscribe(&mut node, key, "room");
    assert_eq!(node.ops(), vec![]);
    let mut config = open_to_all();
    config.channels.default.presence = true;
    node.exchange(config, keys());
    node.pass(Duration::from_secs(1));
    assert!(
        matches!(&node.ops()[..], [Op::Presence(PresenceOp::Enter { channel, .. })] if &**channel == "room")
    );
    node.exchange(open_to_all(), keys());
    node.pass(Duration::from_secs(1));
    assert!(
        matches!(&node.ops()[..], [Op::Presence(PresenceOp::Leave { channel, .. })] if &**channel == "room")
    );
    node.hang_up(key);
    assert_eq!(node.ops(), vec![Op::Bus(BusOp::Release { channel: Arc::from("room") })]);
}

#[test]
fn who_was_let_in_under_the_policy_before_is_held_against_this_one_at_once() {
    let mut node = node();
    node.exchange(for_tokens(), keys());
    node.pass(Duration::from_secs(1));
    let key = node.open(Opening::raw("room"));
    assert_eq!(close_code(&mut node, key), None);
    let now = node.now;
    node.shard.adapt(key, now, &mut node.sink);
    assert_eq!(close_code(&mut node, key), Some(1008));
}

#[test]
fn who_came_with_a_token_that_is_revoked_is_sent_away_and_a_subscription_that_one_opened_ends() {
    let mut node = node();
    let come = |node: &mut Node, id: &str| come_with(node, &json!({"sub": "ada", "jti": id}));
    let [stolen, good] = ["stolen", "good"].map(|id| come(&mut node, id));
    assert_eq!([stolen, good].map(|key| node.lines(key)[0]["connect"].is_object()), [true; 2]);
    let raw = raw_with_token(&mut node, "room");
    let guest = node.connect();
    let token = sign(&json!({"sub": "ada", "channel": "$a", "jti": "lent"}));
    node.say(good, &format!(r#"{{"id":2,"subscribe":{{"channel":"$a","token":"{token}"}}}}"#));
    node.confirm_subscriptions();
    assert!(node.lines(good)[0]["subscribe"].is_object());
    node.exchange(revoking(["stolen", "lent", "raw"]), keys());
    node.pass(Duration::from_secs(5));
    assert_eq!([stolen, raw].map(|key| close_code(&mut node, key)), [Some(3507), Some(1008)]);
    let pushed = node.lines(good);
    assert_eq!(pushed[0]["push"]["unsubscribe"]["code"], 2000, "{pushed:?}");
    assert_eq!([good, guest].map(|key| node.sink.closed.contains(&key)), [false; 2]);
    let back = come(&mut node, "stolen");
    assert_eq!(close_code(&mut node, back), Some(3500));
}

#[test]
fn a_token_that_is_revoked_while_its_channels_are_subscribed_opens_nothing() {
    for (channel, is_held_against_it_before) in
        [("room", false), ("$room", false), ("room", true), ("$room", true)]
    {
        let mut node = node();
        let claims = |id: &str| json!({"sub": "ada", "channels": [channel], "jti": id});
        let [stolen, good] = ["stolen", "good"].map(|id| come_with(&mut node, &claims(id)));
        node.exchange(revoking(["stolen"]), keys());
        if is_held_against_it_before {
            node.pass(Duration::from_secs(1));
        }
        node.confirm_subscriptions();
        let frames = node.frames(stolen);
        assert_eq!(frames, [Frame::Close(3507, "permission denied".to_owned())], "{channel}");
        assert!(node.lines(good)[0]["connect"]["subs"][channel].is_object(), "{channel}");
        node.hang_up(good);
        assert_eq!(node.shard.channels(), 0, "{channel}");
    }
}

#[test]
fn a_private_channel_that_a_token_names_is_lost_with_that_token_and_not_with_the_one_it_is_refreshed_by() {
    let mut node = node();
    let claims = |id: &str, channels: &[&str]| json!({"sub": "ada", "channels": channels, "jti": id});
    let key = come_with(&mut node, &claims("first", &["$room", "room"]));
    node.confirm_subscriptions();
    assert!(node.lines(key)[0]["connect"]["subs"]["$room"].is_object());
    let token = sign(&claims("second", &[]));
    node.say(key, &format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#));
    assert!(node.lines(key)[0]["refresh"].is_object());
    node.exchange(revoking(["other"]), keys());
    node.pass(Duration::from_secs(1));
    assert_eq!(node.frames(key), []);
    node.exchange(revoking(["first"]), keys());
    node.pass(Duration::from_secs(1));
    let told =
        json!({"push": {"channel": "$room", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}});
    assert_eq!(node.lines(key), [told], "whom a channel's name admits may stay there");
    node.exchange(revoking(["second"]), keys());
    node.pass(Duration::from_secs(1));
    assert_eq!(close_code(&mut node, key), Some(3507));
}
