#![no_main]
//! Frames of a client: the decoder agrees with RFC 6455 and RFC 7692 read literally, however the stream is cut; holds no more than the limit;
//! and reads back what the encoder writes, compressed or not.

use flate2::{Decompress, FlushDecompress, Status};
use gateway_core::frame::{self, Close, Deflate, Event, FrameDecoder, Inflated, Terms};
use libfuzzer_sys::fuzz_target;
use mooring_fuzz::{Stream, measure};

const LIMITS: [usize; 4] = [0, 16, 1_000, 65_536];
/// What a decoder needs besides the message: a header, a control frame, bookkeeping.
const OVERHEAD: usize = 512;
/// What a decompressor needs.
const DECOMPRESSOR: usize = 128 * 1024;
/// More than any input.
const ENDLESS: usize = 1 << 30;

fuzz_target!(|input: &[u8]| {
    let Some(stream) = Stream::new(input) else { return };
    let limit = LIMITS[usize::from(stream.options) % LIMITS.len()];
    let terms = Terms { limit, deflate: stream.options & 4 != 0 };
    let expected = literally(stream.whole, terms);
    assert_eq!(decode([stream.whole], terms), expected, "the whole stream at once");
    assert_eq!(decode(stream.pieces(), terms), expected, "the stream in pieces");
    let endless = Terms { limit: ENDLESS, deflate: true };
    for message in &expected.messages {
        for frame in [message.encode(), message.compress()] {
            let again = decode([mask(&frame).as_slice()], endless);
            assert_eq!(again.messages, [message.clone()], "an encoded message");
        }
    }
});

/// [`Event`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// What a stream says, and the close code of what breaks it.
#[derive(Debug, Default)]
struct Decoded {
    messages: Vec<Message>,
    flaw: Option<u16>,
}

impl PartialEq for Decoded {
    /// Of a message that is both too large and no DEFLATE behind the limit, a decompressor may see either first.
    fn eq(&self, other: &Self) -> bool {
        let alike = |flaw: Option<u16>| flaw.map(|code| if code == 1009 { 1007 } else { code });
        self.messages == other.messages && alike(self.flaw) == alike(other.flaw)
    }
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, terms: Terms) -> Decoded {
    let Terms { limit, deflate } = terms;
    // What does not shrink grows by a little.
    let most = if deflate { limit + limit / 8 + 64 } else { limit };
    let mut decoder = FrameDecoder::default();
    let mut decompressor = Deflate::default();
    let mut decoded = Decoded::default();
    let mut held = 0;
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = piece.as_mut_slice();
        loop {
            let (next, taken) = measure(|| decoder.next(&mut rest, terms));
            held += taken.kept;
            assert!(held <= (most + OVERHEAD).cast_signed(), "{held} bytes are held");
            // A buffer that grows is there twice for a moment.
            assert!(taken.peak <= 2 * most + OVERHEAD, "{taken:?}");
            match next {
                Ok(None) => break,
                Ok(Some(Event::Fragment)) => {}
                Ok(Some(Event::Compressed { is_text, payload })) => {
                    let (inflated, taken) = measure(|| decompressor.inflate(is_text, payload, limit));
                    assert!(taken.peak <= 2 * limit + OVERHEAD + DECOMPRESSOR, "{taken:?}");
                    match inflated {
                        Ok(message) => {
                            decoded.messages.push((&message).into());
                            decompressor.recycle(message);
                        }
                        Err(error) => {
                            decoded.flaw = Some(error.close_code());
                            return decoded;
                        }
                    }
                }
                Ok(Some(event)) => decoded.messages.push(event.into()),
                Err(error) => {
                    decoded.flaw = Some(error.close_code());
                    return decoded;
                }
            }
            if let Some(Message::Close(_)) = decoded.messages.last() {
                return decoded;
            }
        }
    }
    decoded
}

impl From<&Inflated> for Message {
    fn from(message: &Inflated) -> Self {
        match message {
            Inflated::Text(text) => Self::Text(text.clone()),
            Inflated::Binary(bytes) => Self::Binary(bytes.clone()),
        }
    }
}

impl From<Event<'_>> for Message {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Compressed { .. } => unreachable!("it is inflated first"),
            Event::Fragment => unreachable!("it is part of a message"),
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(close) => Self::Close(close.map(|Close { code, reason }| (code, reason.to_owned()))),
        }
    }
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => frame::text(text.as_bytes()),
            Self::Binary(bytes) => frame::binary(bytes),
            Self::Ping(bytes) => frame::ping(bytes),
            Self::Pong(bytes) => frame::pong(bytes),
            Self::Close(Some((code, reason))) => frame::close(*code, reason),
            // A server always gives a code.
            Self::Close(None) => return vec![0x88, 0],
        }
        .to_vec()
    }

    /// The same for who negotiated compression.
    fn compress(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => Deflate::default().text(text.as_bytes()).to_vec(),
            Self::Binary(bytes) => Deflate::default().binary(bytes).to_vec(),
            _ => self.encode(),
        }
    }
}

/// Makes a server's frame a client's.
fn mask(frame: &[u8]) -> Vec<u8> {
    let key = [7, 0, 255, 42];
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut masked = frame[..header].to_vec();
    masked[1] |= 0x80;
    masked.extend(key);
    masked.extend(frame[header..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    masked
}

/// A frame's header as it is on the wire (section 5.2).
struct Header {
    is_final: bool,
    reserved: u8,
    opcode: u8,
    key: Option<[u8; 4]>,
    length: u64,
    is_shortest: bool,
    size: usize,
}

impl Header {
    /// Nothing while it is incomplete.
    fn read(stream: &[u8]) -> Option<Self> {
        let (first, second) = (*stream.first()?, *stream.get(1)?);
        let (length, mut size) = match second & 0x7f {
            126 => (u16::from_be_bytes(*stream.get(2..)?.first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*stream.get(2..)?.first_chunk()?), 10),
            short => (short.into(), 2),
        };
        let is_shortest = size
            == if length < 126 {
                2
            } else if length < 65_536 {
                4
            } else {
                10
            };
        let mut key = None;
        if second & 0x80 != 0 {
            key = Some(*stream.get(size..)?.first_chunk()?);
            size += 4;
        }
        let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        Some(Self { is_final, reserved, opcode, key, length, is_shortest, size })
    }
}

/// Sections 5 to 8 of RFC 6455, one after the other, over the whole stream at once.
fn literally(mut stream: &[u8], terms: Terms) -> Decoded {
    let Terms { limit, deflate } = terms;
    let mut decoded = Decoded::default();
    // Of the fragments so far: whether they are text, whether they are compressed, and what they say.
    let mut fragments: Option<(bool, bool, Vec<u8>)> = None;
    while let Some(header) = Header::read(stream) {
        let flaw = |code| Some(code);
        let Header { is_final, reserved, opcode, key, length, is_shortest, size } = header;
        let is_control = opcode >= 8;
        let is_known = matches!(opcode, 0..=2 | 8..=10);
        let fits = !is_control || (is_final && length <= 125);
        let in_turn = is_control || (opcode == 0) == fragments.is_some();
        // RFC 7692, section 6: the first bit, and only where a message begins.
        let may_be_compressed = deflate && matches!(opcode, 1 | 2);
        let is_agreed = reserved == 0 || (reserved == 0x40 && may_be_compressed);
        let Some(key) = key.filter(|_| is_agreed && is_known && is_shortest && fits && in_turn) else {
            decoded.flaw = flaw(1002);
            return decoded;
        };
        let is_compressed = fragments.as_ref().map_or(reserved != 0, |(_, is_compressed, _)| *is_compressed);
        let most = if is_compressed { limit + limit / 8 + 64 } else { limit };
        let room = most.saturating_sub(fragments.as_ref().map_or(0, |(.., payload)| payload.len())) as u64;
        if !is_control && length > room {
            decoded.flaw = flaw(1009);
            return decoded;
        }
        let rest = &stream[size..];
        let arrived = rest.len().min(length as usize);
        let payload: Vec<u8> = rest[..arrived].iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
        let is_whole = arrived as u64 == length;
        stream = &rest[arrived..];
        if is_control {
            if !is_whole {
                return decoded;
            }
            match control(opcode, payload) {
                Ok(message) => decoded.messages.push(message),
                Err(code) => decoded.flaw = flaw(code),
            }
            if opcode == 8 || decoded.flaw.is_some() {
                return decoded;
            }
            continue;
        }
        let (is_text, _, message) = fragments.get_or_insert_with(|| (opcode == 1, is_compressed, Vec::new()));
        message.extend(payload);
        let is_over = is_whole && is_final;
        if is_compressed && is_over {
            match inflate(message, limit) {
                Ok(inflated) => *message = inflated,
                Err(code) => {
                    decoded.flaw = flaw(code);
                    return decoded;
                }
            }
        }
        let is_utf8 = match std::str::from_utf8(message) {
            Ok(_) => true,
            Err(error) => !is_over && error.error_len().is_none(),
        };
        if *is_text && !is_utf8 && (is_over || !is_compressed) {
            decoded.flaw = flaw(1007);
            return decoded;
        }
        if !is_whole {
            return decoded;
        }
        if is_over && let Some((is_text, _, message)) = fragments.take() {
            decoded.messages.push(match String::from_utf8(message) {
                Ok(text) if is_text => Message::Text(text),
                Ok(text) => Message::Binary(text.into_bytes()),
                Err(error) => Message::Binary(error.into_bytes()),
            });
        }
    }
    decoded
}

/// RFC 7692, section 7.2.2, by another decompressor: what was cut off at the end is added; a last block ends nothing; and in the end there is
/// nothing left to say.
fn inflate(message: &[u8], limit: usize) -> Result<Vec<u8>, u16> {
    let mut inflated = Vec::with_capacity(limit + 1);
    let mut state = Decompress::new(false);
    let (mut said, mut last_blocks) = (0, 0);
    if message.is_empty() {
        return Ok(inflated);
    }
    for (is_ending, mut part) in [(false, message), (true, &[0, 0, 0xff, 0xff, 3, 0][..])] {
        loop {
            let before = state.total_in();
            let status = state.decompress_vec(part, &mut inflated, FlushDecompress::None);
            part = &part[(state.total_in() - before) as usize..];
            match status {
                _ if inflated.len() > limit => return Err(1009),
                Ok(Status::StreamEnd) if is_ending && inflated.len() > said => return Err(1007),
                Ok(Status::StreamEnd) if part.is_empty() => return Ok(inflated),
                Ok(Status::StreamEnd) if last_blocks < 16 => {
                    last_blocks += 1;
                    state.reset(false);
                }
                Ok(_) if part.is_empty() && !is_ending => break,
                _ => return Err(1007),
            }
        }
        said = inflated.len();
    }
    Err(1007)
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Message, u16> {
    match (opcode, payload.as_slice()) {
        (9, _) => Ok(Message::Ping(payload)),
        (10, _) => Ok(Message::Pong(payload)),
        (_, []) => Ok(Message::Close(None)),
        (_, [_]) => Err(1002),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            // Section 7.4, and the codes registered since.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(1002);
            }
            let reason = String::from_utf8(reason.to_vec()).map_err(|_| 1007_u16)?;
            Ok(Message::Close(Some((code, reason))))
        }
    }
}
