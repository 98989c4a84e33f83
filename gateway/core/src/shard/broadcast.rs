//! Something that happened in a channel, on its way to those who are in it.

use bytes::Bytes;

use crate::{
    backplane::Message,
    centrifuge::reply,
    frame::Deflate,
    key::ConnectionKey,
    raw,
    transport::{self, Transport},
};

/// How protocols write what happens in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    CentrifugeJson,
    Raw,
}

impl Encoding {
    const COUNT: usize = 2;
}

/// A channel's message. It is written once for each encoding and transport, and the bytes are shared.
pub(crate) struct Broadcast<'a> {
    channel: &'a str,
    message: &'a Message,
    /// The connection of this shard that it comes from.
    pub(crate) from: Option<ConnectionKey>,
    /// Bytes that may wait for one client.
    pub(crate) limit: usize,
    deflate: &'a mut Deflate,
    written: [[Option<Written>; Transport::COUNT]; Encoding::COUNT],
}

/// The bytes, unless it is nothing to clients of that encoding.
type Written = Option<Bytes>;

impl<'a> Broadcast<'a> {
    pub(super) fn new(
        channel: &'a str,
        message: &'a Message,
        from: Option<ConnectionKey>,
        limit: usize,
        deflate: &'a mut Deflate,
    ) -> Self {
        Self { channel, message, from, limit, deflate, written: Default::default() }
    }

    /// The message in one of its forms, if there is one. Asked for every subscriber.
    #[inline]
    pub(crate) fn bytes(&mut self, encoding: Encoding, transport: Transport) -> Option<&Bytes> {
        let written = &mut self.written[encoding as usize][transport as usize];
        if written.is_none() {
            *written = Some(write(self.channel, self.message, encoding, transport, self.deflate));
        }
        written.as_ref()?.as_ref()
    }
}

#[cold]
fn write(
    channel: &str,
    message: &Message,
    encoding: Encoding,
    transport: Transport,
    deflate: &mut Deflate,
) -> Written {
    match encoding {
        Encoding::CentrifugeJson => {
            let mut text = Vec::new();
            reply::push(&mut text, channel, &reply::Push::of(message)?);
            Some(transport.message(transport::Message::Text(&text), deflate))
        }
        Encoding::Raw => Some(transport.message(raw::message(message)?, deflate)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backplane::{Payload, Publication};

    #[test]
    fn a_message_is_written_once_for_each_encoding_and_transport() {
        let payload = Payload::Text("hello ".repeat(200).into());
        let publication = Publication { offset: 1, payload, info: None, sender: None };
        let message = Message::Publication(Arc::new(publication));
        let mut deflate = Deflate::default();
        let mut broadcast = Broadcast::new("a", &message, None, usize::MAX, &mut deflate);
        let mut written = Vec::new();
        for encoding in [Encoding::CentrifugeJson, Encoding::Raw] {
            for transport in [Transport::WebSocket, Transport::CompressedWebSocket] {
                let first = broadcast.bytes(encoding, transport).unwrap().clone();
                let again = broadcast.bytes(encoding, transport).unwrap();
                assert_eq!(first.as_ptr(), again.as_ptr(), "{encoding:?} {transport:?}");
                written.push(first);
            }
        }
        let lengths: Vec<usize> = written.iter().map(Bytes::len).collect();
        assert!(lengths[1] < lengths[0] / 4 && lengths[3] < lengths[2] / 4, "{lengths:?}");
    }
}
