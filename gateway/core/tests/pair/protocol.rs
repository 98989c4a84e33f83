//! The centrifuge protocol, command by command.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    backplane::{
        BackplaneError, BusOp, ClientInfo, Followed, Inbound, LogOp, Message, Op, Outcome, Payload,
        PresenceOp, Publication, Publish, Retention, StreamPosition,
    },
    config::{Audience, Channels, GatewayConfig, Namespace},
    key::ConnectionKey,
    shard::Opening,
};
use serde_json::{Value, json};

use crate::node::{BINARY, CLOSE, Frame, Node, masked};

fn node() -> Node {
    Node::new(GatewayConfig::default(), 1)
}

fn position(offset: u64) -> StreamPosition {
    StreamPosition { epoch: Arc::from("e"), offset }
}

fn publication(offset: u64, body: &'static str) -> Arc<Publication> {
    let payload = Payload::Json(body.as_bytes().into());
    Arc::new(Publication { offset, payload, info: None, sender: None })
}

fn delivered(channel: &str, message: Message) -> Inbound {
    Inbound::Delivered { channel: Arc::from(channel), message }
}

/// Says one command and returns the code of the error that answers it.
fn error(node: &mut Node, key: ConnectionKey, command: &str) -> u64 {
    node.say(key, &format!(r#"{{"id":9,{command}}}"#));
    let lines = node.lines(key);
    assert_eq!((lines.len(), &lines[0]["id"]), (1, &json!(9)), "{lines:?}");
    lines[0]["error"]["code"].as_u64().unwrap_or_else(|| panic!("no error: {lines:?}"))
}

/// Completes the last operation submitted.
fn complete(node: &mut Node, result: Result<Outcome, BackplaneError>) -> Op {
    let (waiter, op) = node.sink.submitted.pop_back().expect("an operation");
    node.complete(waiter, result);
    op
}

#[test]
fn a_connect_reply_says_who_and_where_the_client_is_and_when_pings_come() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.say(key, r#"{"id":1,"connect":{"name":"js"}}"#);
    let client = "0000000000000001-0000-00000000-00000000";
    let expected = json!({"id": 1, "connect": {
        "client": client, "version": "1", "ping": 25, "pong": true, "node": "gateway-1"
    }});
    assert_eq!(node.lines(key), vec![expected]);
}

#[test]
fn commands_before_connect_and_a_second_connect_break_the_protocol() {
    for connected in [false, true] {
        let mut node = node();
        let key = if connected { node.connect() } else { node.open(Opening::Centrifuge) };
        let command = if connected { r#""connect":{}"# } else { r#""subscribe":{"channel":"a"}"# };
        node.say(key, &format!(r#"{{"id":2,{command}}}"#));
        assert_eq!(node.frames(key), vec![Frame::Close(3501, "bad request".to_owned())]);
        assert_eq!(node.ops(), vec![]);
    }
}

#[test]
fn what_is_no_command_ends_the_connection() {
    for message in ["", "{", "[]", "null", "\u{0}", r#"{"id":-1}"#, r#"{"subscribe":{"channel":"a"}}"#] {
        let mut node = node();
        let key = node.connect();
        node.say(key, message);
        let expected =
            if message.is_empty() { vec![] } else { vec![Frame::Close(3501, "bad request".to_owned())] };
        assert_eq!(node.frames(key), expected, "{message:?}");
    }
    let mut node = node();
    let key = node.connect();
    node.receive(key, masked(BINARY, b"{}"));
    assert_eq!(node.frames(key), vec![Frame::Close(3506, "inappropriate protocol".to_owned())]);
}

#[test]
fn a_subscription_starts_with_the_backplane_and_is_announced() {
    let mut node = node();
    let key = node.connect();
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert_eq!(node.frames(key), vec![], "the backplane is asked first");
    let outcome =
        Outcome::Followed(Followed { position: position(7), publications: vec![], recovered: false });
    let asked = complete(&mut node, Ok(outcome));
    let follow = LogOp::Follow { channel: Arc::from("a"), since: None, limit: 300 };
    assert_eq!(asked, Op::Log(follow));
    let reply =
        json!({"id": 2, "subscribe": {"recoverable": true, "positioned": true, "epoch": "e", "offset": 7}});
    assert_eq!(node.lines(key), vec![reply]);
    let ops = node.ops();
    assert!(matches!(&ops[..], [Op::Presence(PresenceOp::Enter { announce: true, .. })]), "{ops:?}");
}

#[test]
fn a_recovered_subscription_replays_what_was_missed() {
    let mut node = node();
    let key = node.connect();
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"e","offset":5}}"#);
    let publications = vec![publication(6, "1"), publication(7, "2")];
    let outcome = Outcome::Followed(Followed { position: position(7), publications, recovered: true });
    let asked = complete(&mut node, Ok(outcome));
    let Op::Log(LogOp::Follow { since, .. }) = asked else { panic!("{asked:?}") };
    assert_eq!(since, Some(position(5)));
    let reply = &node.lines(key)[0]["subscribe"];
    assert_eq!((&reply["recovered"], &reply["was_recovering"]), (&json!(true), &json!(true)));
    assert_eq!(reply["publications"], json!([{"data": 1, "offset": 6}, {"data": 2, "offset": 7}]));
    assert_eq!((node.shard.accepted().resumed, node.shard.accepted().new), (1, 0));
}

#[test]
fn a_client_is_subscribed_to_a_channel_once() {
    let mut node = node();
    let key = node.connect();
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert_eq!(error(&mut node, key, r#""subscribe":{"channel":"a"}"#), 105);
    node.confirm_subscriptions();
    node.frames(key);
    assert_eq!(error(&mut node, key, r#""subscribe":{"channel":"a"}"#), 105);
}

#[test]
fn subscriptions_are_limited_and_so_are_channels_names() {
    let mut config = GatewayConfig::default();
    config.limits.subscriptions = 2;
    let mut node = Node::new(config, 1);
    let key = node.connect();
    node.say(
        key,
        "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"b\"}}",
    );
    assert_eq!(error(&mut node, key, r#""subscribe":{"channel":"c"}"#), 106);
    assert_eq!(error(&mut node, key, r#""subscribe":{"channel":"nobody:c"}"#), 102);
    assert_eq!(error(&mut node, key, r#""subscribe":{"channel":""}"#), 107);
    let long = "c".repeat(256);
    assert_eq!(error(&mut node, key, &format!(r#""subscribe":{{"channel":"{long}"}}"#)), 107);
}

#[test]
fn the_backplanes_errors_are_the_protocols() {
    for (failure, code, temporary) in [
        (BackplaneError::Busy, 111, true),
        (BackplaneError::Unavailable, 100, true),
        (BackplaneError::Unanswered, 100, true),
        (BackplaneError::UnrecoverablePosition, 112, false),
    ] {
        let mut node = node();
        let key = node.subscribe("a");
        node.ops();
        node.say(key, r#"{"id":3,"history":{"channel":"a","limit":-1}}"#);
        complete(&mut node, Err(failure));
        let answer = &node.lines(key)[0];
        assert_eq!(answer["error"]["code"], code);
        assert_eq!(answer["error"]["temporary"] == true, temporary);
    }
}

#[test]
fn a_failed_subscription_leaves_nothing_behind() {
    let mut node = node();
    let key = node.connect();
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    complete(&mut node, Err(BackplaneError::Unanswered));
    assert_eq!(node.lines(key)[0]["error"]["code"], 100);
    assert_eq!(
        node.ops(),
        vec![Op::Bus(BusOp::Release { channel: Arc::from("a") })],
        "it may have been carried out"
    );
    assert_eq!(node.shard.channels(), 0);
    node.say(key, r#"{"id":3,"subscribe":{"channel":"a"}}"#);
    assert_eq!(node.ops().len(), 1);
}

#[test]
fn unsubscribing_says_goodbye_and_releases_the_channel() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    node.say(key, r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    assert_eq!(node.lines(key), vec![json!({"id": 3, "unsubscribe": {}})]);
    let ops = node.ops();
    assert!(
        matches!(
            &ops[..],
            [
                Op::Presence(PresenceOp::Leave { grace: Duration::ZERO, announce: true, .. }),
                Op::Bus(BusOp::Release { .. })
            ]
        ),
        "{ops:?}"
    );
    node.inbound(delivered("a", Message::Publication(publication(1, "1"))));
    assert_eq!(node.frames(key), vec![]);
}

#[test]
fn who_leaves_again_and_again_is_gone_only_after_the_grace_in_which_it_may_come_back() {
    let mut node = node();
    let key = node.connect();
    let leaves = |node: &mut Node, count: usize| {
        let mut graces = vec![];
        for _ in 0..count {
            node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
            node.confirm_subscriptions();
            node.say(key, r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
            graces.extend(node.ops().iter().filter_map(|op| match op {
                Op::Presence(PresenceOp::Leave { grace, .. }) => Some(grace.as_secs()),
                _ => None,
            }));
        }
        graces
    };
    assert_eq!(leaves(&mut node, 18), [[0; 16].as_slice(), &[10; 2]].concat());
    node.pass(Duration::from_secs(3));
    assert_eq!(leaves(&mut node, 5), [0, 0, 0, 10, 10]);
}

#[test]
fn many_who_leave_a_channel_by_turns_are_gone_only_after_the_grace_likewise() {
    let mut node = node();
    node.subscribe("a");
    let clients: Vec<_> = (0..100).map(|_| node.subscribe("a")).collect();
    node.ops();
    let mut graces = vec![];
    let mut leave = |node: &mut Node, key, by_closing: bool| {
        if by_closing {
            node.receive(key, masked(CLOSE, &1000_u16.to_be_bytes()));
        } else {
            node.say(key, r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        }
        graces.extend(node.ops().iter().filter_map(|op| match op {
            Op::Presence(PresenceOp::Leave { grace, .. }) => Some(grace.as_secs()),
            _ => None,
        }));
    };
    for (nth, key) in clients.iter().take(80).enumerate() {
        leave(&mut node, *key, nth % 2 == 0);
    }
    node.pass(Duration::from_secs(1));
    for key in &clients[80..] {
        leave(&mut node, *key, true);
    }
    assert_eq!(graces, [[0; 64].as_slice(), &[10; 16], &[0; 16], &[10; 4]].concat());
}

#[test]
fn unsubscribing_while_the_subscription_is_under_way_answers_both() {
    let mut node = node();
    let key = node.connect();
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    let (waiter, _) = node.sink.submitted.pop_back().expect("a subscribe");
    node.say(key, r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    let answers = node.lines(key);
    assert_eq!((&answers[0]["id"], &answers[0]["error"]["temporary"]), (&json!(2), &json!(true)));
    assert_eq!(answers[1], json!({"id": 3, "unsubscribe": {}}));
    assert_eq!(node.ops(), vec![Op::Bus(BusOp::Release { channel: Arc::from("a") })]);
    node.complete(waiter, Ok(Outcome::Done));
    assert_eq!((node.frames(key), node.ops()), (vec![], vec![]), "its completion comes too late");
}

#[test]
fn a_channel_is_released_with_its_last_subscriber() {
    let mut node = node();
    let (first, second) = (node.subscribe("a"), node.subscribe("a"));
    node.ops();
    node.hang_up(first);
    let ops = node.ops();
    assert!(
        matches!(&ops[..], [Op::Presence(PresenceOp::Leave { grace, .. })] if *grace == Duration::from_secs(10)),
        "{ops:?}"
    );
    node.hang_up(second);
    assert_eq!(node.ops().last(), Some(&Op::Bus(BusOp::Release { channel: Arc::from("a") })));
}

#[test]
fn who_may_publish_is_the_channels_option() {
    for (publish, subscribed, allowed) in [
        (Audience::Server, true, false),
        (Audience::Subscribers, true, true),
        (Audience::Subscribers, false, false),
        (Audience::Clients, false, true),
    ] {
        let mut config = GatewayConfig::default();
        config.channels.default.publish = publish;
        let mut node = Node::new(config, 1);
        let key = if subscribed { node.subscribe("a") } else { node.connect() };
        node.ops();
        node.say(key, r#"{"id":3,"publish":{"channel":"a","data":{"x": 1}}}"#);
        if allowed {
            let op = complete(&mut node, Ok(Outcome::Done));
            let Op::Log(LogOp::Append { publish: Publish { payload, info, .. }, .. }) = op else {
                panic!("{op:?}")
            };
            assert_eq!(payload, Payload::Json(r#"{"x": 1}"#.as_bytes().into()));
            assert!(info.is_some_and(|info| info.user.is_empty()));
            assert_eq!(node.lines(key), vec![json!({"id": 3, "publish": {}})]);
        } else {
            assert_eq!(node.lines(key)[0]["error"]["code"], 103);
        }
    }
}

#[test]
fn a_publication_is_pushed_to_every_subscriber_as_the_same_bytes() {
    let mut node = node();
    let keys = [node.subscribe("a"), node.subscribe("a"), node.subscribe("b")];
    node.inbound(delivered("a", Message::Publication(publication(1, "{}"))));
    let push = json!({"push": {"channel": "a", "pub": {"data": {}, "offset": 1}}});
    assert_eq!(node.lines(keys[0]), vec![push.clone()]);
    assert_eq!(node.lines(keys[1]), vec![push]);
    assert_eq!(node.frames(keys[2]), vec![]);
}

#[test]
fn subscribers_are_told_who_comes_and_goes() {
    let mut node = node();
    let key = node.subscribe("a");
    let info = Arc::new(ClientInfo {
        client: Arc::from("c"),
        user: Arc::from("u"),
        conn_info: None,
        chan_info: None,
    });
    node.inbound(delivered("a", Message::Join(info.clone())));
    node.inbound(delivered("a", Message::Leave(info)));
    let info = json!({"info": {"user": "u", "client": "c"}});
    let expected = ["join", "leave"].map(|kind| json!({"push": {"channel": "a", kind: info}}));
    assert_eq!(node.lines(key), expected);
}

#[test]
fn presence_is_for_subscribers() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    let client = |client: &str, user: &str| ClientInfo {
        client: Arc::from(client),
        user: Arc::from(user),
        conn_info: None,
        chan_info: None,
    };
    node.say(key, r#"{"id":3,"presence_stats":{"channel":"a"}}"#);
    complete(&mut node, Ok(Outcome::Counted { clients: 3, users: 2 }));
    assert_eq!(node.lines(key)[0]["presence_stats"], json!({"num_clients": 3, "num_users": 2}));
    node.say(key, r#"{"id":4,"presence":{"channel":"a"}}"#);
    complete(&mut node, Ok(Outcome::Listed { clients: vec![client("3", "v")] }));
    assert_eq!(node.lines(key)[0]["presence"]["presence"]["3"], json!({"client": "3", "user": "v"}));
    assert_eq!(error(&mut node, key, r#""presence":{"channel":"b"}"#), 103);
}

#[test]
fn history_is_read_in_pages_of_bounded_size() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    node.say(
        key,
        r#"{"id":3,"history":{"channel":"a","limit":-1,"since":{"epoch":"e","offset":2},"reverse":true}}"#,
    );
    let op = complete(
        &mut node,
        Ok(Outcome::Read { position: position(3), publications: vec![publication(3, "0")] }),
    );
    let retention = Retention { size: 300, ttl: Duration::from_secs(300) };
    let expected = Op::Log(LogOp::Read {
        channel: Arc::from("a"),
        retention,
        since: Some(position(2)),
        limit: 300,
        bytes: 512 * 1024,
        reverse: true,
    });
    assert_eq!(op, expected);
    let result = json!({"publications": [{"data": 0, "offset": 3}], "epoch": "e", "offset": 3});
    assert_eq!(node.lines(key)[0]["history"], result);
}

#[test]
fn a_channel_without_an_option_does_not_have_it() {
    let channels = Channels {
        namespaces: vec![Namespace { name: "bare".to_owned(), options: Default::default() }],
        ..Channels::default()
    };
    let mut node = Node::new(GatewayConfig { channels, ..GatewayConfig::default() }, 1);
    let key = node.subscribe("bare:a");
    assert_eq!(node.ops(), vec![], "no presence to enter");
    assert_eq!(error(&mut node, key, r#""presence":{"channel":"bare:a"}"#), 108);
    assert_eq!(error(&mut node, key, r#""history":{"channel":"bare:a"}"#), 108);
    assert_eq!(error(&mut node, key, r#""rpc":{"method":"m"}"#), 108);
    assert_eq!(error(&mut node, key, r#""unheard":{}"#), 104);
}

#[test]
fn lost_deliveries_send_every_subscriber_back_to_where_it_is() {
    let mut node = node();
    let keys = [node.subscribe("a"), node.subscribe("a")];
    node.ops();
    node.inbound(delivered("a", Message::Discontinued));
    let push = json!({"code": 2500, "reason": "insufficient state"});
    for key in keys {
        assert_eq!(node.lines(key)[0]["push"]["unsubscribe"], push);
    }
    assert_eq!(node.ops().last(), Some(&Op::Bus(BusOp::Release { channel: Arc::from("a") })));
    node.inbound(delivered("a", Message::Publication(publication(9, "1"))));
    assert_eq!(node.frames(keys[0]), vec![]);
}

#[test]
fn a_client_may_ask_for_all_of_its_subscriptions_in_one_message() {
    let mut config = GatewayConfig::default();
    config.limits.subscriptions = 300;
    let mut node = Node::new(config, 1);
    let key = node.connect();
    let ask = |n: u32| format!(r#"{{"id":{},"subscribe":{{"channel":"c{n}"}}}}"#, n + 2);
    node.say(key, &(0..300).map(ask).collect::<Vec<_>>().join("\n"));
    node.confirm_subscriptions();
    let answers: Vec<Value> = node.lines(key);
    assert_eq!(answers.len(), 300);
    assert!(answers.iter().all(|answer| answer["error"].is_null()), "{answers:?}");
}
