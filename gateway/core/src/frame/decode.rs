//! Decoding what a client sends.

use std::{io::Cursor, mem};

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{deflate::compressed_limit, encode::MAX_CONTROL, mask::unmask};

/// The longest frame header: 2 bytes, 8 of length, 4 of mask (RFC 6455, section 5.2).
const MAX_HEADER: usize = 14;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of the largest message.
    pub limit: usize,
    /// permessage-deflate was negotiated.
    pub deflate: bool,
}

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A whole message, for [`super::Deflate::inflate`].
    Compressed {
        /// It is text once it is inflated, and binary otherwise.
        is_text: bool,
        /// As it came.
        payload: &'a [u8],
    },
    /// A frame of a message of which more frames are to come.
    Fragment,
    /// To be answered by [`super::pong`] with the same payload.
    Ping(&'a [u8]),
    /// An answer to a ping, or unsolicited.
    Pong(&'a [u8]),
    /// The client closes; nothing that follows is to be read. Empty when it gave no code.
    Close(Option<Close<'a>>),
}

/// Body of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// A code that may be sent (section 7.4).
    pub code: u16,
    /// For a person.
    pub reason: &'a str,
}

/// How a client broke the framing. Nothing that follows is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Section 5.1.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// Nothing was negotiated that would use it, or not in such a frame (RFC 7692, section 6).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// Section 5.2.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// Section 5.2: the shortest form of the length has to be used.
    #[error("a frame's length is not in its shortest form")]
    PaddedLength,
    /// Section 5.5.
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// Section 5.5.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// Section 5.4.
    #[error("a continuation without a message to continue")]
    UnexpectedContinuation,
    /// Section 5.4.
    #[error("a new message within a fragmented one")]
    InterleavedMessage,
    /// Section 5.5.1: a body of one byte, or a code that must not be sent.
    #[error("a close frame without a valid code")]
    InvalidClose,
    /// Section 8.1.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// RFC 7692, section 7.2.2.
    #[error("a compressed message is not DEFLATE")]
    InvalidDeflate,
    /// The message is longer than the caller allows.
    #[error("a message is longer than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
}

impl FrameError {
    /// The close code it means (section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => 1007,
            Self::TooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}

/// Decodes one connection's stream; 8 bytes while no frame and no message is unfinished.
#[derive(Debug, Default)]
pub struct FrameDecoder(Option<Box<Partial>>);

/// What is unfinished, between reads.
#[derive(Debug)]
struct Partial {
    /// Start of a header.
    header: [u8; MAX_HEADER],
    header_length: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// Payload of a control frame, which may come between the fragments of a message.
    control: [u8; MAX_CONTROL],
    control_length: usize,
    /// The message whose fragments are arriving.
    message: Option<Message>,
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// Turned so that its first byte belongs to the next byte of the payload.
    mask: [u8; 4],
    /// Bytes of payload yet to come.
    remaining: usize,
    /// It begins a compressed message.
    is_compressed: bool,
}

#[derive(Debug)]
struct Message {
    is_text: bool,
    is_compressed: bool,
    payload: Vec<u8>,
    /// Bytes of a text's payload known to be UTF-8; what follows is the start of one character.
    valid: usize,
    /// The message was handed out, and its memory can go.
    done: bool,
}

impl FrameDecoder {
    /// Takes the next event off the front of `input`, which it unmasks in place; nothing when `input` is used up.
    ///
    /// Call it until it yields nothing: what an unfinished message needs is kept, what a finished one took is freed. A message that is
    /// too large is refused as soon as a header announces it. After an error or [`Event::Close`] drop the decoder.
    ///
    /// # Errors
    /// The client broke RFC 6455 or the limit; [`FrameError::close_code`] is what to close with.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b mut [u8],
        terms: Terms,
    ) -> Result<Option<Event<'a>>, FrameError> {
        self.release();
        if self.0.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((frame, header)) = Frame::parse(input, None, terms)?
                && frame.is_message()
                && input.len() - header >= frame.remaining
            {
                let whole = advance(input, header + frame.remaining);
                unmask(&mut whole[header..], frame.mask);
                return event(frame.opcode, frame.is_compressed, &whole[header..]).map(Some);
            }
        }
        self.0.get_or_insert_default().next(input, terms)
    }

    /// Whether a message or a frame has begun and not ended, once [`FrameDecoder::next`] has yielded nothing.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes that the unfinished take.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| {
            let payload = partial.message.as_ref().map_or(0, |message| message.payload.capacity());
            size_of::<Partial>() + payload
        })
    }

    /// Frees what a finished message or control frame took.
    fn release(&mut self) {
        self.0.take_if(|partial| {
            partial.message.take_if(|message| message.done);
            partial.message.is_none() && partial.frame.is_none() && partial.header_length == 0
        });
    }
}

impl Default for Partial {
    fn default() -> Self {
        Self {
            header: [0; MAX_HEADER],
            header_length: 0,
            frame: None,
            control: [0; MAX_CONTROL],
            control_length: 0,
            message: None,
        }
    }
}

impl Partial {
    fn next(&mut self, input: &mut &mut [u8], terms: Terms) -> Result<Option<Event<'_>>, FrameError> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                match self.read_header(input, terms)? {
                    Some(frame) => self.begin(frame),
                    None => return Ok(None),
                }
                continue;
            };
            self.read_payload(&mut frame, input)?;
            match frame.opcode {
                _ if frame.remaining > 0 => {
                    self.frame = Some(frame);
                    return Ok(None);
                }
                OpCode::Control(_) => {
                    return event(frame.opcode, false, &self.control[..self.control_length]).map(Some);
                }
                OpCode::Data(_) if frame.is_final => return self.finish(),
                OpCode::Data(_) => return Ok(Some(Event::Fragment)),
            }
        }
    }

    /// The next header, or nothing while it is incomplete.
    fn read_header(&mut self, input: &mut &mut [u8], terms: Terms) -> Result<Option<Frame>, FrameError> {
        let held = self.header_length;
        let end = MAX_HEADER.min(held + input.len());
        self.header[held..end].copy_from_slice(&input[..end - held]);
        let parsed = Frame::parse(&self.header[..end], self.message.as_ref(), terms)?;
        match parsed {
            Some((_, length)) => {
                advance(input, length - held);
                self.header_length = 0;
            }
            None => {
                advance(input, end - held);
                self.header_length = end;
            }
        }
        Ok(parsed.map(|(frame, _)| frame))
    }

    fn begin(&mut self, frame: Frame) {
        match frame.opcode {
            OpCode::Control(_) => self.control_length = 0,
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(kind) => {
                self.message = Some(Message {
                    is_text: kind == Data::Text,
                    is_compressed: frame.is_compressed,
                    payload: Vec::new(),
                    valid: 0,
                    done: false,
                });
            }
        }
        self.frame = Some(frame);
    }

    fn read_payload(&mut self, frame: &mut Frame, input: &mut &mut [u8]) -> Result<(), FrameError> {
        let bytes = advance(input, frame.remaining.min(input.len()));
        unmask(bytes, frame.mask);
        frame.mask.rotate_left(bytes.len() % 4);
        frame.remaining -= bytes.len();
        match (frame.opcode, &mut self.message) {
            (OpCode::Data(_), Some(message)) => message.append(bytes, frame.remaining),
            _ => {
                let end = self.control_length + bytes.len();
                self.control[self.control_length..end].copy_from_slice(bytes);
                self.control_length = end;
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Event<'_>>, FrameError> {
        let Some(message) = &mut self.message else { return Ok(None) };
        message.done = true;
        let kind = if message.is_text { Data::Text } else { Data::Binary };
        event(OpCode::Data(kind), message.is_compressed, &message.payload).map(Some)
    }
}

impl Message {
    /// Grows by doubling, yet never past what the headers so far announced, and so never past the limit.
    fn append(&mut self, bytes: &[u8], to_come: usize) -> Result<(), FrameError> {
        let needed = self.payload.len() + bytes.len();
        if self.payload.capacity() < needed {
            let capacity = (2 * self.payload.capacity()).clamp(needed, needed + to_come);
            self.payload.reserve_exact(capacity - self.payload.len());
        }
        self.payload.extend_from_slice(bytes);
        if self.is_text && !self.is_compressed {
            self.valid += match std::str::from_utf8(&self.payload[self.valid..]) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(FrameError::InvalidUtf8),
            };
        }
        Ok(())
    }
}

impl Frame {
    /// Parses and judges a header at the start of `bytes`; its length comes along. `message` is the one whose fragments are arriving.
    fn parse(
        bytes: &[u8],
        message: Option<&Message>,
        terms: Terms,
    ) -> Result<Option<(Self, usize)>, FrameError> {
        let mut cursor = Cursor::new(bytes);
        // A reserved opcode is all that this parser refuses.
        let reserved = |_| FrameError::ReservedOpcode(bytes.first().map_or(0, |byte| byte & 0x0f));
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(reserved)? else {
            return Ok(None);
        };
        let header_length = cursor.position();
        let begins_message = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if (header.rsv1 && !(terms.deflate && begins_message)) || header.rsv2 || header.rsv3 {
            return Err(FrameError::ReservedBit);
        }
        let mask = header.mask.ok_or(FrameError::Unmasked)?;
        if header_length != header.len(length) as u64 {
            return Err(FrameError::PaddedLength);
        }
        match (header.opcode, message) {
            (OpCode::Control(_), _) if !header.is_final => return Err(FrameError::FragmentedControl),
            (OpCode::Control(_), _) if length > MAX_CONTROL as u64 => return Err(FrameError::LongControl),
            (OpCode::Data(Data::Continue), None) => return Err(FrameError::UnexpectedContinuation),
            (OpCode::Data(Data::Text | Data::Binary), Some(_)) => return Err(FrameError::InterleavedMessage),
            _ => {}
        }
        let room = match (header.opcode, message) {
            (OpCode::Control(_), _) => MAX_CONTROL,
            (OpCode::Data(_), None) => longest(header.rsv1, terms),
            (OpCode::Data(_), Some(message)) => {
                longest(message.is_compressed, terms).saturating_sub(message.payload.len())
            }
        };
        match usize::try_from(length) {
            Ok(remaining) if remaining <= room => Ok(Some((
                Self {
                    opcode: header.opcode,
                    is_final: header.is_final,
                    mask,
                    remaining,
                    is_compressed: header.rsv1,
                },
                header_length as usize,
            ))),
            _ => Err(FrameError::TooLarge { limit: terms.limit }),
        }
    }

    /// Whether it is a message of its own.
    fn is_message(&self) -> bool {
        self.is_final && self.opcode != OpCode::Data(Data::Continue)
    }
}

/// Bytes of a message as it comes.
fn longest(is_compressed: bool, terms: Terms) -> usize {
    if is_compressed { compressed_limit(terms.limit) } else { terms.limit }
}

/// What a whole, unmasked payload means.
fn event(opcode: OpCode, is_compressed: bool, payload: &[u8]) -> Result<Event<'_>, FrameError> {
    Ok(match opcode {
        OpCode::Data(kind) if is_compressed => Event::Compressed { is_text: kind == Data::Text, payload },
        OpCode::Data(Data::Text) => Event::Text(utf8(payload)?),
        OpCode::Data(_) => Event::Binary(payload),
        OpCode::Control(Control::Ping) => Event::Ping(payload),
        OpCode::Control(Control::Pong) => Event::Pong(payload),
        OpCode::Control(_) => Event::Close(match payload {
            [] => None,
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !may_be_sent(code) {
                    return Err(FrameError::InvalidClose);
                }
                Some(Close { code, reason: utf8(reason)? })
            }
            [_] => return Err(FrameError::InvalidClose),
        }),
    })
}

/// Section 7.4, with the codes registered since (<https://www.iana.org/assignments/websocket>).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

fn utf8(bytes: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(bytes).map_err(|_| FrameError::InvalidUtf8)
}

/// Takes `count` bytes off the front of `input`.
fn advance<'b>(input: &mut &'b mut [u8], count: usize) -> &'b mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(count);
    *input = rest;
    front
}

#[cfg(test)]
mod tests;
