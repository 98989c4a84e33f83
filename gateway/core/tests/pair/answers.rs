//! Answers that may be larger than what may wait for a client.

use std::sync::Arc;

use gateway_core::{
    backplane::{
        BackplaneError, BusOp, ClientInfo, Followed, LogOp, Op, Outcome, Payload, PresenceOp, Publication,
        StreamPosition,
    },
    config::GatewayConfig,
    key::ConnectionKey,
};
use serde_json::{Value, json};

use crate::node::{Frame, Node};

fn node() -> Node {
    Node::new(GatewayConfig::default(), 1)
}

fn position(offset: u64) -> StreamPosition {
    StreamPosition { epoch: Arc::from("e"), offset }
}

/// Completes the last operation submitted.
fn complete(node: &mut Node, result: Result<Outcome, BackplaneError>) {
    let (waiter, _) = node.sink.submitted.pop_back().expect("an operation");
    node.complete(waiter, result);
}

/// So many publications of 20,000 bytes, after `offset`.
fn large(offset: u64, count: u64) -> Vec<Arc<Publication>> {
    let body = Payload::Json(format!("\"{}\"", "x".repeat(20_000)).into());
    let publication = |offset| Publication { offset, payload: body.clone(), info: None, sender: None };
    (offset + 1..=offset + count).map(|offset| Arc::new(publication(offset))).collect()
}

/// Subscribes to `a` after `offset`, with 300 large publications in its stream; what the client gets.
fn recover(node: &mut Node, key: ConnectionKey, offset: u64) -> Vec<Frame> {
    let subscribe = format!(r#""subscribe":{{"channel":"a","recover":true,"epoch":"e","offset":{offset}}}"#);
    node.say(key, &format!(r#"{{"id":2,{subscribe}}}"#));
    let publications = large(offset, 300 - offset);
    complete(
        node,
        Ok(Outcome::Followed(Followed { position: position(300), publications, recovered: true })),
    );
    node.frames(key)
}

#[test]
fn a_recovery_that_is_larger_than_the_queue_comes_in_parts_that_fit() {
    let mut node = node();
    let key = node.connect();
    let (mut reached, mut parts) = (0, 0);
    loop {
        let frames = recover(&mut node, key, reached);
        parts += 1;
        assert!(frames.iter().map(|frame| frame.text().len()).sum::<usize>() <= 1_048_576 / 2);
        let reply = &frames[0].lines()[0]["subscribe"];
        let publications = reply["publications"].as_array().expect("some");
        assert_eq!((&reply["recovered"], &publications[0]["offset"]), (&json!(true), &json!(reached + 1)));
        reached += publications.len() as u64;
        assert_eq!(reply["offset"], reached, "the client is where its publications end");
        let [more] = &frames[1..] else { break };
        assert_eq!(more.lines()[0]["push"]["unsubscribe"]["code"], 2500, "it comes again for the rest");
        assert_eq!(
            node.ops(),
            vec![Op::Bus(BusOp::Release { channel: Arc::from("a") })],
            "it was never there"
        );
    }
    assert_eq!((reached, parts, node.shard.channels()), (300, 12, 1));
}

#[test]
fn a_recovery_for_which_there_is_no_room_yet_is_tried_again_later() {
    let mut node = node();
    let key = node.connect();
    node.sink.waiting = 510_000;
    let frames = recover(&mut node, key, 0);
    let error = &frames[0].lines()[0]["error"];
    assert_eq!((frames.len(), &error["code"], &error["temporary"]), (1, &json!(111), &json!(true)));
    assert_eq!(node.shard.channels(), 0);
    node.sink.waiting = 0;
    assert_eq!(recover(&mut node, key, 0).len(), 2);
}

#[test]
fn a_recovery_that_can_never_fit_is_none_and_the_client_goes_on_from_the_end() {
    let mut config = GatewayConfig::default();
    (config.limits.max_message_bytes, config.limits.outbound_queue_bytes) = (4_096, 30_000);
    let mut node = Node::new(config, 1);
    let key = node.connect();
    let frames = recover(&mut node, key, 0);
    let reply = &frames[0].lines()[0]["subscribe"];
    assert_eq!((frames.len(), &reply["offset"], &reply["recovered"]), (1, &json!(300), &Value::Null));
    assert_eq!((&reply["publications"], node.shard.channels()), (&Value::Null, 1));
}

#[test]
fn a_recovery_whose_stream_has_less_than_was_missed_is_none_and_the_client_goes_on_from_the_end() {
    let subscribe = r#"{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"e","offset":5}}"#;
    let end = |offset| {
        Outcome::Followed(Followed { position: position(offset), publications: vec![], recovered: false })
    };
    let empty = Outcome::Read { position: position(301), publications: vec![] };
    for history in [Err(BackplaneError::UnrecoverablePosition), Ok(empty)] {
        let mut node = node();
        let key = node.connect();
        node.say(key, subscribe);
        complete(&mut node, Ok(end(300)));
        complete(&mut node, history);
        node.say(key, r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        assert_eq!(node.lines(key)[0]["error"]["code"], 105, "it is on its way already");
        complete(&mut node, Ok(end(302)));
        let reply = &node.lines(key)[0]["subscribe"];
        assert_eq!(
            (&reply["offset"], &reply["was_recovering"], &reply["recovered"]),
            (&json!(302), &json!(true), &Value::Null)
        );
        assert!(matches!(node.ops()[..], [Op::Presence(PresenceOp::Enter { .. })]), "it is there now");
    }
}

#[test]
fn nothing_more_is_read_for_a_client_that_was_told_of_another_stream_or_of_more_than_there_is() {
    for (epoch, offset) in [("other", 5), ("e", 300), ("e", 301)] {
        let mut node = node();
        let key = node.connect();
        let since = format!(r#""recover":true,"epoch":"{epoch}","offset":{offset}"#);
        node.say(key, &format!(r#"{{"id":2,"subscribe":{{"channel":"a",{since}}}}}"#));
        let end =
            Outcome::Followed(Followed { position: position(300), publications: vec![], recovered: false });
        complete(&mut node, Ok(end));
        let reply = &node.lines(key)[0]["subscribe"];
        assert_eq!((&reply["offset"], &reply["recovered"]), (&json!(300), &Value::Null));
        assert!(matches!(node.ops()[..], [Op::Presence(PresenceOp::Enter { .. })]), "it is there now");
    }
}

#[test]
fn a_page_of_history_ends_where_it_no_longer_fits() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    let ask = r#"{"id":3,"history":{"channel":"a","limit":300}}"#;
    let answer = || Ok(Outcome::Read { position: position(300), publications: large(0, 300) });
    node.say(key, ask);
    complete(&mut node, answer());
    let history = &node.lines(key)[0]["history"];
    assert_eq!(
        (history["publications"].as_array().map(Vec::len), &history["offset"]),
        (Some(26), &json!(300))
    );
    // Something else came for the client while Redis was asked.
    node.say(key, ask);
    node.sink.waiting = 510_000;
    complete(&mut node, answer());
    let error = &node.lines(key)[0]["error"];
    assert_eq!(error["code"], 111, "once the client has read what waits for it");
}

#[test]
fn presence_that_does_not_fit_is_refused_and_the_connection_goes_on() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    let client = |number: usize| ClientInfo {
        client: number.to_string().into(),
        user: Arc::default(),
        conn_info: Some(format!("\"{}\"", "x".repeat(1_000)).into()),
        chan_info: None,
    };
    for (members, waiting, code) in [(500, 0, None), (500, 900_000, Some(111)), (2_000, 0, Some(106))] {
        node.sink.waiting = waiting;
        node.say(key, r#"{"id":3,"presence":{"channel":"a"}}"#);
        complete(&mut node, Ok(Outcome::Listed { clients: (0..members).map(client).collect() }));
        assert_eq!(node.lines(key)[0]["error"]["code"].as_u64(), code);
    }
}

#[test]
fn of_reads_as_many_are_under_way_as_there_is_room_for_their_answers_and_all_are_answered() {
    for (command, most) in [("history", 2), ("presence", 2), ("presence_stats", 8)] {
        let mut node = node();
        let key = node.subscribe("a");
        node.ops();
        let ask = |id: usize| format!(r#"{{"id":{id},"{command}":{{"channel":"a","limit":300}}}}"#);
        node.say(key, &(3..43).map(ask).collect::<Vec<_>>().join("\n"));
        let (mut answered, mut under_way) = (0, 0);
        while let Some((waiter, op)) = node.sink.submitted.pop_back() {
            under_way = under_way.max(node.sink.submitted.len() + 1);
            let outcome = match op {
                Op::Log(LogOp::Read { bytes, .. }) => {
                    assert_eq!(bytes as usize * most, 1_048_576, "together what may wait for the client");
                    Outcome::Read { position: position(0), publications: vec![] }
                }
                Op::Presence(PresenceOp::List { limit, .. }) => {
                    assert_eq!(limit as usize * most, 1_048_576, "likewise");
                    Outcome::Listed { clients: vec![] }
                }
                _ => Outcome::Counted { clients: 0, users: 0 },
            };
            node.complete(waiter, Ok(outcome));
            answered += 1;
        }
        assert_eq!((under_way, answered, node.lines(key).len()), (most, 40, 40), "{command}");
        assert_eq!(node.sink.paused, vec![]);
    }
}

#[test]
fn what_a_client_has_not_read_is_taken_off_what_is_asked_for_it_and_without_room_nothing_is() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    let half = 1_048_576 / 2;
    let text = 6 * 65_536;
    // What waits, and what is asked for history and presence; nothing is an error.
    for (waiting, history, presence) in [
        (0, Some(half), Some(half)),
        (half - text, Some(text), Some(half)),
        (half - text + 1, None, Some(half)),
        (half, None, Some(half)),
        (half + 1_000, None, Some(half - 1_000)),
        (2 * half - 65_535, None, None),
    ] {
        node.sink.waiting = waiting;
        for (command, expected) in [("history", history), ("presence", presence)] {
            node.say(key, &format!(r#"{{"id":3,"{command}":{{"channel":"a","limit":300}}}}"#));
            let asked = node.sink.submitted.pop_back();
            let Some((waiter, op)) = asked else {
                let error = &node.lines(key)[0]["error"];
                assert_eq!((&error["code"], &error["temporary"]), (&json!(111), &json!(true)), "{command}");
                assert_eq!(expected, None, "{waiting}: {command}");
                continue;
            };
            let (Op::Log(LogOp::Read { bytes, .. }) | Op::Presence(PresenceOp::List { limit: bytes, .. })) =
                op
            else {
                panic!("{op:?}")
            };
            assert_eq!(expected, Some(bytes as usize), "{waiting}: {command}");
            node.complete(waiter, Err(BackplaneError::TooLarge));
            let code = if command == "presence" && bytes as usize == half - 1_000 { 111 } else { 106 };
            assert_eq!(node.lines(key)[0]["error"]["code"], code, "{waiting}: {command}");
        }
    }
}

#[test]
fn history_is_read_beside_what_waits_however_large_messages_may_be() {
    for (max_message_bytes, waiting, expected) in
        [(1_024, 518_144, Some(6_144)), (131_072, 1, Some(524_287)), (131_072, 131_073, None)]
    {
        let mut config = GatewayConfig::default();
        config.limits.max_message_bytes = max_message_bytes;
        let mut node = Node::new(config, 1);
        let key = node.subscribe("a");
        node.ops();
        node.sink.waiting = waiting;
        node.say(key, r#"{"id":3,"history":{"channel":"a","limit":300}}"#);
        let asked =
            node.ops().pop().map(|op| if let Op::Log(LogOp::Read { bytes, .. }) = op { bytes } else { 0 });
        assert_eq!(asked, expected, "{max_message_bytes}");
    }
}

#[test]
fn nothing_is_read_of_what_a_client_missed_that_has_no_room_for_it() {
    let mut node = node();
    let key = node.connect();
    let recover = r#"{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"e","offset":5}}"#;
    let busy = |node: &mut Node| {
        let error = &node.lines(key)[0]["error"];
        assert_eq!((&error["code"], &error["temporary"]), (&json!(111), &json!(true)));
        assert_eq!(node.shard.channels(), 0);
    };
    node.sink.waiting = 600_000;
    node.say(key, recover);
    assert_eq!(node.ops(), vec![]);
    busy(&mut node);
    // There was room when it asked, and then it missed more than that brought.
    node.sink.waiting = 0;
    node.say(key, recover);
    node.sink.waiting = 600_000;
    let end = Outcome::Followed(Followed { position: position(900), publications: vec![], recovered: false });
    complete(&mut node, Ok(end));
    assert_eq!(node.ops(), vec![Op::Bus(BusOp::Release { channel: Arc::from("a") })]);
    busy(&mut node);
    // From where it is it needs nothing but the channel.
    node.say(key, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert!(matches!(node.ops()[..], [Op::Log(LogOp::Follow { since: None, .. })]));
}

#[test]
fn who_missed_the_same_asks_alike_whatever_else_waits() {
    let mut node = node();
    let mut read = |waiting| {
        let key = node.connect();
        node.say(key, r#"{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"e","offset":5}}"#);
        node.sink.waiting = waiting;
        let end =
            Outcome::Followed(Followed { position: position(900), publications: vec![], recovered: false });
        complete(&mut node, Ok(end));
        node.sink.waiting = 0;
        let (waiter, op) = node.sink.submitted.pop_back().expect("a read");
        node.complete(waiter, Ok(Outcome::Read { position: position(900), publications: large(5, 1) }));
        node.ops();
        op
    };
    let op = read(1_000);
    let Op::Log(LogOp::Read { bytes, .. }) = op else { panic!("{op:?}") };
    assert_eq!(bytes, 262_144, "within the room");
    assert_eq!([2_000, 200_000].map(&mut read), [op.clone(), op]);
}
