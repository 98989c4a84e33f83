use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 10_000;

/// A message as a client compresses it.
fn compressed(payload: &[u8], level: u32, end: FlushCompress) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(2 * payload.len() + 1000);
    let mut compress = Compress::new(Compression::new(level), false);
    compress.compress_vec(payload, &mut compressed, end).unwrap();
    assert_eq!(compress.total_in(), payload.len() as u64);
    compressed
}

/// The same, without its end.
fn sent(payload: &[u8], level: u32) -> Vec<u8> {
    let mut sent = compressed(payload, level, FlushCompress::Sync);
    assert!(sent.ends_with(&FLUSHED));
    sent.truncate(sent.len() - FLUSHED.len());
    sent
}

/// First byte and payload of a server's frame.
fn parts(frame: &[u8]) -> (u8, &[u8]) {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (frame[0], &frame[header..])
}

fn binary(payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    match Deflate::default().inflate(false, payload, LIMIT)? {
        Inflated::Binary(bytes) => Ok(bytes),
        Inflated::Text(text) => panic!("binary became text: {text}"),
    }
}

/// Bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn only_what_is_long_enough_and_shrinks_is_compressed() {
    let mut deflate = Deflate::default();
    let text = "{\"a\":1}".repeat(100);
    for (payload, is_compressed) in [
        (&text.as_bytes()[..THRESHOLD - 1], false),
        (&text.as_bytes()[..THRESHOLD], true),
        (&noise(THRESHOLD), false),
        (&noise(100_000), false),
        (text.as_bytes(), true),
    ] {
        for (frame, plain) in [(deflate.text(payload), 0x81), (deflate.binary(payload), 0x82)] {
            let (first, body) = parts(&frame);
            assert_eq!(first, if is_compressed { plain | 0x40 } else { plain }, "{} bytes", payload.len());
            assert!(if is_compressed { body.len() < payload.len() / 2 } else { body == payload });
        }
    }
}

#[test]
fn every_example_of_the_rfc_is_read() {
    // Section 7.2.3: one block, a stored one, a last one, two, and an empty one.
    for hello in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        let inflated = Deflate::default().inflate(true, hello, LIMIT);
        assert_eq!(inflated, Ok(Inflated::Text("Hello".to_owned())), "{hello:x?}");
    }
    for empty in [&b"\x00"[..], b""] {
        assert_eq!(binary(empty), Ok(vec![]), "{empty:x?}");
    }
}

#[test]
fn a_message_is_read_however_it_is_compressed() {
    for payload in [b"x".repeat(LIMIT), noise(LIMIT), "grüße ".repeat(500).into_bytes()] {
        for level in 0..=9 {
            assert_eq!(binary(&sent(&payload, level)), Ok(payload.clone()), "level {level}");
            let last = compressed(&payload, level, FlushCompress::Finish);
            assert_eq!(binary(&last), Ok(payload.clone()), "level {level}, with a last block");
            let padded = [&last[..], &[0]].concat();
            assert_eq!(
                binary(&padded),
                Ok(payload.clone()),
                "level {level}, with a last block and its padding"
            );
        }
    }
    let last = compressed(b"one ", 6, FlushCompress::Finish);
    assert_eq!(binary(&[last, sent(b"and two", 6)].concat()), Ok(b"one and two".to_vec()));
}

#[test]
fn a_message_that_breaks_off_or_is_no_deflate_is_refused() {
    for payload in
        [&b"Hello"[..], "a longer message, so that it has matches, a longer message".repeat(9).as_bytes()]
    {
        for level in [0, 1, 6] {
            let whole = sent(payload, level);
            for length in 1..whole.len() {
                let part = &whole[..length];
                // That is an empty block, and so a message.
                let expected = if part == [0] { Ok(vec![]) } else { Err(FrameError::InvalidDeflate) };
                assert_eq!(binary(part), expected, "{length} at {level}");
            }
        }
    }
    for flawed in [&b"\xff"[..], b"\x07", b"Hello", &noise(300), &b"\x03\x00".repeat(LAST_BLOCKS + 2)] {
        assert_eq!(binary(flawed), Err(FrameError::InvalidDeflate), "{flawed:x?}");
    }
    assert_eq!(FrameError::InvalidDeflate.close_code(), 1007);
}

#[test]
fn what_lies_before_a_message_is_out_of_its_reach() {
    let mut deflate = Deflate::default();
    let secret = deflate.inflate(false, &sent(&b"secret".repeat(100), 6), LIMIT).unwrap();
    deflate.recycle(secret);
    // A match of three bytes at a distance of one, before anything was said (RFC 1951, section 3.2.5).
    let distant = b"\x02\x02\x00\x00";
    assert_eq!(deflate.inflate(false, distant, LIMIT), Err(FrameError::InvalidDeflate));
}

#[test]
fn text_is_utf8_once_it_is_inflated() {
    let mut deflate = Deflate::default();
    for flawed in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80"] {
        assert_eq!(deflate.inflate(true, &sent(flawed, 6), LIMIT), Err(FrameError::InvalidUtf8));
        assert_eq!(deflate.inflate(false, &sent(flawed, 6), LIMIT), Ok(Inflated::Binary(flawed.to_vec())));
    }
}

#[test]
fn a_message_is_inflated_up_to_the_limit_and_no_byte_further() {
    assert_eq!(binary(&sent(&[7; LIMIT], 9)), Ok(vec![7; LIMIT]));
    assert_eq!(binary(&sent(&[7; LIMIT + 1], 9)), Err(FrameError::TooLarge { limit: LIMIT }));
    let bomb = sent(&vec![0; 4 * 1024 * 1024], 9);
    assert!(bomb.len() < 20_000);
    for limit in [0, 1, 1_000, 1_000_000] {
        let mut message = Vec::new();
        let verdict = inflate(&mut DecompressorOxide::new(), &bomb, limit, &mut message);
        assert_eq!(verdict, Err(FrameError::TooLarge { limit }));
        assert!(message.capacity() <= limit + 1, "{} bytes for {limit}", message.capacity());
    }
    assert_eq!(Deflate::default().inflate(true, &sent(b"", 6), 0), Ok(Inflated::Text(String::new())));
}

#[test]
fn the_memory_of_a_large_message_is_given_back() {
    let mut deflate = Deflate::default();
    let large = vec![7; 1024 * 1024];
    for _ in 0..2 {
        let message = deflate.inflate(false, &sent(&large, 6), large.len()).unwrap();
        assert_eq!(message, Inflated::Binary(large.clone()));
        deflate.recycle(message);
        deflate.binary(&large);
        let kept = [deflate.inflated.capacity(), deflate.compressed.capacity()];
        assert!(kept.iter().all(|bytes| *bytes <= KEPT), "{kept:?}");
    }
}

proptest! {
    #[test]
    fn each_message_is_itself_again_whatever_came_before(
        messages in prop::collection::vec(prop::collection::vec(0_u8..6, 0..3_000), 1..6),
    ) {
        let (mut ours, mut theirs) = (Deflate::default(), Deflate::default());
        for message in messages {
            let frame = ours.binary(&message);
            let (first, body) = parts(&frame);
            let read = match first {
                0xc2 => {
                    // Somebody else's decompressor, which has seen nothing before.
                    let mut alone = Vec::with_capacity(message.len() + 1);
                    let stream = [body, &FLUSHED].concat();
                    Decompress::new(false).decompress_vec(&stream, &mut alone, FlushDecompress::Sync).unwrap();
                    prop_assert_eq!(&alone, &message);
                    theirs.inflate(false, body, message.len()).unwrap()
                }
                _ => Inflated::Binary(body.to_vec()),
            };
            prop_assert_eq!(&read, &Inflated::Binary(message));
            theirs.recycle(read);
        }
    }

    #[test]
    fn arbitrary_bytes_are_inflated_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), is_text: bool) {
        match Deflate::default().inflate(is_text, &bytes, LIMIT) {
            Ok(Inflated::Text(text)) => prop_assert!(is_text && text.len() <= LIMIT),
            Ok(Inflated::Binary(message)) => prop_assert!(!is_text && message.len() <= LIMIT),
            Err(error) => prop_assert!(matches!(error.close_code(), 1007 | 1009)),
        }
    }
}
