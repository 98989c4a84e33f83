//! Raw channels: bare messages, to everyone else.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    backplane::{BackplaneError, BusOp, Inbound, LogOp, Message, Op, Outcome, Payload, Publication, Publish},
    config::{Audience, GatewayConfig},
    key::ConnectionKey,
    policy::Policy,
    raw::backplane_channel,
    shard::Opening,
    token::EntryToken,
};

use crate::node::{BINARY, Frame, Node, PONG, TEXT, masked};

fn join(node: &mut Node, channel: &str) -> ConnectionKey {
    let key = node.open(Opening::raw(channel));
    node.confirm_subscriptions();
    key
}

fn node() -> Node {
    Node::new(GatewayConfig::default(), 1)
}

/// Carries out the publishes of `from` and delivers them to every node.
fn spread(nodes: &mut [Node], from: usize) {
    for (waiter, op) in std::mem::take(&mut nodes[from].sink.submitted) {
        let Some(publish) = op.as_publish().cloned() else { panic!("{op:?}") };
        let Publish { channel, payload, info, sender, .. } = publish;
        let publication = Arc::new(Publication { offset: 0, payload, info, sender });
        for node in nodes.iter_mut() {
            let message = Message::Publication(publication.clone());
            node.inbound(Inbound::Delivered { channel: channel.clone(), message });
        }
        nodes[from].complete(waiter, Ok(Outcome::Done));
    }
}

#[test]
fn a_message_reaches_everyone_else_in_its_channel_on_every_node_as_it_was_sent() {
    let mut nodes = [node(), Node::new(GatewayConfig::default(), 2)];
    let sender = join(&mut nodes[0], "room");
    let near = join(&mut nodes[0], "room");
    let elsewhere = join(&mut nodes[0], "other");
    let far = join(&mut nodes[1], "room");
    nodes[0].receive(sender, masked(TEXT, "grüße".as_bytes()));
    nodes[0].receive(sender, masked(BINARY, &[0, 255]));
    spread(&mut nodes, 0);
    let expected = vec![Frame::Text("grüße".to_owned()), Frame::Binary(vec![0, 255])];
    assert_eq!(nodes[0].frames(near), expected);
    assert_eq!(nodes[1].frames(far), expected, "the far one has the sender's slot and generation");
    assert_eq!((nodes[0].frames(sender), nodes[0].frames(elsewhere)), (vec![], vec![]));
}

#[test]
fn a_channel_that_is_delivered_already_is_joined_without_the_backplane() {
    let mut node = node();
    let first = join(&mut node, "room");
    let second = node.open(Opening::raw("room"));
    assert_eq!(node.ops(), vec![]);
    let payload = Payload::Text("hello".into());
    let publication = Arc::new(Publication { offset: 0, payload, info: None, sender: None });
    let channel: Arc<str> = backplane_channel("room").into();
    node.inbound(Inbound::Delivered { channel: channel.clone(), message: Message::Publication(publication) });
    let expected = vec![Frame::Text("hello".to_owned())];
    assert_eq!((node.frames(first), node.frames(second)), (expected.clone(), expected));
    node.hang_up(first);
    assert_eq!(node.ops(), vec![]);
    node.hang_up(second);
    assert_eq!(node.ops(), vec![Op::Bus(BusOp::Release { channel })]);
}

#[test]
fn a_raw_channel_is_no_channel_of_the_centrifuge_protocol() {
    let channel = backplane_channel("room");
    let policy = Policy::compile(GatewayConfig::default(), vec![]).expect("it makes sense");
    assert_eq!(policy.options(&channel), None);
    let mut node = node();
    node.open(Opening::raw("room"));
    assert_eq!(node.ops(), vec![subscribe("room")]);
}

/// What the shard asks for in its own name.
fn subscribe(channel: &str) -> Op {
    Op::Log(LogOp::Follow { channel: backplane_channel(channel).into(), since: None, limit: 0 })
}

fn discontinue(node: &mut Node, channel: &str) {
    node.inbound(Inbound::Delivered {
        channel: backplane_channel(channel).into(),
        message: Message::Discontinued,
    });
}

fn deliver(node: &mut Node, channel: &str, text: &'static str) {
    let publication =
        Publication { offset: 0, payload: Payload::Text(text.into()), info: None, sender: None };
    let message = Message::Publication(Arc::new(publication));
    node.inbound(Inbound::Delivered { channel: backplane_channel(channel).into(), message });
}

#[test]
fn clients_stay_when_deliveries_are_lost_which_the_shard_asks_for_again_once() {
    let mut node = node();
    let keys = [join(&mut node, "room"), join(&mut node, "room"), join(&mut node, "room")];
    discontinue(&mut node, "room");
    for failure in [BackplaneError::Unanswered, BackplaneError::Busy] {
        let (waiter, op) = node.sink.submitted.pop_front().expect("the shard asks");
        assert_eq!((op, node.ops()), (subscribe("room"), vec![]));
        node.complete(waiter, Err(failure));
        node.pass(Duration::from_millis(900));
        assert_eq!(node.ops(), vec![], "not at once");
        node.pass(Duration::from_millis(200));
    }
    node.confirm_subscriptions();
    assert_eq!((node.ops(), node.shard.tally().raw_gaps), (vec![], 3));
    deliver(&mut node, "room", "after");
    assert!(keys.into_iter().all(|key| node.frames(key) == [Frame::Text("after".to_owned())]));
}

#[test]
fn who_comes_during_an_outage_is_served_once_it_is_over() {
    let mut node = node();
    let first = node.open(Opening::raw("room"));
    let (waiter, _) = node.sink.submitted.pop_front().expect("the shard asks");
    node.complete(waiter, Err(BackplaneError::Unavailable));
    let second = node.open(Opening::raw("room"));
    assert_eq!((node.ops(), node.frames(first)), (vec![], vec![]));
    node.pass(Duration::from_secs(1));
    node.confirm_subscriptions();
    deliver(&mut node, "room", "hello");
    for key in [first, second] {
        assert_eq!(node.frames(key), vec![Frame::Text("hello".to_owned())]);
        node.hang_up(key);
    }
    let channel = backplane_channel("room").into();
    assert_eq!((node.ops(), node.shard.next_timeout()), (vec![Op::Bus(BusOp::Release { channel })], None));
}

#[test]
fn a_message_that_the_backplane_does_not_take_is_counted_and_its_sender_stays() {
    let mut node = node();
    let key = join(&mut node, "room");
    for failure in [BackplaneError::Busy, BackplaneError::Unavailable, BackplaneError::Unanswered] {
        node.receive(key, masked(TEXT, b"hello"));
        let (waiter, _) = node.sink.submitted.pop_front().expect("a publish");
        node.complete(waiter, Err(failure));
    }
    assert_eq!((node.frames(key), node.shard.tally().raw_unpublished), (vec![], 3));
}

#[test]
fn channels_that_are_all_lost_at_once_are_asked_for_a_few_at_a_time() {
    let mut node = node();
    let names: Vec<String> = (0..600).map(|number| format!("room {number}")).collect();
    let keys: Vec<ConnectionKey> = names.iter().map(|name| join(&mut node, name)).collect();
    names.iter().for_each(|name| discontinue(&mut node, name));
    let mut asked = 0;
    while let Some((waiter, _)) = node.sink.submitted.pop_front() {
        asked += 1;
        assert!(node.sink.submitted.len() < 256, "{} wait", node.sink.submitted.len());
        node.complete(waiter, Ok(Outcome::Done));
    }
    assert_eq!(asked, 600);
    names.iter().for_each(|name| deliver(&mut node, name, "all"));
    assert!(keys.into_iter().all(|key| node.frames(key) == [Frame::Text("all".to_owned())]));
}

#[test]
fn the_answer_for_a_channel_that_was_left_meanwhile_says_nothing_of_who_came_after() {
    let mut node = node();
    let first = node.open(Opening::raw("room"));
    let (stale, _) = node.sink.submitted.pop_front().expect("the shard asks");
    node.hang_up(first);
    node.open(Opening::raw("room"));
    assert_eq!(
        node.ops(),
        vec![Op::Bus(BusOp::Release { channel: backplane_channel("room").into() }), subscribe("room")]
    );
    node.complete(stale, Ok(Outcome::Done));
    node.open(Opening::raw("room"));
    discontinue(&mut node, "room");
    assert_eq!((node.ops(), node.shard.tally().raw_gaps), (vec![], 2), "it is still being asked for");
}

#[test]
fn a_client_whose_token_ends_is_told_so_and_closed_at_that_moment() {
    let mut node = node();
    for seconds in [3, 40] {
        let expires_at = Some(node.now.unix_seconds + seconds);
        let token = EntryToken { id: None, user: "ada".into(), expires_at, names_channel: false };
        let key = node.open(Opening::Raw { channel: "room".to_owned(), token: Some(token) });
        node.confirm_subscriptions();
        for _ in 1..seconds {
            node.pass(Duration::from_secs(1));
            node.receive(key, masked(PONG, b""));
            assert!(!node.frames(key).iter().any(|frame| matches!(frame, Frame::Close(..))));
        }
        node.pass(Duration::from_millis(1_500));
        assert_eq!(node.frames(key), vec![Frame::Close(3000, "token expired".to_owned())]);
    }
}

#[test]
fn json_that_the_server_publishes_arrives_as_text() {
    let mut node = node();
    let key = join(&mut node, "room");
    let payload = Payload::Json("{}".into());
    let publication = Arc::new(Publication { offset: 0, payload, info: None, sender: None });
    let channel: Arc<str> = backplane_channel("room").into();
    node.inbound(Inbound::Delivered { channel, message: Message::Publication(publication) });
    assert_eq!(node.frames(key), vec![Frame::Text("{}".to_owned())]);
}

#[test]
fn an_echo_sends_back_what_it_gets() {
    let mut node = node();
    let key = node.open(Opening::Echo);
    node.receive(key, masked(TEXT, b"a"));
    node.receive(key, masked(BINARY, &[1]));
    assert_eq!(node.frames(key), vec![Frame::Text("a".to_owned()), Frame::Binary(vec![1])]);
    assert_eq!(node.ops(), vec![]);
}

#[test]
fn who_may_not_publish_in_a_raw_channel_is_dropped_and_counted_and_goes_on_listening() {
    let audiences = [Audience::Server, Audience::Subscribers, Audience::Users, Audience::Clients];
    // By audience: what is published of an anonymous client and of Ada.
    let expected = [[false, false], [true, true], [false, true], [true, true]];
    for (publish, published) in audiences.into_iter().zip(expected) {
        let mut config = GatewayConfig::default();
        config.channels.default.publish = publish;
        let mut node = Node::new(config, 1);
        let token =
            |user: &str| EntryToken { id: None, user: user.into(), expires_at: None, names_channel: false };
        for (token, is_published) in [None, Some(token("ada"))].into_iter().zip(published) {
            let before = node.shard.tally().raw_refused;
            let key = node.open(Opening::Raw { channel: "room".to_owned(), token });
            node.confirm_subscriptions();
            node.receive(key, masked(TEXT, b"hello"));
            let ops = node.ops();
            let is_publish = matches!(&ops[..], [op] if op.as_publish().is_some());
            assert_eq!(is_publish, is_published, "{publish:?}: {ops:?}");
            assert_eq!(node.shard.tally().raw_refused - before, u64::from(!is_published), "{publish:?}");
            let payload = Payload::Text("news".into());
            let publication = Arc::new(Publication { offset: 0, payload, info: None, sender: None });
            let channel = backplane_channel("room").into();
            node.inbound(Inbound::Delivered { channel, message: Message::Publication(publication) });
            assert_eq!(node.frames(key), [Frame::Text("news".to_owned())], "{publish:?}");
        }
    }
}
