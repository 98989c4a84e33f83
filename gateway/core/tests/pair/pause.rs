//! Connections that ask for more than the backplane answers: they are read no further until it does.

use std::time::Duration;

use gateway_core::{
    backplane::{BackplaneError, Outcome, Payload},
    config::GatewayConfig,
    key::ConnectionKey,
    shard::Opening,
};
use proptest::prelude::*;

use crate::node::{CLOSE, Frame, Node, PONG, TEXT, masked};

/// What the protocol page promises.
const BOUND: usize = 256;

/// A connection subscribed to "a", and its node.
fn subscriber() -> (Node, ConnectionKey) {
    let mut node = Node::new(GatewayConfig::default(), 1);
    let key = node.subscribe("a");
    node.ops();
    (node, key)
}

fn command(id: usize) -> String {
    format!(r#"{{"id":{id},"publish":{{"channel":"a","data":{id}}}}}"#)
}

/// One message for each publish command.
fn messages(ids: impl Iterator<Item = usize>) -> Vec<u8> {
    ids.flat_map(|id| masked(TEXT, command(id).as_bytes())).collect()
}

/// One message for all of them.
fn batch(ids: impl Iterator<Item = usize>) -> Vec<u8> {
    masked(TEXT, ids.map(command).collect::<Vec<_>>().join("\n").as_bytes())
}

/// The backplane carries out the oldest operation; returns what it publishes.
fn answer(node: &mut Node) -> String {
    let (waiter, op) = node.sink.submitted.pop_front().expect("an operation");
    let payload = op.as_publish().map(|publish| &publish.payload);
    let Some(Payload::Json(body) | Payload::Text(body)) = payload else { panic!("{op:?}") };
    node.complete(waiter, Ok(Outcome::Done));
    String::from_utf8(body.to_vec()).expect("text")
}

fn answer_all(node: &mut Node) -> Vec<String> {
    let mut published = Vec::new();
    while !node.sink.submitted.is_empty() {
        assert!(node.sink.submitted.len() <= BOUND, "{} operations wait", node.sink.submitted.len());
        published.push(answer(node));
    }
    published
}

fn numbers(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// The ids of the replies to publishes so far, in order; there must be nothing else.
fn replies(node: &mut Node, key: ConnectionKey) -> Vec<String> {
    let reply = |line: serde_json::Value| {
        assert!(line["publish"].is_object(), "{line}");
        line["id"].to_string()
    };
    node.lines(key).into_iter().map(reply).collect()
}

#[test]
fn a_client_that_asks_for_more_than_may_wait_is_read_no_further_until_half_of_it_is_answered() {
    for write in [messages(3..603), batch(3..603)] {
        let (mut node, key) = subscriber();
        node.receive(key, write);
        assert_eq!((node.sink.submitted.len(), &node.sink.paused[..]), (BOUND, &[key][..]));
        for left in (BOUND / 2..BOUND).rev() {
            assert_eq!(node.sink.submitted.len(), left + 1);
            answer(&mut node);
        }
        assert_eq!(node.sink.submitted.len(), BOUND, "what was read already goes first");
        assert_eq!(node.sink.paused, [key]);
        assert_eq!(answer_all(&mut node), numbers(3 + BOUND / 2..603));
        assert_eq!((replies(&mut node, key), &node.sink.paused[..]), (numbers(3..603), &[][..]));
        assert_eq!(node.frames(key), vec![]);
    }
}

#[test]
fn a_raw_client_is_held_back_likewise_and_loses_nothing() {
    let mut node = Node::new(GatewayConfig::default(), 1);
    let key = node.open(Opening::raw("a"));
    node.confirm_subscriptions();
    node.receive(key, (0..600).flat_map(|n| masked(TEXT, n.to_string().as_bytes())).collect());
    assert_eq!((node.sink.submitted.len(), &node.sink.paused[..]), (BOUND, &[key][..]));
    assert_eq!(answer_all(&mut node), numbers(0..600));
    assert_eq!((node.frames(key), &node.sink.paused[..]), (vec![], &[][..]));
}

#[test]
fn of_large_messages_fewer_wait_so_that_they_are_a_mebibyte_together() {
    let text = "x".repeat(60_000);
    let publish = format!(r#"{{"id":3,"publish":{{"channel":"a","data":"{text}"}}}}"#);
    let (mut node, subscriber) = subscriber();
    let raw = node.open(Opening::raw("b"));
    node.confirm_subscriptions();
    node.ops();
    for (key, message) in [(subscriber, &publish), (raw, &text)] {
        node.receive(key, masked(TEXT, message.as_bytes()).repeat(40));
        let bytes: usize = node.sink.submitted.iter().map(|(_, op)| op.bytes()).sum();
        assert_eq!(node.sink.paused, [key]);
        assert!((1_000_000..1_200_000).contains(&bytes), "{bytes}");
        assert_eq!(answer_all(&mut node).len(), 40);
        assert_eq!(node.sink.paused, []);
    }
}

#[test]
fn commands_that_fail_make_room_like_those_that_succeed() {
    let (mut node, key) = subscriber();
    node.receive(key, messages(3..503));
    while let Some((waiter, _)) = node.sink.submitted.pop_front() {
        node.complete(waiter, Err(BackplaneError::Unanswered));
    }
    let codes: Vec<_> = node.lines(key).iter().map(|line| line["error"]["code"].as_u64()).collect();
    assert_eq!((codes, &node.sink.paused[..]), (vec![Some(100); 500], &[][..]));
}

#[test]
fn a_client_that_is_not_read_is_not_missed_although_its_pongs_are_unread() {
    let (mut node, key) = subscriber();
    node.receive(key, messages(3..303));
    node.pass(Duration::from_secs(120));
    let pings = node.frames(key);
    assert!((4..=5).contains(&pings.len()), "{pings:?}");
    assert!(pings.iter().all(|frame| *frame == Frame::Text("{}".to_owned())), "{pings:?}");
    // A ping is under way, and the client has as long for its answer as if it came from here.
    while node.frames(key).is_empty() {
        node.pass(Duration::from_secs(1));
    }
    node.pass(Duration::from_secs(7));
    answer_all(&mut node);
    assert_eq!((replies(&mut node, key).len(), &node.sink.paused[..]), (300, &[][..]));
    node.pass(Duration::from_secs(2));
    assert_eq!(node.frames(key), vec![]);
    node.pass(Duration::from_secs(40));
    let end = [Frame::Text("{}".to_owned()), Frame::Close(3012, "no pong".to_owned())];
    assert_eq!(node.frames(key), end, "once it is read again, its silence counts");
}

#[test]
fn a_raw_client_that_is_not_read_is_not_missed_either() {
    let mut node = Node::new(GatewayConfig::default(), 1);
    let key = node.open(Opening::raw("a"));
    node.confirm_subscriptions();
    node.receive(key, (0..256).flat_map(|_| masked(TEXT, b"m")).collect());
    node.pass(Duration::from_secs(120));
    assert_eq!(node.frames(key), vec![]);
    answer_all(&mut node);
    node.receive(key, masked(PONG, b""));
    assert_eq!(node.frames(key), vec![]);
}

#[test]
fn a_client_that_is_not_read_is_moved_when_it_has_its_answers() {
    let (mut node, key) = subscriber();
    node.receive(key, messages(3..303));
    assert_eq!(node.evict(1), 1);
    (0..BOUND).for_each(|_| _ = answer(&mut node));
    let publishes = node.ops().iter().any(|op| op.as_publish().is_some());
    assert!(!publishes, "what was not carried out yet is not any more");
    let mut frames = node.frames(key);
    assert_eq!(frames.pop(), Some(Frame::Close(3001, "shutdown".to_owned())));
    assert_eq!((frames.len(), &node.sink.paused[..]), (BOUND, &[][..]), "its close frame has to be read");
    node.receive(key, masked(CLOSE, &3001_u16.to_be_bytes()));
    assert_eq!(node.sink.closed, [key]);
}

#[test]
fn a_close_frame_behind_too_many_commands_comes_after_them() {
    let (mut node, key) = subscriber();
    node.receive(key, [messages(3..303), masked(CLOSE, &1001_u16.to_be_bytes())].concat());
    let mut published = 0;
    while node.sink.closed.is_empty() {
        answer(&mut node);
        published += 1;
    }
    assert_eq!((published, node.frames(key).pop()), (128, Some(Frame::Close(1001, String::new()))));
    let publishes = node.ops().into_iter().filter(|op| op.as_publish().is_some()).count();
    assert_eq!((published + publishes, node.sink.paused.len()), (300, 0), "all were carried out before it");
}

#[test]
fn a_malformed_command_behind_too_many_others_ends_the_connection_in_its_turn() {
    let lines: Vec<_> = (3..283).map(command).chain(["no command".to_owned()]).collect();
    let (mut node, key) = subscriber();
    node.say(key, &lines.join("\n"));
    assert_eq!(node.sink.paused, [key]);
    for _ in 0..BOUND / 2 {
        answer(&mut node);
    }
    let mut frames = node.frames(key);
    assert_eq!(frames.pop(), Some(Frame::Close(3501, "bad request".to_owned())));
    assert_eq!((frames.len(), &node.sink.paused[..]), (BOUND / 2, &[][..]));
}

#[test]
fn what_was_kept_of_a_connection_goes_with_it() {
    let (mut node, key) = subscriber();
    node.receive(key, messages(3..303));
    node.hang_up(key);
    let next = node.connect();
    assert_eq!(next.slot, key.slot);
    node.ops();
    node.say(next, r#"{"id":2,"ping":{}}"#);
    assert_eq!(node.lines(next), [serde_json::json!({"id": 2, "ping": {}})]);
    assert_eq!((node.ops(), &node.sink.paused[..]), (vec![], &[][..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn however_it_comes_everything_is_carried_out_once_in_order_and_never_more_than_256_wait(
        sizes in prop::collection::vec(1..400_usize, 1..8),
        read in 1..65_536_usize,
        turns in prop::collection::vec(0..300_usize, 1..10),
    ) {
        let (mut node, key) = subscriber();
        let mut socket = Vec::new();
        let mut next = 3;
        for size in sizes {
            socket.extend(batch(next..next + size));
            next += size;
        }
        let mut published = Vec::new();
        for turn in turns.into_iter().cycle() {
            while !socket.is_empty() && node.sink.paused.is_empty() {
                let rest = socket.split_off(read.min(socket.len()));
                node.receive(key, std::mem::replace(&mut socket, rest));
                prop_assert!(node.sink.submitted.len() <= BOUND);
            }
            for _ in 0..turn.max(1).min(node.sink.submitted.len()) {
                published.push(answer(&mut node));
            }
            if socket.is_empty() && node.sink.submitted.is_empty() {
                break;
            }
        }
        prop_assert_eq!(published, numbers(3..next));
        prop_assert_eq!(replies(&mut node, key), numbers(3..next));
        prop_assert!(node.sink.paused.is_empty());
    }
}
