//! Clients that send more than they may: they are read no further for a while, and lose nothing.

use std::time::Duration;

use gateway_core::{
    backplane::Outcome,
    config::{GatewayConfig, Limits},
    key::ConnectionKey,
    shard::Opening,
    transport::Transport,
};

use crate::node::{COMPRESSED, Frame, Node, TEXT, compressed, masked};

/// Messages per second, and at once.
const PACE: usize = 100;

fn node() -> Node {
    node_of(PACE)
}

fn node_of(pace: usize) -> Node {
    let limits = Limits { messages_per_second: pace as u32, subscriptions: 10, ..Limits::default() };
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
    let mut node = node_of(200);
    let key = raw(&mut node);
    node.receive(key, messages(600));
    assert_eq!(node.sink.submitted.len(), 256);
    node.pass(Duration::from_secs(60));
    assert_eq!((node.sink.submitted.len(), &node.sink.paused[..]), (256, &[key][..]));
    assert_eq!(
        (answer_all(&mut node), &node.sink.paused[..]),
        (512, &[key][..]),
        "the rest is above the pace"
    );
    node.pass(Duration::from_secs(2));
    assert_eq!((answer_all(&mut node), &node.sink.paused[..]), (88, &[][..]));
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
fn frames_that_no_protocol_sees_count_like_messages() {
    let (fragment, last) = (masked(0x00, b""), masked(0x80, b"."));
    for (kind, start, frame) in
        [("fragments", masked(0x01, b"m"), fragment), ("pongs", vec![], masked(0x8a, b""))]
    {
        let mut node = node();
        let key = raw(&mut node);
        node.receive(key, [start.clone(), frame.repeat(PACE - 1)].concat());
        assert_eq!(node.sink.paused, [], "{kind}");
        node.receive(
            key,
            [frame.repeat(50 * PACE), if start.is_empty() { messages(1) } else { last.clone() }].concat(),
        );
        assert_eq!((answer_all(&mut node), &node.sink.paused[..]), (0, &[key][..]), "{kind}");
        assert!(node.shard.held() > 49 * PACE * frame.len(), "{kind}: the rest is kept");
        for _ in 0..60 {
            node.pass(Duration::from_secs(1));
        }
        assert_eq!(
            (answer_all(&mut node), &node.sink.paused[..]),
            (1, &[][..]),
            "{kind}: the message gets through"
        );
    }
}

#[test]
fn a_flood_in_few_bytes_is_held_back_after_a_second_s_worth_of_it_and_all_of_it_is_answered_in_the_end() {
    let mut node = node();
    let key = node.open_over(Transport::CompressedWebSocket, Opening::Centrifuge);
    node.say(key, r#"{"id":1,"connect":{}}"#);
    node.frames(key);
    let pings = |first: usize| (first..first + PACE).map(|id| format!(r#"{{"id":{id},"ping":{{}}}}"#));
    let message = |first| {
        masked(TEXT | COMPRESSED, &compressed(pings(first).collect::<Vec<_>>().join("\n").as_bytes()))
    };
    let flood: Vec<u8> = (0..50).flat_map(|number| message(2 + number * PACE)).collect();
    node.receive(key, flood);
    let received = node.shard.tally().received;
    assert_eq!((received, &node.sink.paused[..]), (1 + PACE as u64, &[key][..]));
    assert!(node.shard.held() > 0, "the rest is kept");
    let mut most = 0;
    for _ in 0..60 {
        let before = node.shard.tally().received;
        node.pass(Duration::from_secs(1));
        most = most.max(node.shard.tally().received - before);
    }
    assert_eq!((node.shard.tally().received, most), (1 + 50 * PACE as u64, PACE as u64));
    let replies = node.lines(key).into_iter().filter(|line| line["id"].is_u64()).count();
    assert_eq!((replies, node.shard.held(), &node.sink.paused[..]), (50 * PACE, 0, &[][..]));
}

#[test]
fn what_few_bytes_inflate_to_is_handled_by_turns_that_leave_others_theirs() {
    let blanks = |_| masked(TEXT | COMPRESSED, &compressed(&[b'\n'; 65_000]));
    let mut node = node();
    let key = node.open_over(Transport::CompressedWebSocket, Opening::Centrifuge);
    node.say(key, r#"{"id":1,"connect":{}}"#);
    let last = masked(TEXT | COMPRESSED, &compressed(br#"{"id":2,"presence_stats":{"channel":"a"}}"#));
    node.receive(key, (0..90).flat_map(blanks).chain(last).collect::<Vec<_>>());
    let mut turns = 0;
    while node.shard.held() > 0 {
        assert_eq!(node.sink.paused, [key]);
        node.pass(Duration::from_millis(1));
        turns += 1;
    }
    assert_eq!((turns, &node.sink.paused[..]), (30, &[][..]), "three messages each");
    assert_eq!(node.lines(key).last().unwrap()["id"], 2, "and nothing is left out");
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
