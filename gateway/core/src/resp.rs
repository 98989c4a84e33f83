//! Replies of Redis, decoded as they arrive (RESP2: <https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! The client library hands live messages on through a queue without a bound; reading the socket here lets TCP slow Redis down
//! instead, and Redis cut off a node that is too slow, which then reads what it missed.

use bytes::{Buf, Bytes, BytesMut};

/// Nesting of arrays.
const MAX_DEPTH: usize = 8;
/// Bytes of one reply with all that is in it, far above what is asked for at once.
const MAX_REPLY: usize = 64 * 1024 * 1024;
/// A line, which is a number or an error text.
const MAX_LINE: usize = 64 * 1024;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resp {
    /// No value.
    Nil,
    /// A number.
    Int(i64),
    /// A bulk or a simple string.
    Text(Bytes),
    /// An error, in Redis's words.
    Error(String),
    /// Replies in a reply.
    Array(Vec<Resp>),
}

/// The bytes are no reply.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis sent what is no RESP2: {0}")]
pub struct Malformed(&'static str);

/// Keeps an unfinished reply between reads, so that a long one is not looked through again and again.
#[derive(Debug, Default)]
pub struct RespDecoder {
    open: Vec<(usize, Vec<Resp>)>,
    /// Bytes of the unfinished reply so far.
    held: usize,
}

impl RespDecoder {
    /// Takes the next whole reply off the front of `input`; nothing when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are no RESP2. Nothing that follows is to be read.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Resp>, Malformed> {
        while let Some(item) = self.item(input)? {
            if let Some(reply) = self.close(item) {
                self.held = 0;
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// The next element; `None` inside an opened array.
    #[expect(clippy::option_option, reason = "more bytes needed, an array opened, an element")]
    fn next(&mut self, input: &mut BytesMut) -> Result<Option<Option<Resp>>, Malformed> {
        let Some(end) = input.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            return if input.len() < MAX_LINE { Ok(None) } else { Err(Malformed("a line without end")) };
        };
        let line = input[..end].strip_suffix(b"\r").and_then(|line| line.get(1..));
        let line = line.ok_or(Malformed("a line that is empty or ends without a carriage return"))?;
        match input[0] {
            b'+' => {
                let text = Bytes::copy_from_slice(line);
                input.advance(end + 1);
                Ok(Some(Some(Resp::Text(text))))
            }
            b'-' => {
                let text = String::from_utf8_lossy(line).into_owned();
                input.advance(end + 1);
                Ok(Some(Some(Resp::Error(text))))
            }
            b':' => {
                let number = number(line)?;
                input.advance(end + 1);
                Ok(Some(Some(Resp::Int(number))))
            }
            b'$' => {
                let Some(length) = length(line)? else {
                    input.advance(end + 1);
                    return Ok(Some(Some(Resp::Nil)));
                };
                // Room is made as bytes arrive, not as they are announced.
                let Some(rest) = input.get(end + 1 + length..).filter(|rest| rest.len() >= 2) else {
                    return Ok(None);
                };
                if !rest.starts_with(b"\r\n") {
                    return Err(Malformed("a string of another length than it says"));
                }
                input.advance(end + 1);
                let text = input.split_to(length).freeze();
                input.advance(2);
                Ok(Some(Some(Resp::Text(text))))
            }
            b'*' => {
                let length = length(line)?;
                input.advance(end + 1);
                match length {
                    None => Ok(Some(Some(Resp::Nil))),
                    Some(0) => Ok(Some(Some(Resp::Array(Vec::new())))),
                    Some(length) if self.open.len() < MAX_DEPTH => {
                        self.open.push((length, Vec::with_capacity(length.min(1024))));
                        Ok(Some(None))
                    }
                    Some(_) => Err(Malformed("arrays nested too deeply")),
                }
            }
            _ => Err(Malformed("an unknown type")),
        }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.held += bytes;
        if self.held <= MAX_REPLY {
            Ok(())
        } else {
            Err(Malformed("a reply larger than any that is asked for"))
        }
    }

    fn item(&mut self, input: &mut BytesMut) -> Result<Option<Resp>, Malformed> {
        loop {
            match self.next(input)? {
                None => return Ok(None),
                Some(Some(item)) => {
                    let bytes = if let Resp::Text(text) = &item { text.len() } else { 0 };
                    self.hold(bytes + size_of::<Resp>())?;
                    return Ok(Some(item));
                }
                Some(None) => {}
            }
        }
    }

    /// Puts an element into the innermost open array; yields the reply once all arrays are whole.
    fn close(&mut self, mut item: Resp) -> Option<Resp> {
        while let Some((length, mut items)) = self.open.pop() {
            items.push(item);
            if items.len() < length {
                self.open.push((length, items));
                return None;
            }
            item = Resp::Array(items);
        }
        Some(item)
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Malformed("a bad number"))
}

/// A length; nothing for -1, which is nil.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match number(line)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= MAX_REPLY => Ok(Some(length)),
            _ => Err(Malformed("a bad length")),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(reply: &Resp, out: &mut Vec<u8>) {
        match reply {
            Resp::Nil => out.extend(b"$-1\r\n"),
            Resp::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
            Resp::Text(text) => {
                out.extend(format!("${}\r\n", text.len()).bytes());
                out.extend(text.iter());
                out.extend(b"\r\n");
            }
            Resp::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Resp::Array(items) => {
                out.extend(format!("*{}\r\n", items.len()).bytes());
                items.iter().for_each(|item| encode(item, out));
            }
        }
    }

    fn reply() -> impl Strategy<Value = Resp> {
        let leaf = prop_oneof![
            Just(Resp::Nil),
            any::<i64>().prop_map(Resp::Int),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|text| Resp::Text(text.into())),
            "[A-Z]{1,8} [a-z ]{0,20}".prop_map(Resp::Error),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Resp::Array))
    }

    proptest! {
        #[test]
        fn replies_come_out_as_they_went_in_however_they_are_cut(
            replies in prop::collection::vec(reply(), 0..6),
            cuts in prop::collection::vec(1..20usize, 1..50),
        ) {
            let mut bytes = Vec::new();
            replies.iter().for_each(|reply| encode(reply, &mut bytes));
            let (mut decoder, mut input, mut decoded) = (RespDecoder::default(), BytesMut::new(), Vec::new());
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                input.extend_from_slice(piece);
                while let Some(reply) = decoder.decode(&mut input).unwrap() {
                    decoded.push(reply);
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(decoded, replies);
        }

        #[test]
        fn whatever_arrives_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut decoder, mut input) = (RespDecoder::default(), BytesMut::from(bytes.as_slice()));
            while let Ok(Some(_)) = decoder.decode(&mut input) {}
        }
    }
    #[test]
    fn what_does_not_end_as_it_should_is_refused() {
        for bytes in ["+OK\n", "\r\n", "\n", "$2\r\nabXY+OK\r\n"] {
            let result = RespDecoder::default().decode(&mut BytesMut::from(bytes));
            assert!(result.is_err(), "{bytes:?}: {result:?}");
        }
    }

    #[test]
    fn a_reply_without_end_is_refused_before_it_fills_the_memory() {
        let mut decoder = RespDecoder::default();
        let mut input = BytesMut::from(format!("*{}\r\n", MAX_REPLY).as_str());
        let mut elements = 0;
        let error = loop {
            input.extend_from_slice(b":1\r\n");
            match decoder.decode(&mut input) {
                Ok(None) => elements += 1,
                other => break other,
            }
        };
        assert_eq!(error, Err(Malformed("a reply larger than any that is asked for")));
        assert!(elements * size_of::<Resp>() <= MAX_REPLY, "{elements}");
        assert!(RespDecoder::default().decode(&mut BytesMut::from("$67108865\r\n")).is_err());
    }

    #[test]
    fn a_string_takes_memory_as_it_arrives() {
        let mut input = BytesMut::from("$67108864\r\nabc");
        assert_eq!(RespDecoder::default().decode(&mut input), Ok(None));
        assert!(input.capacity() < 1024, "{}", input.capacity());
    }
}
