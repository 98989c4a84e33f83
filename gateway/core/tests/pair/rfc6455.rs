//! What RFC 6455 asks of a connection from its first frame to its last, where that is the shard's to keep.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    backplane::{Inbound, Message, Outcome, Payload, Publication},
    config::GatewayConfig,
    key::ConnectionKey,
    raw::backplane_channel,
    shard::Opening,
};

use crate::node::{CLOSE, Frame, Node, PING, TEXT, masked};

fn node() -> Node {
    Node::new(GatewayConfig::default(), 1)
}

/// Something is published in a channel of the backplane.
fn publish(node: &mut Node, channel: &str) {
    let publication =
        Publication { offset: 1, payload: Payload::Json("{}".into()), info: None, sender: None };
    let message = Message::Publication(Arc::new(publication));
    node.inbound(Inbound::Delivered { channel: channel.into(), message });
}

/// A client of each protocol in a channel, with that channel's name.
fn members(node: &mut Node) -> [(ConnectionKey, String); 2] {
    let centrifuge = node.subscribe("a");
    let raw = node.open(Opening::raw("a"));
    node.confirm_subscriptions();
    [(centrifuge, "a".to_owned()), (raw, backplane_channel("a"))]
}

#[test]
fn a_ping_is_answered_until_the_closing_handshake_begins() {
    let mut node = node();
    let key = node.subscribe("a");
    node.ops();
    node.receive(key, masked(PING, b"first"));
    node.receive(key, masked(PING, &[0xff; 125]));
    assert_eq!(node.frames(key), [Frame::Pong(b"first".to_vec()), Frame::Pong(vec![0xff; 125])]);
    // It is to be moved, and waits for the answer to its publish.
    node.say(key, r#"{"id":3,"publish":{"channel":"a","data":1}}"#);
    assert_eq!(node.evict(1), 1);
    node.receive(key, masked(PING, b"leaving"));
    assert_eq!(node.frames(key), [Frame::Pong(b"leaving".to_vec())]);
    let (waiter, _) = node.sink.submitted.pop_front().expect("a publish");
    node.complete(waiter, Ok(Outcome::Done));
    assert!(matches!(node.frames(key)[..], [Frame::Text(_), Frame::Close(3001, _)]));
    node.receive(key, masked(PING, b"closing"));
    assert_eq!(node.frames(key), []);
}

#[test]
fn nothing_follows_a_close_frame() {
    for (by_server, member) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let mut node = node();
        let (key, channel) = &members(&mut node)[member];
        publish(&mut node, channel);
        assert_eq!(node.frames(*key).len(), 1);
        if by_server {
            assert_eq!(node.evict(2), 2);
        } else {
            node.receive(*key, masked(CLOSE, b"\x03\xe9"));
        }
        let frames = node.frames(*key);
        assert!(matches!(frames[..], [Frame::Close(..)]), "{frames:?}");
        publish(&mut node, channel);
        node.receive(*key, masked(TEXT, br#"{"id":9,"presence":{"channel":"a"}}"#));
        node.pass(Duration::from_secs(60));
        assert_eq!(node.frames(*key), [], "{channel}, by the server: {by_server}");
    }
}
