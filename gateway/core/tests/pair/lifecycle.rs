//! How connections begin and end, whoever ends them.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    backplane::{BusOp, Op, Outcome, PresenceOp},
    config::GatewayConfig,
    control::{Accepted, Connections},
    key::ConnectionKey,
    shard::Opening,
};
use proptest::prelude::*;

use crate::node::{CLOSE, Frame, Node, PONG, TEXT, masked};

fn node() -> Node {
    Node::new(GatewayConfig::default(), 1)
}

/// The code of the close frame that a connection got, and nothing else.
fn closed(node: &mut Node, key: ConnectionKey) -> u16 {
    let frames = node.frames(key);
    let [Frame::Close(code, _)] = frames[..] else { panic!("not one close frame: {frames:?}") };
    code
}

#[test]
fn a_client_that_closes_gets_its_code_back_and_the_connection_ends() {
    for (body, code) in [(&1001_u16.to_be_bytes()[..], 1001), (&[][..], 1000)] {
        let mut node = node();
        let key = node.subscribe("a");
        node.ops();
        node.receive(key, masked(CLOSE, body));
        assert_eq!(closed(&mut node, key), code);
        assert_eq!(node.sink.closed, vec![key]);
        assert_eq!(node.ops().last(), Some(&Op::Bus(BusOp::Release { channel: Arc::from("a") })));
        node.hang_up(key);
        assert_eq!((node.ops(), node.shard.connections().total()), (vec![], 0));
    }
}

#[test]
fn what_clients_have_sent_in_part_is_counted_until_it_is_whole_or_they_are_gone() {
    let mut node = Node::new(GatewayConfig::default(), 1);
    let keys = [node.open(Opening::raw("a")), node.open(Opening::raw("a"))];
    node.confirm_subscriptions();
    let message = masked(TEXT, &[b'x'; 10_000]);
    for key in keys {
        node.receive(key, message[..5_000].to_vec());
        node.pass(Duration::from_secs(1));
    }
    let holders: Vec<_> = node.shard.unhandled(node.now).collect();
    let held: usize = holders.iter().map(|(_, bytes, _)| bytes).sum();
    assert_eq!((node.shard.held(), holders.len()), (held, 2));
    assert!((10_000..40_000).contains(&held) && holders[0].2 < holders[1].2, "{holders:?}");
    node.receive(keys[0], message[5_000..].to_vec());
    assert_eq!(node.shard.unhandled(node.now).map(|(key, ..)| key).collect::<Vec<_>>(), [keys[1]]);
    node.hang_up(keys[1]);
    assert_eq!((node.shard.held(), node.shard.unhandled(node.now).count()), (0, 0));
    let flood = masked(TEXT, b"m").repeat(400);
    node.receive(keys[0], flood);
    assert!(node.shard.held() > 0, "what came after too much that waits");
    node.hang_up(keys[0]);
    assert_eq!(node.shard.held(), 0);
}

#[test]
fn who_says_goodbye_is_absent_at_once_and_who_may_come_back_after_the_grace() {
    for (body, grace) in [(&[][..], 0), (&1000_u16.to_be_bytes(), 0), (&1001_u16.to_be_bytes(), 10)] {
        let mut node = node();
        let key = node.subscribe("a");
        node.ops();
        node.receive(key, masked(CLOSE, body));
        let ops = node.ops();
        assert!(
            matches!(&ops[0], Op::Presence(PresenceOp::Leave { grace: is, .. }) if is.as_secs() == grace),
            "{body:?} {ops:?}"
        );
    }
}

#[test]
fn the_server_waits_for_the_clients_close_frame_but_not_for_ever() {
    for answers in [true, false] {
        let mut node = node();
        let key = node.connect();
        assert_eq!(node.evict(1), 1);
        assert_eq!((closed(&mut node, key), node.sink.closed.len()), (3001, 0));
        if answers {
            node.receive(key, masked(CLOSE, &3001_u16.to_be_bytes()));
        } else {
            node.pass(Duration::from_secs(4));
            assert_eq!(node.sink.closed, vec![]);
            node.pass(Duration::from_secs(2));
        }
        assert_eq!(node.sink.closed, vec![key]);
        node.pass(Duration::from_secs(100));
        assert_eq!(node.frames(key), vec![]);
    }
}

#[test]
fn a_client_without_connect_command_is_stale_after_ten_seconds() {
    let mut node = node();
    let key = node.open(Opening::Centrifuge);
    node.pass(Duration::from_millis(9_900));
    assert_eq!(node.frames(key), vec![]);
    node.pass(Duration::from_millis(400));
    assert_eq!(closed(&mut node, key), 3502);
    assert_eq!(node.shard.accepted(), Accepted { new: 1, resumed: 0 });
}

/// Lets seconds pass until the connection gets something, at most `limit`; returns how many passed, and what it got.
fn wait(node: &mut Node, key: ConnectionKey, limit: u64) -> (u64, Vec<Frame>) {
    for second in 1..=limit {
        node.pass(Duration::from_secs(1));
        let frames = node.frames(key);
        if !frames.is_empty() {
            return (second, frames);
        }
    }
    (limit, vec![])
}

#[test]
fn a_client_gets_a_ping_every_25_seconds_and_has_8_to_answer() {
    let mut node = node();
    let key = node.connect();
    let ping = vec![Frame::Text("{}".to_owned())];
    let (first, frames) = wait(&mut node, key, 26);
    assert!((10..=25).contains(&first) && frames == ping, "{frames:?} after {first} s");
    for _ in 0..3 {
        node.say(key, "{}");
        assert_eq!(wait(&mut node, key, 26), (25, ping.clone()));
    }
    let (last, frames) = wait(&mut node, key, 26);
    assert!((8..=9).contains(&last), "{last} s");
    assert_eq!(frames, vec![Frame::Close(3012, "no pong".to_owned())]);
}

#[test]
fn a_raw_client_is_pinged_only_when_silent_and_lives_on_any_answer() {
    let mut node = node();
    let key = node.open(Opening::raw("a"));
    node.confirm_subscriptions();
    for _ in 0..10 {
        node.receive(key, masked(TEXT, b"busy"));
        assert_eq!(wait(&mut node, key, 9).1, vec![]);
    }
    let (silent, frames) = wait(&mut node, key, 51);
    assert!((16..=50).contains(&silent) && frames == vec![Frame::Ping], "{frames:?} after {silent} s");
    node.receive(key, masked(PONG, b""));
    let (silent, frames) = wait(&mut node, key, 60);
    assert!((25..=34).contains(&silent) && frames == vec![Frame::Ping], "{frames:?} after {silent} s");
    let (silent, frames) = wait(&mut node, key, 60);
    assert!((8..=9).contains(&silent), "{silent} s");
    assert_eq!(frames, vec![Frame::Close(1001, "no pong".to_owned())]);
}

#[test]
fn a_moved_client_is_answered_first() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    node.say(key, r#"{"id":3,"publish":{"channel":"a","data":1}}"#);
    let (waiter, _) = node.sink.submitted.pop_front().expect("a publish");
    assert_eq!(node.evict(10), 1);
    node.say(key, r#"{"id":4,"publish":{"channel":"a","data":2}}"#);
    assert_eq!((node.frames(key), node.ops()), (vec![], vec![]), "what comes later is not carried out");
    node.complete(waiter, Ok(Outcome::Done));
    let frames = node.frames(key);
    assert_eq!(frames[0].lines()[0]["id"], 3);
    assert_eq!(frames[1..], [Frame::Close(3001, "shutdown".to_owned())]);
    let ops = node.ops();
    assert!(
        matches!(&ops[0], Op::Presence(PresenceOp::Leave { grace, .. }) if *grace == Duration::from_secs(10)),
        "{ops:?}"
    );
}

#[test]
fn a_client_that_waits_for_its_answers_counts_as_moved_once_it_is_closed() {
    for hangs_up in [false, true] {
        let mut node = node();
        let key = node.subscribe("a");
        node.ops();
        node.say(key, r#"{"id":3,"publish":{"channel":"a","data":1}}"#);
        let (waiter, _) = node.sink.submitted.pop_front().expect("a publish");
        assert_eq!((node.evict(10), node.shard.tally().moved), (1, 0));
        if hangs_up {
            node.hang_up(key);
        } else {
            node.complete(waiter, Ok(Outcome::Done));
        }
        assert_eq!(node.shard.tally().moved, 1);
        node.hang_up(key);
        assert_eq!(node.shard.tally().moved, 1);
    }
}

#[test]
fn eviction_reaches_each_connection_once_in_the_way_of_its_protocol() {
    let mut node = node();
    let keys = [node.connect(), node.open(Opening::raw("a")), node.open(Opening::Echo)];
    assert_eq!(node.shard.connections(), Connections { centrifuge: 1, raw: 2 });
    assert_eq!([2, 2, 2].map(|count| node.evict(count)), [2, 1, 0]);
    assert_eq!(keys.map(|key| closed(&mut node, key)), [3001, 1012, 1012]);
    keys.iter().for_each(|key| node.hang_up(*key));
    assert_eq!(node.shard.connections(), Connections::default());
    assert_eq!(node.shard.next_timeout(), None);
}

#[test]
fn a_slow_consumer_is_cut_off_with_a_reason() {
    let mut node = node();
    let keys = [node.subscribe("a"), node.open(Opening::raw("a"))];
    for (key, code) in keys.into_iter().zip([3008, 1008]) {
        node.shard.overflow(key, node.now, &mut node.sink);
        assert_eq!(closed(&mut node, key), code);
    }
    assert_eq!(node.sink.closed, keys);
    assert_eq!(node.shard.channels(), 0);
}

#[test]
fn a_broken_frame_is_answered_with_the_code_of_its_rfc_section() {
    let oversized = [&[0x82, 0xFF][..], &100_000_u64.to_be_bytes(), &[0; 4]].concat();
    for (bytes, code) in [
        (vec![0x81, 0x01, b'a'], 1002),
        (masked(0x83, b""), 1002),
        (masked(TEXT, &[0xFF]), 1007),
        (oversized, 1009),
    ] {
        for opening in [Opening::Centrifuge, Opening::raw("a"), Opening::Echo] {
            let mut node = node();
            let key = node.open(opening);
            node.receive(key, bytes.clone());
            assert_eq!(closed(&mut node, key), code, "{bytes:?}");
            assert_eq!(node.sink.closed, vec![key]);
            node.receive(key, masked(TEXT, b"more"));
            assert_eq!(node.frames(key), vec![]);
        }
    }
}

#[test]
fn a_slot_is_used_again_only_after_the_socket_is_gone() {
    let mut node = node();
    let first = node.connect();
    node.receive(first, masked(CLOSE, b""));
    let second = node.open(Opening::Centrifuge);
    assert_ne!(first.slot, second.slot);
    node.hang_up(first);
    node.hang_up(first);
    let third = node.open(Opening::Centrifuge);
    assert_eq!((third.slot, third == first), (first.slot, false));
    node.hang_up(first);
    assert_eq!(node.shard.connections().centrifuge, 2, "an old key changes nothing");
}

proptest! {
    #[test]
    fn no_bytes_make_a_shard_fail(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut node = node();
        let keys = [node.connect(), node.open(Opening::raw("a")), node.open(Opening::Echo)];
        for chunk in chunks {
            keys.iter().for_each(|key| node.receive(*key, chunk.clone()));
        }
        keys.iter().for_each(|key| node.hang_up(*key));
        prop_assert_eq!((node.shard.connections().total(), node.shard.channels()), (0, 0));
    }

    #[test]
    fn no_text_makes_a_session_fail(messages in prop::collection::vec(".{0,80}", 0..10)) {
        let mut node = node();
        let key = node.connect();
        for message in messages {
            node.say(key, &message);
        }
        node.hang_up(key);
        prop_assert_eq!(node.shard.channels(), 0);
    }
}

#[test]
fn a_message_that_only_drips_in_has_an_end() {
    for opening in [Opening::Centrifuge, Opening::raw("a"), Opening::Echo] {
        for in_fragments in [false, true] {
            let mut node = node();
            let key = node.open(opening.clone());
            if opening == Opening::Centrifuge {
                node.say(key, r#"{"id":1,"connect":{}}"#);
                node.frames(key);
            }
            let frame = masked(TEXT, &[b'x'; 100]);
            let mut closes = vec![];
            for second in 0.. {
                let fragment = masked(if second == 0 { 0x01 } else { 0x00 }, b"x");
                node.receive(key, if in_fragments { fragment } else { vec![frame[second]] });
                node.pass(Duration::from_secs(1));
                let frames = node.frames(key);
                closes.extend(frames.into_iter().filter(|frame| matches!(frame, Frame::Close(..))));
                if !closes.is_empty() {
                    assert!((59..95).contains(&second), "{second} s");
                    break;
                }
            }
            assert_eq!(closes, [Frame::Close(1008, "message timeout".to_owned())], "{opening:?}");
        }
    }
}

#[test]
fn who_sends_many_messages_slowly_but_each_in_time_stays() {
    let mut node = node();
    let key = node.open(Opening::Echo);
    let messages: Vec<u8> = (0..20).flat_map(|_| masked(TEXT, &[b'x'; 20])).collect();
    for byte in messages {
        node.receive(key, vec![byte]);
        node.pass(Duration::from_secs(1));
    }
    assert_eq!(node.frames(key), vec![Frame::Text("x".repeat(20)); 20]);
}
