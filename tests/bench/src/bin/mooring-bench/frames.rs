//! WebSocket frames as a client sees them (RFC 6455, section 5.2), with no more checks than counting messages needs.

/// Opcodes of RFC 6455, section 11.8.
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame from a server, so without a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
}

/// Takes the next whole frame off `bytes`; nothing when more has to arrive first.
pub fn next<'a>(bytes: &mut &'a [u8]) -> Option<Frame<'a>> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second & 0x7F {
        126 => rest.split_first_chunk::<2>().map(|(l, rest)| (u64::from(u16::from_be_bytes(*l)), rest))?,
        127 => rest.split_first_chunk::<8>().map(|(l, rest)| (u64::from_be_bytes(*l), rest))?,
        short => (u64::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Frame { opcode: first & 0x0F, payload })
}

/// A client's frame. Its mask is zero, which is a mask (section 5.3) and leaves the payload as it is.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_are_taken_one_by_one() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut bytes = masked(BINARY, &payload);
            bytes[1] &= 0x7F;
            bytes.drain(bytes.len() - length - 4..bytes.len() - length);
            bytes.push(0x89);
            let mut rest = bytes.as_slice();
            assert_eq!(next(&mut rest), Some(Frame { opcode: BINARY, payload: &payload }));
            assert_eq!((next(&mut rest), rest), (None, &[0x89][..]));
        }
    }

    #[test]
    fn a_part_of_a_frame_is_left_where_it_is() {
        let bytes = [0x82, 126, 0, 200, 1, 2];
        for length in 0..bytes.len() {
            let mut rest = &bytes[..length];
            assert_eq!((next(&mut rest), rest.len()), (None, length));
        }
    }
}
