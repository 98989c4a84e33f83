//! Clients that send more than they may: they are read no further for a while, and lose nothing.

use std::time::Duration;

use gateway_core::{
    backplane::Outcome,
    config::{GatewayConfig, Limits},
    key::ConnectionKey,
    shard::Opening,
};

use crate::node::{Frame, Node, TEXT, masked};

/// Messages per second, and at once.
const PACE: usize = 100;

fn node() -> Node {
    let limits = Limits { messages_per_second: PACE as u32, subscriptions: 10, ..Limits::default() };
    Node::new(GatewayConfig { limits, ..GatewayConfig::default() }, 1)
}

fn raw(node: &mut Node) -> ConnectionKey {
    let key = node.open(Opening::raw("a"));
    node.confirm_subscriptions();
    key
}

fn messages(count: usize) -> Vec<u8> {
    masked(TEXT, b"m").repeat(count)
}

/// The backplane carries out everything that was submitted; how many publishes that were.
fn answer_all(node: &mut Node) -> usize {
    let mut published = 0;
    while let Some((waiter, op)) = node.sink.submitted.pop_front() {
        if op.as_publish().is_some() {
            published += 1;
            node.complete(waiter, Ok(Outcome::Done));
        }
    }
    published
}

#[test]
fn who_sends_more_than_it_may_is_read_no_further_until_it_may_go_on_and_everything_is_published() {
    let mut node = node();
    let key = raw(&mut node);
    node.receive(key, messages(PACE));
    assert_eq!((answer_all(&mut node), &node.sink.paused[..]), (PACE, &[][..]));
    node.receive(key, messages(50));
    assert_eq!(
        (answer_all(&mut node), &node.sink.paused[..]),
        (50, &[key][..]),
        "and not for want of answers"
    );
    node.pass(Duration::from_millis(999));
    assert_eq!(node.sink.paused, [key]);
    node.pass(Duration::from_millis(2));
    assert_eq!(node.sink.paused, []);
    node.receive(key, messages(PACE / 2));
    assert_eq!((answer_all(&mut node), &node.sink.paused[..]), (PACE / 2, &[][..]));
}

#[test]
fn who_waits_for_answers_as_well_goes_on_once_it_has_both() {
    let mut node = node();
    let key = raw(&mut node);
    node.receive(key, messages(400));
    assert_eq!(node.sink.submitted.len(), 256);
    node.pass(Duration::from_secs(60));
    assert_eq!((node.sink.submitted.len(), &node.sink.paused[..]), (256, &[key][..]));
    assert_eq!(
        (answer_all(&mut node), &node.sink.paused[..]),
        (384, &[key][..]),
        "the rest is above the pace"
    );
    node.pass(Duration::from_secs(2));
    assert_eq!((answer_all(&mut node), &node.sink.paused[..]), (16, &[][..]));
}

#[test]
fn the_commands_of_a_message_count_each_and_so_do_pings() {
    let mut node = node();
    let key = node.connect();
    let commands: Vec<_> = (2..2 + PACE).map(|id| format!(r#"{{"id":{id},"ping":{{}}}}"#)).collect();
    node.say(key, &commands.join("\n"));
    assert_eq!((node.lines(key).len(), &node.sink.paused[..]), (PACE, &[key][..]));
    let other = raw(&mut node);
    node.receive(other, masked(0x89, b"").repeat(PACE + 1));
    assert_eq!((node.frames(other).len(), &node.sink.paused[..]), (PACE + 1, &[key, other][..]));
}

#[test]
fn only_who_goes_on_at_several_times_the_pace_is_told_to_go_by_its_protocol_s_code() {
    for (opening, message, code, reason) in [
        (Opening::raw("a"), "m", 1008, "too many messages"),
        (Opening::Centrifuge, r#"{"id":2,"ping":{}}"#, 3013, "too many requests"),
    ] {
        for (seconds, expected) in [(50, None), (70, Some(Frame::Close(code, reason.to_owned())))] {
            let mut node = node();
            let key = node.open(opening.clone());
            node.say(key, r#"{"id":1,"connect":{}}"#);
            for _ in 0..seconds * 100 {
                if node.sink.paused.is_empty() {
                    node.receive(key, masked(TEXT, message.as_bytes()).repeat(PACE / 4));
                }
                answer_all(&mut node);
                node.pass(Duration::from_millis(10));
            }
            let is_close = |frame: &Frame| matches!(frame, Frame::Close(..));
            assert_eq!(node.frames(key).into_iter().find(is_close), expected, "{code} after {seconds} s");
        }
    }
}

#[test]
fn a_client_that_is_held_back_can_be_moved_and_who_comes_after_it_is_not_held_back() {
    let mut node = node();
    let key = raw(&mut node);
    node.receive(key, messages(2 * PACE));
    answer_all(&mut node);
    assert_eq!((node.evict(1), &node.sink.paused[..]), (1, &[][..]));
    assert_eq!(node.frames(key), [Frame::Close(1012, "service restart".to_owned())]);
    node.hang_up(key);
    let next = raw(&mut node);
    assert_eq!(next.slot, key.slot);
    node.receive(next, messages(PACE));
    assert_eq!((answer_all(&mut node), &node.sink.paused[..]), (PACE, &[][..]));
}
