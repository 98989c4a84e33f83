//! Something that happened in a channel, on its way to those who are in it.

use bytes::Bytes;

use crate::{
    backplane::Message,
    centrifuge::reply,
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
    written: [Option<Written>; Encoding::COUNT * Transport::COUNT],
}

/// The bytes, unless it is nothing to clients of that encoding.
type Written = Option<Bytes>;

impl<'a> Broadcast<'a> {
    pub(super) fn new(
        channel: &'a str,
        message: &'a Message,
        from: Option<ConnectionKey>,
        limit: usize,
    ) -> Self {
        Self { channel, message, from, limit, written: Default::default() }
    }

    /// The message in one of its forms, if there is one.
    pub(crate) fn bytes(&mut self, encoding: Encoding, transport: Transport) -> Option<&Bytes> {
        let form = encoding as usize * Transport::COUNT + transport as usize;
        self.written[form]
            .get_or_insert_with(|| write(self.channel, self.message, encoding, transport))
            .as_ref()
    }
}

fn write(channel: &str, message: &Message, encoding: Encoding, transport: Transport) -> Written {
    match encoding {
        Encoding::CentrifugeJson => {
            let mut text = Vec::new();
            reply::push(&mut text, channel, &reply::Push::of(message)?);
            Some(transport.message(transport::Message::Text(&text)))
        }
        Encoding::Raw => Some(transport.message(raw::message(message)?)),
    }
}
