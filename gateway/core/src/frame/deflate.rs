//! permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself. So one compressor and one decompressor
//! serve all connections of a shard, no connection needs memory for it, and what goes to many is compressed once.

use std::mem;

use bytes::Bytes;
use miniz_oxide::{
    deflate::core::{CompressorOxide, TDEFLFlush, compress, create_comp_flags_from_zip_params},
    inflate::{
        TINFLStatus,
        core::{
            DecompressorOxide, decompress,
            inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
        },
    },
};

use super::{
    decode::FrameError,
    encode::{self, BINARY, TEXT},
};

/// Messages below this are sent as they are. By itself so little shrinks by a packet at most, and not at all where it fits into one anyway,
/// while a compressor is made ready for each message.
const THRESHOLD: usize = 512;
/// What every compressed message ends with, and what is not sent (section 7.2.1).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// What ends a message that is read: what was not sent, and an empty last block (RFC 1951, section 3.2.6), by which one that is whole is
/// told from one that breaks off.
const ENDING: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];
/// Memory that stays allocated for messages, in each direction.
const KEPT: usize = 128 * 1024;
/// Memory that an inflated message begins with; it doubles.
const FIRST: usize = 4096;
/// The fastest: messages are short, and each is compressed on its shard's thread.
const LEVEL: i32 = 1;
/// Last blocks of one message at most (section 7.2.3.4). Nobody needs two, and the decompressor starts anew after each.
const LAST_BLOCKS: usize = 16;

/// The compressor and the decompressor of one shard, made when they are first needed.
#[derive(Default)]
pub struct Deflate {
    compressor: Option<Box<CompressorOxide>>,
    decompressor: Option<Box<DecompressorOxide>>,
    /// Where messages are written.
    compressed: Vec<u8>,
    /// The same for those that are read; empty in between.
    inflated: Vec<u8>,
}

/// A message that came compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inflated {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Inflated {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Bytes that a message of `limit` bytes may take when it is compressed: what does not shrink grows a little, by up to a bit for each byte
/// (RFC 1951, section 3.2.6).
pub(super) const fn compressed_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8 + 64)
}

impl Deflate {
    /// A text message for who negotiated compression; `payload` is UTF-8.
    pub fn text(&mut self, payload: &[u8]) -> Bytes {
        self.message(TEXT, payload)
    }

    /// A binary message for who negotiated compression.
    pub fn binary(&mut self, payload: &[u8]) -> Bytes {
        self.message(BINARY, payload)
    }

    fn message(&mut self, opcode: u8, payload: &[u8]) -> Bytes {
        let frame = match self.compress(payload) {
            Some(compressed) => encode::compressed(opcode, compressed),
            None => encode::frame(opcode, payload),
        };
        self.compressed.truncate(KEPT);
        self.compressed.shrink_to(KEPT);
        frame
    }

    /// The message in fewer bytes; nothing when it is too short for that, or does not shrink.
    fn compress(&mut self, payload: &[u8]) -> Option<&[u8]> {
        if payload.len() < THRESHOLD {
            return None;
        }
        let compressor = self.compressor.get_or_insert_with(|| {
            // No window of bits means no header of zlib's.
            Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, 0, 0)))
        });
        compressor.reset();
        if self.compressed.len() < payload.len() {
            self.compressed.resize(payload.len(), 0);
        }
        let room = &mut self.compressed[..payload.len()];
        let (_, read, written) = compress(compressor, payload, room, TDEFLFlush::Sync);
        // Where no room is left there may be more to come.
        let is_whole = read == payload.len() && written < payload.len();
        self.compressed[..written].strip_suffix(&FLUSHED).filter(|_| is_whole)
    }

    /// A compressed message as it was; [`Deflate::recycle`] takes its memory back.
    ///
    /// # Errors
    /// It is no DEFLATE, no UTF-8 where it has to be, or more than `limit` bytes, of which no more than that is kept.
    pub fn inflate(&mut self, is_text: bool, payload: &[u8], limit: usize) -> Result<Inflated, FrameError> {
        let mut message = mem::take(&mut self.inflated);
        // That is no DEFLATE, but what some send for an empty message.
        if !payload.is_empty() {
            let decompressor = self.decompressor.get_or_insert_default();
            inflate(decompressor, payload, limit, &mut message)?;
        }
        if !is_text {
            return Ok(Inflated::Binary(message));
        }
        String::from_utf8(message).map(Inflated::Text).map_err(|_| FrameError::InvalidUtf8)
    }

    /// Takes the memory of a message for the next one.
    pub fn recycle(&mut self, message: Inflated) {
        let mut message = match message {
            Inflated::Text(text) => text.into_bytes(),
            Inflated::Binary(bytes) => bytes,
        };
        message.clear();
        message.shrink_to(KEPT);
        self.inflated = message;
    }
}

fn inflate(
    decompressor: &mut DecompressorOxide,
    payload: &[u8],
    limit: usize,
    message: &mut Vec<u8>,
) -> Result<(), FrameError> {
    const FLAGS: u32 = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (mut input, mut last_blocks) = (payload, 0);
    // What lies before a last block is out of reach behind it.
    let (mut start, mut length) = (0, 0);
    // Its length where the ending begins, which says nothing more.
    let mut said = None;
    decompressor.init();
    loop {
        let (status, read, written) =
            decompress(decompressor, input, &mut message[start..], length - start, FLAGS);
        input = &input[read..];
        length += written;
        if length > limit {
            return Err(FrameError::TooLarge { limit });
        }
        match status {
            TINFLStatus::Done if said.is_some_and(|said| said < length) => {
                return Err(FrameError::InvalidDeflate);
            }
            TINFLStatus::Done if input.is_empty() => {
                message.truncate(length);
                return Ok(());
            }
            TINFLStatus::Done if last_blocks < LAST_BLOCKS => {
                last_blocks += 1;
                start = length;
                decompressor.init();
            }
            TINFLStatus::NeedsMoreInput if said.is_none() => {
                said = Some(length);
                input = &ENDING;
            }
            TINFLStatus::HasMoreOutput if message.len() <= limit => grow(message, limit),
            _ => return Err(FrameError::InvalidDeflate),
        }
    }
}

/// Doubles the room for a message, up to a byte more than it may have, by which it is seen that there is more.
fn grow(message: &mut Vec<u8>, limit: usize) {
    let room = (2 * message.len()).max(FIRST).min(limit.saturating_add(1));
    message.reserve_exact(room - message.len());
    message.resize(room, 0);
}

#[cfg(test)]
mod tests;
