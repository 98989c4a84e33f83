//! What is published: 128 bytes that name their publisher and their place in its sequence.

/// Bytes of a message, as the figures say.
pub const SIZE: usize = 128;
/// Begins a message, and is nowhere else in it nor in what the protocols put around it.
const MARK: u8 = b'@';
/// Mark, two digits of the publisher, eight of the sequence.
const HEAD: usize = 11;

/// The message `sequence` of a publisher.
pub fn encode(publisher: u8, sequence: u32) -> [u8; SIZE] {
    let mut message = [b'x'; SIZE];
    message[0] = MARK;
    hex(&mut message[1..3], publisher.into());
    hex(&mut message[3..HEAD], sequence);
    message
}

/// The messages in a frame's payload, whatever a protocol has put around them, as publisher and sequence.
pub fn decode(payload: &[u8]) -> impl Iterator<Item = (u8, u32)> + '_ {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|&byte| byte == MARK)?;
        let message = rest.get(start..start + SIZE)?;
        rest = &rest[start + SIZE..];
        Some((number(&message[1..3]) as u8, number(&message[3..HEAD])))
    })
}

fn hex(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_whatever_is_around_them() {
        let payload = [b"{\"data\":\"", &encode(3, 70_000)[..], b"\"}\n", &encode(31, 1), b"\r\n"].concat();
        assert_eq!(decode(&payload).collect::<Vec<_>>(), [(3, 70_000), (31, 1)]);
    }

    #[test]
    fn what_is_no_whole_message_is_none() {
        assert_eq!(decode(b"{}").count() + decode(&encode(0, 0)[..SIZE - 1]).count(), 0);
    }
}
