//! permessage-deflate (RFC 7692) on connections that negotiated it, beside others.

use std::sync::Arc;

use gateway_core::{
    backplane::{Inbound, Message, Payload, Publication},
    config::GatewayConfig,
    key::ConnectionKey,
    raw::backplane_channel,
    shard::Opening,
    transport::Transport,
};

use crate::node::{BINARY, COMPRESSED, Frame, Node, PING, TEXT, compressed, masked};

fn node() -> Node {
    Node::new(GatewayConfig::default(), 1)
}

fn join(node: &mut Node, transport: Transport) -> ConnectionKey {
    let key = node.open_over(transport, Opening::raw("room"));
    node.confirm_subscriptions();
    node.ops();
    key
}

fn publish(node: &mut Node, payload: Payload) {
    let publication = Publication { offset: 0, payload, info: None, sender: None };
    let message = Message::Publication(Arc::new(publication));
    node.inbound(Inbound::Delivered { channel: backplane_channel("room").into(), message });
}

fn echo(node: &mut Node) -> ConnectionKey {
    node.open_over(Transport::CompressedWebSocket, Opening::Echo)
}

/// Text that shrinks.
fn long() -> String {
    "{\"text\":\"hello\"}".repeat(100)
}

#[test]
fn clients_with_and_without_compression_get_the_same_messages() {
    let mut node = node();
    let plain = join(&mut node, Transport::WebSocket);
    let deflating = join(&mut node, Transport::CompressedWebSocket);
    let binary: Vec<u8> = long().into_bytes();
    for (payload, frame) in [
        (Payload::Text(long().into()), Frame::Text(long())),
        (Payload::Binary(binary.clone().into()), Frame::Binary(binary)),
    ] {
        publish(&mut node, payload);
        assert_eq!(node.frames(plain), std::slice::from_ref(&frame));
        assert_eq!(node.frames(deflating), [Frame::Compressed(Box::new(frame))]);
    }
    // What is short goes as it is.
    publish(&mut node, Payload::Text("hello".into()));
    let hello = [Frame::Text("hello".to_owned())];
    assert_eq!((node.frames(plain), node.frames(deflating)), (hello.to_vec(), hello.to_vec()));
}

#[test]
fn a_compressed_message_is_published_as_it_was_before() {
    let mut node = node();
    let key = join(&mut node, Transport::CompressedWebSocket);
    let text = long();
    let sent = compressed(text.as_bytes());
    let (front, back) = sent.split_at(sent.len() / 2);
    node.receive(key, masked(TEXT | COMPRESSED, &sent));
    // In fragments, with a ping between them, and in pieces of one byte.
    let fragments =
        [masked(0x01 | COMPRESSED, front), masked(PING, b"?"), masked(0x80, back), masked(BINARY, b"plain")];
    for byte in fragments.concat() {
        node.receive(key, vec![byte]);
    }
    node.receive(key, masked(BINARY | COMPRESSED, &compressed(&[0xff; 2000])));
    assert_eq!(node.frames(key), [Frame::Pong(b"?".to_vec())]);
    let published: Vec<Payload> = node
        .ops()
        .into_iter()
        .map(|op| match op.as_publish() {
            Some(publish) => publish.payload.clone(),
            None => panic!("{op:?}"),
        })
        .collect();
    let expected = [
        Payload::Text(text.clone().into()),
        Payload::Text(text.into()),
        Payload::Binary("plain".into()),
        Payload::Binary(vec![0xff; 2000].into()),
    ];
    assert_eq!(published, expected);
}

#[test]
fn a_flaw_of_a_compressed_message_ends_its_connection_with_the_code_of_its_kind() {
    let limit = GatewayConfig::default().limits.max_message_bytes as usize;
    let cases = [
        ("as large as may be", masked(BINARY | COMPRESSED, &compressed(&vec![7; limit])), None),
        ("a byte larger", masked(BINARY | COMPRESSED, &compressed(&vec![7; limit + 1])), Some(1009)),
        ("a bomb", masked(BINARY | COMPRESSED, &compressed(&vec![0; 1 << 22])), Some(1009)),
        ("no DEFLATE", masked(TEXT | COMPRESSED, b"hello"), Some(1007)),
        ("no UTF-8", masked(TEXT | COMPRESSED, &compressed(b"\xff")), Some(1007)),
        ("broken off", masked(TEXT | COMPRESSED, &compressed(long().as_bytes())[..20]), Some(1007)),
        ("a compressed ping", masked(PING | COMPRESSED, b""), Some(1002)),
        ("another reserved bit", masked(TEXT | 0x20, b""), Some(1002)),
        (
            "compressed from the middle on",
            [masked(0x01, b"a"), masked(0x80 | COMPRESSED, b"b")].concat(),
            Some(1002),
        ),
    ];
    for (what, bytes, code) in cases {
        let mut node = node();
        let key = echo(&mut node);
        node.receive(key, [bytes, masked(TEXT, b"next")].concat());
        let frames = node.frames(key);
        match code {
            None => assert_eq!(frames[1..], [Frame::Text("next".to_owned())], "{what}"),
            Some(code) => assert_eq!(frames, [Frame::Close(code, String::new())], "{what}"),
        }
    }
    let mut node = node();
    let key = node.open(Opening::Echo);
    node.receive(key, masked(TEXT | COMPRESSED, &compressed(b"hello")));
    assert_eq!(node.frames(key), [Frame::Close(1002, String::new())], "nothing was negotiated");
}

#[test]
fn commands_and_replies_of_the_centrifuge_protocol_are_compressed() {
    let mut node = node();
    let key = node.open_over(Transport::CompressedWebSocket, Opening::Centrifuge);
    let commands: Vec<String> =
        (2..40).map(|id| format!(r#"{{"id":{id},"rpc":{{"method":"nothing"}}}}"#)).collect();
    let message = format!("{}\n{}", r#"{"id":1,"connect":{}}"#, commands.join("\n"));
    node.receive(key, masked(TEXT | COMPRESSED, &compressed(message.as_bytes())));
    let mut replies = 0;
    for frame in node.frames(key) {
        let frame = if let Frame::Compressed(frame) = frame { *frame } else { frame };
        replies += frame.lines().len();
    }
    assert_eq!(replies, 39);
}
