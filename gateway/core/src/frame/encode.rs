//! Whole server frames: header and payload in one allocation, unmasked (RFC 6455, section 5.1).

use bytes::{BufMut, Bytes, BytesMut};

pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A control frame's payload is at most 125 bytes (section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

/// A text message; `payload` is UTF-8.
#[must_use]
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// A binary message.
#[must_use]
pub fn binary(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// A ping; of a payload longer than 125 bytes only that much is sent.
#[must_use]
pub fn ping(payload: &[u8]) -> Bytes {
    frame(PING, &payload[..payload.len().min(MAX_CONTROL)])
}

/// The answer to a ping, with its payload.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &payload[..payload.len().min(MAX_CONTROL)])
}

/// The end of the connection; of a reason longer than 123 bytes only the whole characters in those are sent.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    let mut payload = [0; MAX_CONTROL];
    let [high, low] = code.to_be_bytes();
    payload[0] = high;
    payload[1] = low;
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    frame(CLOSE, &payload[..2 + reason.len()])
}

/// A compressed message (RFC 7692, section 6).
pub(super) fn compressed(opcode: u8, payload: &[u8]) -> Bytes {
    const RSV1: u8 = 0x40;
    frame(RSV1 | opcode, payload)
}

pub(super) fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    const FINAL: u8 = 0x80;
    const LONGEST_HEADER: usize = 10;
    let length = payload.len();
    let mut frame = BytesMut::with_capacity(LONGEST_HEADER + length);
    frame.put_u8(FINAL | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => frame.put_u8(length),
        (_, Ok(length)) => {
            frame.put_u8(126);
            frame.put_u16(length);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_shortest_form() {
        for (length, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = binary(&vec![7; length]);
            assert_eq!(frame.len(), header.len() + length);
            assert_eq!(&frame[..header.len()], header);
        }
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let frame = close(1012, &"ä".repeat(80));
        assert_eq!(frame[..4], [0x88, 124, 0x03, 0xf4]);
        assert_eq!(std::str::from_utf8(&frame[4..]).unwrap(), "ä".repeat(61));
        assert_eq!(close(3001, "shutdown")[..], *b"\x88\x0a\x0b\xb9shutdown");
    }

    #[test]
    fn a_pong_carries_what_the_ping_did() {
        assert_eq!(pong(b"abc")[..], *b"\x8a\x03abc");
        assert_eq!(ping(b"")[..], *b"\x89\x00");
        assert_eq!(text(b"{}")[..], *b"\x81\x02{}");
    }
}
