//! How messages are laid out in Redis.
//!
//! A live message is an envelope: a version digit, a kind letter, for `S` the epoch and the first offset in 16 hexadecimal digits each,
//! and bodies, for `S` each after its length in 4 bytes. Scripts put envelopes together, so the header is text and a body's first 8
//! bytes are the tag. Numbers are big-endian.
//!
//! ```text
//! 1P body                            publication without a stream
//! 1S epoch offset (length body)...   publications of a stream, at consecutive offsets
//! 1J client                          joined
//! 1L client                          left
//! ```

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use gateway_core::{
    backplane::{ClientInfo, Message, Payload, Publication, Sender},
    key::ConnectionKey,
    sequencer::Entry,
};

/// Version and kind of a publication that no stream keeps.
pub(super) const PASSING: &[u8] = b"1P";
/// Version and kind of a client that joined.
pub(super) const JOINED: &[u8] = b"1J";
/// Version and kind of a client that left.
pub(super) const LEFT: &[u8] = b"1L";
const STORED: &[u8] = b"1S";

const HAS_INFO: u8 = 1;
const HAS_SENDER: u8 = 2;

/// What a live message brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// Have places in a stream, in order.
    Stored { epoch: Arc<str>, entries: Vec<Entry> },
    /// Has none.
    Passing(Message),
}

/// Reads an envelope; nothing when it is not of a form that this version knows.
pub(super) fn decode(mut envelope: Bytes) -> Option<Live> {
    let kind = take(&mut envelope, 2)?;
    match &kind[..] {
        STORED => {
            let place = take(&mut envelope, 32)?;
            let (epoch, mut offset) = decode_place(&place)?;
            let mut entries = Vec::new();
            while !envelope.is_empty() {
                let length = usize::try_from(envelope.try_get_u32().ok()?).ok()?;
                entries.push(decode_body(take(&mut envelope, length)?, offset)?);
                offset = offset.checked_add(1)?;
            }
            Some(Live::Stored { epoch, entries })
        }
        PASSING => {
            let Entry { publication, .. } = decode_body(envelope, 0)?;
            Some(Live::Passing(Message::Publication(publication)))
        }
        JOINED => Some(Live::Passing(Message::Join(Arc::new(decode_client(&mut envelope)?)))),
        LEFT => Some(Live::Passing(Message::Leave(Arc::new(decode_client(&mut envelope)?)))),
        _ => None,
    }
}

/// Reads an epoch and an offset.
pub(super) fn decode_place(place: &[u8]) -> Option<(Arc<str>, u64)> {
    let place = std::str::from_utf8(place).ok().filter(|place| place.len() == 32)?;
    let (epoch, offset) = place.split_at_checked(16)?;
    Some((epoch.into(), u64::from_str_radix(offset, 16).ok()?))
}

/// Reads a tag; 0 where there is none.
pub(super) fn decode_tag(tag: &[u8]) -> u64 {
    tag.try_into().map_or(0, u64::from_be_bytes)
}

/// Writes a publication without its offset.
pub(super) fn encode_body(
    out: &mut Vec<u8>,
    tag: u64,
    payload: &Payload,
    info: Option<&ClientInfo>,
    sender: Option<&Sender>,
) {
    let (kind, bytes) = match payload {
        Payload::Json(bytes) => (b'j', bytes),
        Payload::Text(bytes) => (b't', bytes),
        Payload::Binary(bytes) => (b'b', bytes),
    };
    out.put_u64(tag);
    out.put_u8(kind);
    out.put_u8(info.map_or(0, |_| HAS_INFO) | sender.map_or(0, |_| HAS_SENDER));
    if let Some(info) = info {
        encode_client(out, info);
    }
    if let Some(sender) = sender {
        out.put_u64(sender.node);
        out.put_u16(sender.shard);
        out.put_u32(sender.connection.slot);
        out.put_u32(sender.connection.generation);
    }
    out.extend_from_slice(bytes);
}

/// Reads a publication that is at `offset`.
pub(super) fn decode_body(mut body: Bytes, offset: u64) -> Option<Entry> {
    let tag = body.try_get_u64().ok()?;
    let kind = body.try_get_u8().ok()?;
    let flags = body.try_get_u8().ok()?;
    let info = if flags & HAS_INFO == 0 { None } else { Some(decode_client(&mut body)?) };
    let sender = if flags & HAS_SENDER == 0 { None } else { Some(decode_sender(&mut body)?) };
    let payload = match kind {
        b'j' => Payload::Json(body),
        b't' => Payload::Text(body),
        b'b' => Payload::Binary(body),
        _ => return None,
    };
    Some(Entry { tag, publication: Arc::new(Publication { offset, payload, info, sender }) })
}

/// Writes a client.
pub(super) fn encode_client(out: &mut Vec<u8>, info: &ClientInfo) {
    for text in [info.client.as_bytes(), info.user.as_bytes()] {
        encode_bytes(out, Some(text));
    }
    encode_bytes(out, info.conn_info.as_deref());
    encode_bytes(out, info.chan_info.as_deref());
}

/// Reads a client, and leaves what follows it.
pub(super) fn decode_client(input: &mut Bytes) -> Option<ClientInfo> {
    let client = decode_text(input)?;
    let user = decode_text(input)?;
    let conn_info = decode_bytes(input)?;
    let chan_info = decode_bytes(input)?;
    Some(ClientInfo { client, user, conn_info, chan_info })
}

/// The length plus one, or 0 for nothing; then the bytes.
fn encode_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return out.put_u32(0) };
    // Tokens and ids are bounded by the largest message, far below 4 GiB.
    out.put_u32(u32::try_from(bytes.len() + 1).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

#[expect(clippy::option_option, reason = "malformed, or absent, or there")]
fn decode_bytes(input: &mut Bytes) -> Option<Option<Bytes>> {
    match input.try_get_u32().ok()?.checked_sub(1) {
        None => Some(None),
        Some(length) => take(input, usize::try_from(length).ok()?).map(Some),
    }
}

fn decode_text(input: &mut Bytes) -> Option<Arc<str>> {
    let bytes = decode_bytes(input)??;
    std::str::from_utf8(&bytes).ok().map(Arc::from)
}

fn decode_sender(input: &mut Bytes) -> Option<Sender> {
    let node = input.try_get_u64().ok()?;
    let shard = input.try_get_u16().ok()?;
    let slot = input.try_get_u32().ok()?;
    let generation = input.try_get_u32().ok()?;
    Some(Sender { node, shard, connection: ConnectionKey { slot, generation } })
}

fn take(input: &mut Bytes, length: usize) -> Option<Bytes> {
    (input.len() >= length).then(|| input.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
    }

    fn client() -> impl Strategy<Value = ClientInfo> {
        (".{0,20}", ".{0,20}", option::of(bytes()), option::of(bytes())).prop_map(
            |(client, user, conn_info, chan_info)| ClientInfo {
                client: client.into(),
                user: user.into(),
                conn_info,
                chan_info,
            },
        )
    }

    fn sender() -> impl Strategy<Value = Sender> {
        any::<(u64, u16, u32, u32)>().prop_map(|(node, shard, slot, generation)| Sender {
            node,
            shard,
            connection: ConnectionKey { slot, generation },
        })
    }

    fn payload() -> impl Strategy<Value = Payload> {
        (bytes(), 0..3).prop_map(|(bytes, kind)| match kind {
            0 => Payload::Json(bytes),
            1 => Payload::Text(bytes),
            _ => Payload::Binary(bytes),
        })
    }

    proptest! {
        #[test]
        fn publications_come_out_as_they_went_in(
            first in 1..u64::MAX - 9,
            publications in prop::collection::vec(
                (any::<u64>(), payload(), option::of(client()), option::of(sender())),
                1..4,
            ),
        ) {
            let epoch: Arc<str> = "0123456789abcdef".into();
            let mut envelope = format!("1S{epoch}{first:016x}").into_bytes();
            let mut entries = Vec::new();
            for (offset, (tag, payload, info, sender)) in (first..).zip(publications) {
                let mut body = Vec::new();
                encode_body(&mut body, tag, &payload, info.as_ref(), sender.as_ref());
                envelope.put_u32(body.len() as u32);
                envelope.extend_from_slice(&body);
                entries.push(Entry { tag, publication: Arc::new(Publication { offset, payload, info, sender }) });
            }
            prop_assert_eq!(decode(envelope.into()), Some(Live::Stored { epoch, entries }));
        }

        #[test]
        fn a_client_that_leaves_comes_out_as_it_went_in(info in client()) {
            let mut envelope = LEFT.to_vec();
            encode_client(&mut envelope, &info);
            prop_assert_eq!(decode(envelope.into()), Some(Live::Passing(Message::Leave(Arc::new(info)))));
        }

        #[test]
        fn whatever_arrives_is_decoded_or_ignored(bytes in bytes(), kind in "1[PSJL]") {
            let mut envelope = kind.into_bytes();
            envelope.extend_from_slice(&bytes);
            let _ = decode(envelope.into());
        }
    }
}
