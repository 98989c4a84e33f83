#![no_main]
//! Replies of Redis: the decoder agrees with the specification of RESP2 read literally, however the stream is cut; takes memory in
//! proportion to what arrived; and a reply that is written anew reads back as itself.

use bytes::{Bytes, BytesMut};
use gateway_core::resp::{Resp, RespDecoder};
use libfuzzer_sys::fuzz_target;
use mooring_fuzz::{Stream, measure};

/// Arrays that are open, each with room for some of the elements that it announces.
const OPEN_ARRAYS: usize = 512 * 1024;
/// Of an element in memory to its shortest form, `+\r\n`, with the room that a list leaves as it grows.
const MEMORY_PER_BYTE: usize = 64;

const MAX_DEPTH: usize = 8;
const MAX_LENGTH: i64 = 64 * 1024 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some(stream) = Stream::new(input) else { return };
    let expected = literally(stream.whole);
    assert_eq!(decode([stream.whole]), expected, "the whole stream at once");
    assert_eq!(decode(stream.pieces()), expected, "the stream in pieces");
    let mut again = Vec::new();
    expected.replies.iter().for_each(|reply| encode(reply, &mut again));
    assert_eq!(decode([again.as_slice()]).replies, expected.replies, "the replies written anew");
});

#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    replies: Vec<Resp>,
    malformed: bool,
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut input, mut decoded) = (RespDecoder::default(), BytesMut::new(), Decoded::default());
    let mut arrived = 0;
    for piece in pieces {
        input.extend_from_slice(piece);
        arrived += piece.len();
        loop {
            let (reply, taken) = measure(|| decoder.decode(&mut input));
            assert!(taken.peak <= OPEN_ARRAYS + MEMORY_PER_BYTE * arrived, "{taken:?} for {arrived} bytes");
            match reply {
                Ok(None) => break,
                Ok(Some(reply)) => decoded.replies.push(reply),
                Err(_) => {
                    decoded.malformed = true;
                    return decoded;
                }
            }
        }
    }
    decoded
}

fn encode(reply: &Resp, out: &mut Vec<u8>) {
    match reply {
        Resp::Nil => out.extend(b"*-1\r\n"),
        Resp::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
        Resp::Text(text) => {
            out.extend(format!("${}\r\n", text.len()).bytes());
            out.extend(text);
            out.extend(b"\r\n");
        }
        Resp::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
        Resp::Array(items) => {
            out.extend(format!("*{}\r\n", items.len()).bytes());
            items.iter().for_each(|item| encode(item, out));
        }
    }
}

/// Why there is no reply: more has to come, or what came is none.
enum Lack {
    Bytes,
    Sense,
}

fn literally(mut stream: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    loop {
        match reply(&mut stream, 0) {
            Ok(reply) => decoded.replies.push(reply),
            Err(Lack::Bytes) => return decoded,
            Err(Lack::Sense) => {
                decoded.malformed = true;
                return decoded;
            }
        }
    }
}

fn reply(stream: &mut &[u8], depth: usize) -> Result<Resp, Lack> {
    let end = stream.iter().position(|byte| *byte == b'\n').ok_or(Lack::Bytes)?;
    let line = stream[..end].strip_suffix(b"\r").ok_or(Lack::Sense)?;
    *stream = &stream[end + 1..];
    let (kind, rest) = line.split_first().ok_or(Lack::Sense)?;
    match kind {
        b'+' => Ok(Resp::Text(Bytes::copy_from_slice(rest))),
        b'-' => Ok(Resp::Error(String::from_utf8_lossy(rest).into_owned())),
        b':' => number(rest).map(Resp::Int),
        b'$' => match number(rest)? {
            -1 => Ok(Resp::Nil),
            length @ 0..=MAX_LENGTH => {
                let (text, after) = stream.split_at_checked(length as usize).ok_or(Lack::Bytes)?;
                let (ending, after) = after.split_at_checked(2).ok_or(Lack::Bytes)?;
                if ending != b"\r\n" {
                    return Err(Lack::Sense);
                }
                *stream = after;
                Ok(Resp::Text(Bytes::copy_from_slice(text)))
            }
            _ => Err(Lack::Sense),
        },
        b'*' => match number(rest)? {
            -1 => Ok(Resp::Nil),
            0 => Ok(Resp::Array(Vec::new())),
            1..=MAX_LENGTH if depth == MAX_DEPTH => Err(Lack::Sense),
            length @ 1..=MAX_LENGTH => {
                let items: Result<_, _> = (0..length).map(|_| reply(stream, depth + 1)).collect();
                items.map(Resp::Array)
            }
            _ => Err(Lack::Sense),
        },
        _ => Err(Lack::Sense),
    }
}

/// A sign, which may be absent, and digits.
fn number(text: &[u8]) -> Result<i64, Lack> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Lack::Sense);
    }
    let magnitude = digits.iter().try_fold(0_i128, |number, digit| {
        digit.is_ascii_digit().then(|| (number * 10 + i128::from(digit - b'0')).min(i128::from(u64::MAX)))
    });
    let magnitude = magnitude.ok_or(Lack::Sense)?;
    i64::try_from(if is_negative { -magnitude } else { magnitude }).map_err(|_| Lack::Sense)
}
