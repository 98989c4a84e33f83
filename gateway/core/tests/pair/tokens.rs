//! What tokens open, for whom, and for how long.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    backplane::{
        BackplaneError, Followed, Inbound, LogOp, Message, Op, Outcome, Payload, PresenceOp, Publication,
        StreamPosition,
    },
    config::{Auth, GatewayConfig, Jwks},
    key::ConnectionKey,
    shard::Opening,
    token::Key,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::node::{Frame, Node, TEXT, masked};

pub const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
/// One whose signatures take long to check; with it a token is checked elsewhere, whatever has signed it.
pub const PUBLIC_KEY: &[u8] = include_bytes!("../../src/token/ed25519.pem");

fn node(anonymous: bool) -> Node {
    let auth = Auth { anonymous, ..Auth::default() };
    let config = GatewayConfig { auth, ..GatewayConfig::default() };
    Node::with_keys(config, 1, vec![Key::hmac(SECRET).expect("a secret")])
}

pub fn sign(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).expect("signed")
}

/// Seconds from now, as a token has it.
fn after(node: &Node, seconds: u64) -> u64 {
    node.now.unix_seconds + seconds
}

fn connect(node: &mut Node, token: &str) -> (ConnectionKey, Vec<Frame>) {
    let key = node.open(Opening::Centrifuge);
    node.say(key, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    let frames = node.frames(key);
    (key, frames)
}

/// Answers pings until `time` has passed, or the connection has something else to say.
fn live(node: &mut Node, key: ConnectionKey, time: u64) -> Vec<Frame> {
    let ping = Frame::Text("{}".to_owned());
    for _ in 0..time {
        node.pass(Duration::from_secs(1));
        node.now.unix_seconds += 1;
        let frames = node.frames(key);
        if frames.contains(&ping) {
            node.say(key, "{}");
        }
        let other: Vec<Frame> = frames.into_iter().filter(|frame| *frame != ping).collect();
        if !other.is_empty() {
            return other;
        }
    }
    vec![]
}

#[test]
fn a_client_without_a_valid_token_stays_out_where_tokens_are_asked_for() {
    let refused = vec![Frame::Close(3500, "invalid token".to_owned())];
    for token in ["", "nonsense", &sign(&json!({"sub": "ada", "nbf": 9_000_000_000_u64}))] {
        assert_eq!(connect(&mut node(false), token).1, refused, "{token}");
    }
    assert!(matches!(connect(&mut node(true), "").1[..], [Frame::Text(_)]));
    assert_eq!(connect(&mut node(true), "nonsense").1, refused);
}

#[test]
fn a_token_whose_key_is_still_to_come_is_tried_again_and_its_address_charged_where_other_keys_were_tried() {
    let tokens = include_str!("../../src/token/key_set/signed.txt");
    // EdDSA, of a key that no gateway here knows.
    let token = tokens.lines().find_map(|line| line.strip_prefix("renamed ")).expect("a token");
    let jwks = Jwks { url: "https://login.example.com/keys".to_owned(), allow_http: false };
    let auth = Auth { anonymous: false, jwks: Some(jwks), ..Auth::default() };
    let config = GatewayConfig { auth, ..GatewayConfig::default() };
    for (keys, charges) in [(vec![], 0), (Key::public(PUBLIC_KEY).expect("a key"), 1)] {
        let mut node = Node::with_keys(config.clone(), 1, keys);
        let (key, mut frames) = connect(&mut node, token);
        node.check();
        frames.extend(node.frames(key));
        assert_eq!(
            frames[0].lines()[0]["error"],
            json!({"code": 100, "message": "internal server error", "temporary": true})
        );
        assert_eq!((node.sink.unknown_keys.get(), node.sink.wrong_tokens.borrow().len()), (1, charges));
    }
}

#[test]
fn a_wrong_token_is_told_of_and_an_expired_one_or_a_good_one_is_not() {
    let mut node = node(false);
    connect(&mut node, &sign(&json!({"sub": "ada", "exp": 1_000})));
    let (good, _) = connect(&mut node, &sign(&json!({"sub": "ada"})));
    assert_eq!(*node.sink.wrong_tokens.borrow(), []);
    let (wrong, _) = connect(&mut node, "nonsense");
    node.say(good, r#"{"id":2,"subscribe":{"channel":"$a","token":"nonsense"}}"#);
    assert_eq!(*node.sink.wrong_tokens.borrow(), [wrong, good]);
}

#[test]
fn an_expired_token_is_answered_so_that_the_client_fetches_another() {
    let mut node = node(false);
    let (key, frames) = connect(&mut node, &sign(&json!({"sub": "ada", "exp": 1_000})));
    assert_eq!(frames[0].lines()[0]["error"]["code"], 109);
    let token = sign(&json!({"sub": "ada"}));
    node.say(key, &format!(r#"{{"id":2,"connect":{{"token":"{token}"}}}}"#));
    assert!(node.lines(key)[0]["connect"].is_object());
}

#[test]
fn the_tokens_user_and_info_are_what_others_see() {
    let mut node = node(false);
    let (key, _) = connect(&mut node, &sign(&json!({"sub": "ada", "info": {"name": "Ada"}})));
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    node.confirm_subscriptions();
    let ops = node.ops();
    let [Op::Presence(PresenceOp::Enter { info, .. })] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!((&*info.user, info.conn_info.as_deref()), ("ada", Some(&br#"{"name":"Ada"}"#[..])));
}

#[test]
fn a_connection_outlives_its_token_only_by_the_grace() {
    let mut node = node(false);
    let token = sign(&json!({"sub": "ada", "exp": after(&node, 100)}));
    let (key, frames) = connect(&mut node, &token);
    let connected = &frames[0].lines()[0]["connect"];
    assert_eq!((&connected["expires"], &connected["ttl"]), (&json!(true), &json!(100)));
    assert_eq!(live(&mut node, key, 124), vec![], "25 s are left for a refresh");
    assert_eq!(live(&mut node, key, 20), vec![Frame::Close(3005, "connection expired".to_owned())]);
}

#[test]
fn a_refreshed_connection_lives_on_but_only_as_the_same_user() {
    let mut node = node(false);
    let token = sign(&json!({"sub": "ada", "exp": after(&node, 100)}));
    let (key, _) = connect(&mut node, &token);
    let token = sign(&json!({"sub": "ada", "exp": after(&node, 1_000)}));
    node.say(key, &format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#));
    assert_eq!(node.lines(key)[0]["refresh"]["ttl"], 1_000);
    assert_eq!(live(&mut node, key, 500), vec![]);
    let token = sign(&json!({"sub": "eve"}));
    node.say(key, &format!(r#"{{"id":3,"refresh":{{"token":"{token}"}}}}"#));
    assert_eq!(node.frames(key), vec![Frame::Close(3500, "invalid token".to_owned())]);
}

#[test]
fn a_private_channel_opens_to_its_own_token_and_closes_when_that_ends() {
    let mut node = node(true);
    let (key, _) = connect(&mut node, "");
    let subscribe = |id: u32, token: &str| {
        format!(r#"{{"id":{id},"subscribe":{{"channel":"$secret","token":"{token}"}}}}"#)
    };
    for token in
        ["", &sign(&json!({"channel": "$other"})), &sign(&json!({"sub": "ada", "channel": "$secret"}))]
    {
        node.say(key, &subscribe(2, token));
        assert_eq!(node.lines(key)[0]["error"]["code"], 103, "{token}");
    }
    let exp = after(&node, 60);
    node.say(key, &subscribe(3, &sign(&json!({"channel": "$secret", "exp": exp, "info": 7}))));
    node.confirm_subscriptions();
    assert_eq!(node.lines(key)[0]["subscribe"]["ttl"], 60);
    let ops = node.ops();
    let [Op::Presence(PresenceOp::Enter { info, .. })] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!(info.chan_info.as_deref(), Some(&b"7"[..]));

    let token = sign(&json!({"channel": "$secret", "exp": after(&node, 200)}));
    node.say(key, &format!(r#"{{"id":4,"sub_refresh":{{"channel":"$secret","token":"{token}"}}}}"#));
    assert_eq!(node.lines(key)[0]["sub_refresh"]["ttl"], 200);
    assert_eq!(live(&mut node, key, 224), vec![]);
    let ended = live(&mut node, key, 20);
    assert_eq!(ended[0].lines()[0]["push"]["unsubscribe"]["code"], 2501);
    assert_eq!(node.shard.channels(), 0);
}

/// Connects with a token of server-side subscriptions to `a` and `b`.
fn connect_to_both(node: &mut Node, left_off: &str) -> ConnectionKey {
    let key = node.open(Opening::Centrifuge);
    let token = sign(&json!({"sub": "ada", "channels": ["a", "b"]}));
    node.say(key, &format!(r#"{{"id":1,"connect":{{"token":"{token}","subs":{left_off}}}}}"#));
    key
}

fn publication(channel: &str, offset: u64) -> Inbound {
    let payload = Payload::Json("0".into());
    let message = Message::Publication(Arc::new(Publication { offset, payload, info: None, sender: None }));
    Inbound::Delivered { channel: Arc::from(channel), message }
}

/// Answers the subscribe operation that was submitted first.
fn confirm(node: &mut Node, result: Result<u64, BackplaneError>) -> Op {
    let (waiter, op) = node.sink.submitted.pop_front().expect("an operation");
    let outcome = result.map(|offset| {
        Outcome::Followed(Followed {
            position: StreamPosition { epoch: Arc::from("e"), offset },
            publications: vec![],
            recovered: matches!(op, Op::Log(LogOp::Follow { since: Some(_), .. })),
        })
    });
    node.complete(waiter, outcome);
    op
}

#[test]
fn a_tokens_channels_are_in_the_connect_reply_and_deliveries_come_after_it() {
    let mut node = node(false);
    let key = connect_to_both(&mut node, r#"{"a":{"recover":true,"epoch":"e","offset":3}}"#);
    let op = confirm(&mut node, Ok(3));
    let Op::Log(LogOp::Follow { since, .. }) = op else { panic!("{op:?}") };
    assert_eq!(since.map(|since| since.offset), Some(3));
    node.inbound(publication("a", 4));
    assert_eq!(node.frames(key), vec![]);
    confirm(&mut node, Ok(9));
    let lines = node.lines(key);
    let a = json!({"recoverable": true, "positioned": true, "epoch": "e", "offset": 3, "was_recovering": true, "recovered": true});
    let b = json!({"recoverable": true, "positioned": true, "epoch": "e", "offset": 9});
    assert_eq!(lines[0]["connect"]["subs"], json!({"a": a, "b": b}));
    assert_eq!((lines.len(), &lines[1]["push"]["pub"]["offset"]), (2, &json!(4)));
    assert_eq!(node.shard.accepted().resumed, 1);
    node.inbound(publication("b", 10));
    assert_eq!(node.lines(key).len(), 1);
}

#[test]
fn a_connect_command_whose_channels_fail_fails_as_a_whole_and_can_be_repeated() {
    let mut node = node(false);
    let key = connect_to_both(&mut node, "{}");
    confirm(&mut node, Ok(0));
    confirm(&mut node, Err(BackplaneError::Busy));
    assert_eq!(node.lines(key)[0]["error"]["code"], 111);
    assert_eq!(node.shard.channels(), 0);
    node.ops();
    let token = sign(&json!({"sub": "ada"}));
    node.say(key, &format!(r#"{{"id":2,"connect":{{"token":"{token}"}}}}"#));
    assert!(node.lines(key)[0]["connect"].is_object());
}

#[test]
fn deliveries_that_wait_for_the_connect_reply_are_bounded() {
    let mut config = GatewayConfig::default();
    (config.limits.max_message_bytes, config.limits.outbound_queue_bytes) = (1_024, 16_384);
    let mut node = Node::with_keys(config, 1, vec![Key::hmac(SECRET).expect("a secret")]);
    let key = connect_to_both(&mut node, "{}");
    confirm(&mut node, Ok(0));
    (1..1_000).for_each(|offset| node.inbound(publication("a", offset)));
    confirm(&mut node, Ok(0));
    assert_eq!(
        node.lines(key),
        vec![json!({"id": 1, "error": {
            "code": 100, "message": "internal server error", "temporary": true
        }})]
    );
    assert_eq!(node.shard.channels(), 0);
}

#[test]
fn lost_deliveries_of_a_tokens_channel_end_the_connection_which_comes_back_to_recover() {
    let mut node = node(false);
    let key = connect_to_both(&mut node, "{}");
    confirm(&mut node, Ok(0));
    confirm(&mut node, Ok(0));
    node.frames(key);
    node.inbound(Inbound::Delivered { channel: Arc::from("a"), message: Message::Discontinued });
    assert_eq!(node.frames(key), vec![Frame::Close(3010, "insufficient state".to_owned())]);
    assert_eq!(node.shard.channels(), 0);
}

#[test]
fn a_tokens_channel_that_is_refreshed_by_a_token_of_its_own_stays_the_servers() {
    let mut node = node(false);
    let key = connect_to_both(&mut node, "{}");
    confirm(&mut node, Ok(0));
    confirm(&mut node, Ok(0));
    node.frames(key);
    let token = sign(&json!({"sub": "ada", "channel": "a"}));
    node.say(key, &format!(r#"{{"id":2,"sub_refresh":{{"channel":"a","token":"{token}"}}}}"#));
    assert!(node.lines(key)[0]["sub_refresh"].is_object());
    node.inbound(Inbound::Delivered { channel: Arc::from("a"), message: Message::Discontinued });
    assert_eq!(node.frames(key), vec![Frame::Close(3010, "insufficient state".to_owned())]);
}

#[test]
fn recoveries_that_do_not_fit_into_one_connect_reply_come_over_several_connections() {
    let mut node = node(false);
    let body = Payload::Json(format!("\"{}\"", "x".repeat(20_000)).into());
    let publication = |offset| Publication { offset, payload: body.clone(), info: None, sender: None };
    let mut reached = [0_u64; 2];
    let mut connections = 0;
    while reached != [40; 2] {
        let position = |at: u64| json!({"recover": true, "epoch": "e", "offset": at});
        let left_off = json!({"a": position(reached[0]), "b": position(reached[1])});
        let key = connect_to_both(&mut node, &left_off.to_string());
        connections += 1;
        for at in reached {
            let (waiter, _) = node.sink.submitted.pop_front().expect("an operation");
            let publications = (at + 1..=40).map(|offset| Arc::new(publication(offset))).collect();
            let position = StreamPosition { epoch: Arc::from("e"), offset: 40 };
            let followed = Followed { position, publications, recovered: true };
            node.complete(waiter, Ok(Outcome::Followed(followed)));
        }
        let frames = node.frames(key);
        assert!(frames[0].text().len() <= 1_048_576 / 2 + 1_000);
        let subs = &frames[0].lines()[0]["connect"]["subs"];
        for (at, channel) in reached.iter_mut().zip(["a", "b"]) {
            assert_eq!(subs[channel]["recovered"], true);
            *at +=
                subs[channel]["publications"].as_array().map_or(0, |publications| publications.len() as u64);
            assert_eq!(subs[channel]["offset"], *at);
        }
        let end = [Frame::Close(3010, "insufficient state".to_owned())];
        assert_eq!(frames[1..], if reached == [40; 2] { vec![] } else { end.to_vec() });
        node.hang_up(key);
        node.ops();
    }
    assert_eq!(connections, 4);
}

#[test]
fn a_recovery_of_a_tokens_channel_that_is_more_than_one_read_comes_over_several_connections() {
    let mut node = node(false);
    let end = |offset| StreamPosition { epoch: Arc::from("e"), offset };
    let publication = |offset: u64| {
        let payload = Payload::Json(offset.to_string().into());
        Arc::new(Publication { offset, payload, info: None, sender: None })
    };
    for reached in [0, 300, 600] {
        let left_off = json!({"a": {"recover": true, "epoch": "e", "offset": reached}});
        let key = connect_to_both(&mut node, &left_off.to_string());
        let (waiter, _) = node.sink.submitted.pop_front().expect("an operation");
        let is_last = reached == 600;
        let unread = Outcome::Followed(Followed {
            position: end(700),
            publications: if is_last { (601..=700).map(publication).collect() } else { vec![] },
            recovered: is_last,
        });
        node.complete(waiter, Ok(unread));
        confirm(&mut node, Ok(0));
        if !is_last {
            let (waiter, op) = node.sink.submitted.pop_front().expect("an operation");
            let Op::Log(LogOp::Read { since, limit, reverse, .. }) = op else { panic!("{op:?}") };
            assert_eq!((since, limit, reverse), (Some(end(reached)), 300, false));
            let publications = (reached + 1..=reached + 300).map(publication).collect();
            node.complete(waiter, Ok(Outcome::Read { position: end(700), publications }));
        }
        let frames = node.frames(key);
        let recovered = &frames[0].lines()[0]["connect"]["subs"]["a"];
        let count = recovered["publications"].as_array().map(Vec::len);
        let (parts, ends) = if is_last { (100, vec![]) } else { (300, vec![3010]) };
        assert_eq!((&recovered["recovered"], count), (&json!(true), Some(parts)));
        assert_eq!(recovered["offset"], reached + parts as u64);
        let closes = frames[1..].iter().map(|frame| match frame {
            Frame::Close(code, _) => *code,
            other => panic!("{other:?}"),
        });
        assert_eq!(closes.collect::<Vec<_>>(), ends);
        node.hang_up(key);
        node.ops();
    }
}

#[test]
fn what_comes_behind_a_connect_command_waits_for_its_reply_however_it_comes() {
    for separate in [false, true] {
        let mut node = node(false);
        let key = node.open(Opening::Centrifuge);
        let connect = format!(
            r#"{{"id":1,"connect":{{"token":"{}"}}}}"#,
            sign(&json!({"sub": "ada", "channels": ["news"]}))
        );
        let rest = [r#"{"id":2,"subscribe":{"channel":"room"}}"#, r#"{"id":3,"ping":{}}"#];
        if separate {
            let messages = [&connect, rest[0], rest[1]].map(|message| masked(TEXT, message.as_bytes()));
            node.receive(key, messages.concat());
        } else {
            node.say(key, &[&connect, rest[0], rest[1]].join("\n"));
        }
        assert_eq!((node.frames(key), &node.sink.paused[..]), (vec![], &[key][..]));
        confirm(&mut node, Ok(0));
        let lines = node.lines(key);
        assert!(lines[0]["connect"]["subs"]["news"].is_object(), "{lines:?}");
        assert_eq!((lines.len(), &lines[1]), (2, &json!({"id": 3, "ping": {}})));
        node.confirm_subscriptions();
        let lines = node.lines(key);
        assert!(lines.len() == 1 && lines[0]["subscribe"].is_object(), "{lines:?}");
        assert_eq!(node.sink.paused, []);
    }
}

#[test]
fn what_comes_behind_a_connect_command_that_fails_may_be_tried_again() {
    for expired in [true, false] {
        let mut node = node(false);
        let key = node.open(Opening::Centrifuge);
        let claims = if expired { json!({"exp": 1_000}) } else { json!({"channels": ["news"]}) };
        let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, sign(&claims));
        node.say(key, &format!("{connect}\n{}", r#"{"id":2,"subscribe":{"channel":"room"}}"#));
        if !expired {
            confirm(&mut node, Err(BackplaneError::Unavailable));
        }
        let lines = node.lines(key);
        let codes: Vec<_> = lines.iter().map(|line| (&line["id"], &line["error"]["code"])).collect();
        let code = if expired { 109 } else { 100 };
        assert_eq!(codes, [(&json!(1), &json!(code)), (&json!(2), &json!(100))]);
        assert_eq!(lines[1]["error"]["temporary"], true);
        node.ops();
        let token = sign(&json!({"sub": "ada"}));
        node.say(key, &format!(r#"{{"id":3,"connect":{{"token":"{token}"}}}}"#));
        assert!(node.lines(key)[0]["connect"].is_object());
    }
}

#[test]
fn a_client_whose_connect_commands_all_failed_is_stale_after_ten_seconds() {
    let mut node = node(false);
    let (key, _) = connect(&mut node, &sign(&json!({"exp": 1_000})));
    node.pass(Duration::from_secs(11));
    assert_eq!(node.frames(key), vec![Frame::Close(3502, "stale".to_owned())]);
}
