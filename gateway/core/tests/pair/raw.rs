//! Raw channels: bare messages, to everyone else.

use std::sync::Arc;

use gateway_core::{
    backplane::{BackplaneError, Inbound, Message, Op, Outcome, Payload, Publication},
    config::GatewayConfig,
    key::ConnectionKey,
    raw::backplane_channel,
    shard::Opening,
};

use crate::node::{BINARY, Frame, Node, TEXT, masked};

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
        let Op::Publish { channel, payload, info, origin, .. } = op else { panic!("{op:?}") };
        let publication = Arc::new(Publication { offset: 0, payload, info, origin });
        for node in nodes.iter_mut() {
            let message = Message::Publication(publication.clone());
            node.inbound(Inbound::Delivered { channel: channel.clone(), message });
        }
        nodes[from].complete(waiter, Ok(Outcome::Published { position: None }));
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
    let publication = Arc::new(Publication { offset: 0, payload, info: None, origin: None });
    let channel: Arc<str> = backplane_channel("room").into();
    node.inbound(Inbound::Delivered { channel: channel.clone(), message: Message::Publication(publication) });
    let expected = vec![Frame::Text("hello".to_owned())];
    assert_eq!((node.frames(first), node.frames(second)), (expected.clone(), expected));
    node.hang_up(first);
    assert_eq!(node.ops(), vec![]);
    node.hang_up(second);
    assert_eq!(node.ops(), vec![Op::Release { channel }]);
}

#[test]
fn a_raw_channel_is_no_channel_of_the_centrifuge_protocol() {
    let channel = backplane_channel("room");
    assert_eq!(GatewayConfig::default().channels.options(&channel), None);
    let mut node = node();
    node.open(Opening::raw("room"));
    let subscribe = Op::Subscribe { channel: Arc::from(channel), retention: None, since: None, limit: 0 };
    assert_eq!(node.ops(), vec![subscribe]);
}

#[test]
fn a_raw_client_is_told_when_messages_may_be_lost() {
    let lost = Frame::Close(1012, "messages may have been lost".to_owned());
    let unavailable = Frame::Close(1013, "backplane unavailable".to_owned());

    let mut discontinued = node();
    let key = join(&mut discontinued, "room");
    let channel: Arc<str> = backplane_channel("room").into();
    discontinued.inbound(Inbound::Delivered { channel, message: Message::Discontinued });
    assert_eq!(discontinued.frames(key), vec![lost]);

    let mut refused = node();
    let key = join(&mut refused, "room");
    refused.receive(key, masked(TEXT, b"hello"));
    let (waiter, _) = refused.sink.submitted.pop_front().expect("a publish");
    refused.complete(waiter, Err(BackplaneError::Busy));
    assert_eq!(refused.frames(key), vec![unavailable.clone()]);

    let mut unreachable = node();
    let key = unreachable.open(Opening::raw("room"));
    let (waiter, _) = unreachable.sink.submitted.pop_front().expect("a subscribe");
    unreachable.complete(waiter, Err(BackplaneError::Unavailable));
    assert_eq!(unreachable.frames(key), vec![unavailable]);
    assert_eq!(unreachable.shard.channels(), 0);
}

#[test]
fn json_that_the_server_publishes_arrives_as_text() {
    let mut node = node();
    let key = join(&mut node, "room");
    let payload = Payload::Json("{}".into());
    let publication = Arc::new(Publication { offset: 0, payload, info: None, origin: None });
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
