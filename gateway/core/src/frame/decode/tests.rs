use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1000;
const TERMS: Terms = Terms { limit: LIMIT, deflate: false };
const DEFLATE: Terms = Terms { deflate: true, ..TERMS };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An [`Event`] that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Compressed(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Fragment => unreachable!("only what is whole is seen"),
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Compressed { is_text, payload } => Self::Compressed(is_text, payload.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(close) => Self::Close(close.map(|c| (c.code, c.reason.to_owned()))),
        }
    }
}

/// A masked frame with the shortest form of its length.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Bytes of payload held between reads.
fn held(decoder: &FrameDecoder) -> usize {
    decoder.0.as_ref().and_then(|p| p.message.as_ref()).map_or(0, |m| m.payload.capacity())
}

/// Everything the reads yield up to the first error.
fn decode<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Result<FrameDecoder, FrameError>) {
    decode_on(TERMS, reads)
}

fn decode_on<'a>(
    terms: Terms,
    reads: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Result<FrameDecoder, FrameError>) {
    let mut decoder = FrameDecoder::default();
    let mut seen = Vec::new();
    for read in reads {
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        loop {
            match decoder.next(&mut input, terms) {
                Ok(Some(Event::Fragment)) => {}
                Ok(Some(event)) => seen.push(event.into()),
                Ok(None) => break,
                Err(error) => return (seen, Err(error)),
            }
        }
        assert!(input.is_empty());
        assert!(held(&decoder) <= if terms.deflate { LIMIT + LIMIT / 8 + 64 } else { LIMIT });
    }
    (seen, Ok(decoder))
}

fn error(stream: &[u8]) -> FrameError {
    let (seen, end) = decode([stream]);
    assert_eq!(seen, []);
    end.unwrap_err()
}

#[test]
fn an_idle_decoder_is_one_empty_pointer() {
    assert_eq!(size_of::<FrameDecoder>(), 8);
    let stream = [frame(0x01, "Grü".as_bytes()), frame(0x89, b"hi"), frame(0x80, "ße".as_bytes())].concat();
    let (seen, end) = decode([&stream[..], &[]]);
    assert_eq!(seen, [Seen::Ping(b"hi".to_vec()), Seen::Text("Grüße".to_owned())]);
    assert!(end.unwrap().0.is_none());
}

#[test]
fn a_whole_message_is_handed_out_from_where_it_was_read() {
    let mut read = [frame(0x81, b"{}"), frame(0x82, &[0xff; 200])].concat();
    let (start, end) = (read.as_ptr() as usize, read.as_ptr() as usize + read.len());
    let (mut decoder, mut input) = (FrameDecoder::default(), &mut read[..]);
    assert_eq!(decoder.next(&mut input, TERMS), Ok(Some(Event::Text("{}"))));
    let Ok(Some(Event::Binary(bytes))) = decoder.next(&mut input, TERMS) else { panic!("not binary") };
    assert_eq!(bytes, [0xff; 200]);
    assert!((start..end).contains(&(bytes.as_ptr() as usize)));
    assert_eq!(decoder.next(&mut input, TERMS), Ok(None));
}

#[test]
fn each_broken_rule_has_its_error() {
    use FrameError::*;
    for (stream, expected) in [
        (vec![0x81, 0x02, b'h', b'i'], Unmasked),
        (frame(0xc1, b""), ReservedBit),
        (frame(0xa1, b""), ReservedBit),
        (frame(0x99, b""), ReservedBit),
        (frame(0x83, b""), ReservedOpcode(3)),
        (frame(0x8f, b""), ReservedOpcode(15)),
        ([&[0x82, 0xfe, 0, 125][..], &MASK, &[0; 125]].concat(), PaddedLength),
        ([&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &MASK].concat(), PaddedLength),
        (frame(0x89, &[0; 126]), LongControl),
        (frame(0x09, b""), FragmentedControl),
        (frame(0x80, b""), UnexpectedContinuation),
        (frame(0x00, b""), UnexpectedContinuation),
        ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), InterleavedMessage),
        ([frame(0x02, b"a"), frame(0x01, b"b")].concat(), InterleavedMessage),
        (frame(0x88, &[3]), InvalidClose),
        (frame(0x88, &1005_u16.to_be_bytes()), InvalidClose),
        (frame(0x88, &999_u16.to_be_bytes()), InvalidClose),
        (frame(0x88, &2999_u16.to_be_bytes()), InvalidClose),
        (frame(0x88, &5000_u16.to_be_bytes()), InvalidClose),
        (frame(0x88, b"\x03\xe8\xff"), InvalidUtf8),
        (frame(0x81, b"\xed\xa0\x80"), InvalidUtf8),
        (frame(0x81, b"\xe2\x82"), InvalidUtf8),
        ([frame(0x01, b"\xe2\x82"), frame(0x80, b"")].concat(), InvalidUtf8),
    ] {
        let found = error(&stream);
        assert_eq!(found, expected, "{stream:x?}");
        assert_eq!(found.close_code(), if expected == InvalidUtf8 { 1007 } else { 1002 });
    }
}

#[test]
fn only_the_first_frame_of_a_message_may_say_that_it_is_compressed_and_only_when_that_was_negotiated() {
    let split =
        [frame(0x42, b"a"), frame(0x89, b"!"), frame(0x00, b"b"), frame(0x80, b"c"), frame(0x82, b"d")];
    let seen =
        [Seen::Ping(b"!".to_vec()), Seen::Compressed(false, b"abc".to_vec()), Seen::Binary(b"d".to_vec())];
    assert_eq!(decode_on(DEFLATE, [&split.concat()[..]]).0, seen);
    // It is no text before it is inflated.
    let whole = [frame(0xc1, b"\xff\xff"), frame(0xc1, b""), frame(0x81, b"text")].concat();
    let (seen, end) = decode_on(DEFLATE, [&whole[..]]);
    let texts = [Seen::Compressed(true, b"\xff\xff".to_vec()), Seen::Compressed(true, vec![])];
    assert_eq!(seen, [&texts[..], &[Seen::Text("text".to_owned())]].concat());
    assert!(end.unwrap().0.is_none());
    for terms in [TERMS, DEFLATE] {
        for flawed in [
            frame(0xc9, b""),
            frame(0xca, b""),
            frame(0xc8, b""),
            frame(0xa1, b""),
            frame(0x91, b""),
            frame(0xf1, b""),
            [frame(0x01, b""), frame(0xc0, b"")].concat(),
            [frame(0x41, b""), frame(0xc0, b"")].concat(),
            [frame(0x41, b""), frame(0x40, b"")].concat(),
        ] {
            let (seen, end) = decode_on(terms, [&flawed[..]]);
            assert_eq!((seen, end.unwrap_err()), (vec![], FrameError::ReservedBit), "{terms:?} {flawed:x?}");
        }
    }
    assert_eq!(error(&frame(0xc1, b"")), FrameError::ReservedBit);
    assert_eq!(error(&frame(0x42, b"")), FrameError::ReservedBit);
}

#[test]
fn a_compressed_message_may_take_a_little_more_than_it_holds() {
    const MOST: usize = LIMIT + LIMIT / 8 + 64;
    for cut in [0, 1, LIMIT, MOST - 1] {
        let fits = [frame(0x42, &vec![0; cut]), frame(0x80, &vec![0; MOST - cut])].concat();
        assert_eq!(decode_on(DEFLATE, [&fits[..]]).0, [Seen::Compressed(false, vec![0; MOST])]);
        let exceeds = [frame(0x42, &vec![0; cut]), frame(0x80, &vec![0; MOST - cut + 1])].concat();
        let (seen, end) = decode_on(DEFLATE, [&exceeds[..]]);
        assert_eq!((seen, end.unwrap_err()), (vec![], FrameError::TooLarge { limit: LIMIT }));
    }
    let plain = [frame(0x02, &[0; LIMIT]), frame(0x80, &[0])].concat();
    assert_eq!(decode_on(DEFLATE, [&plain[..]]).1.unwrap_err(), FrameError::TooLarge { limit: LIMIT });
}

#[test]
fn a_close_tells_code_and_reason_if_any() {
    for (payload, close) in [
        (&b""[..], None),
        (b"\x03\xe8", Some((1000, String::new()))),
        (b"\x03\xf6", Some((1014, String::new()))),
        (b"\x0b\xb8bye", Some((3000, "bye".to_owned()))),
    ] {
        assert_eq!(decode([&frame(0x88, payload)[..]]).0, [Seen::Close(close)]);
    }
}

#[test]
fn invalid_text_is_refused_before_its_frame_is_complete() {
    let whole = frame(0x81, b"good \xff and more that never comes");
    assert_eq!(error(&whole[..6 + 6]), FrameError::InvalidUtf8);
}

#[test]
fn a_message_is_refused_by_its_header_when_it_is_too_large() {
    let announced = frame(0x82, &vec![0; LIMIT + 1]);
    assert_eq!(error(&announced[..8]), FrameError::TooLarge { limit: LIMIT });
    let most = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &MASK].concat();
    assert_eq!(error(&most), FrameError::TooLarge { limit: LIMIT });
    let sum = [frame(0x02, &[0; LIMIT]), frame(0x00, b""), frame(0x80, &[0])].concat();
    assert_eq!(error(&sum).close_code(), 1009);
    let exact = [frame(0x02, &[0; LIMIT - 1]), frame(0x80, &[0])].concat();
    assert_eq!(decode([&exact[..]]).0, [Seen::Binary(vec![0; LIMIT])]);
}

#[test]
fn memory_follows_what_arrived_and_not_what_was_announced() {
    let announced = frame(0x82, &[0; LIMIT]);
    let (_, end) = decode([&announced[..8 + 10]]);
    assert!(held(&end.unwrap()) <= 20);
}

fn message() -> impl Strategy<Value = (Seen, Vec<u8>)> {
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let control = prop::collection::vec(any::<u8>(), 0..=125);
    let fragment = prop::collection::vec(0..200_usize, 0..4);
    prop_oneof![
        (".{0,60}", fragment.clone(), control.clone()).prop_map(|(text, cuts, ping)| {
            let frames = fragments(0x01, text.as_bytes(), &cuts, &ping);
            (Seen::Text(text), frames)
        }),
        (payload, fragment, control.clone()).prop_map(|(bytes, cuts, ping)| {
            let frames = fragments(0x02, &bytes, &cuts, &ping);
            (Seen::Binary(bytes), frames)
        }),
        control.prop_map(|bytes| (Seen::Pong(bytes.clone()), frame(0x8a, &bytes))),
    ]
}

/// A message in as many frames as there are cuts and one more, with a ping after each but the last.
fn fragments(opcode: u8, payload: &[u8], cuts: &[usize], ping: &[u8]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut stream, mut start, mut first) = (Vec::new(), 0, opcode);
    for cut in cuts {
        stream.extend(frame(first, &payload[start..cut]));
        stream.extend(frame(0x89, ping));
        (start, first) = (cut, 0);
    }
    stream.extend(frame(first | 0x80, &payload[start..]));
    stream
}

fn split<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(stream.len());
    let mut start = 0;
    cuts.iter().map(|end| &stream[mem::replace(&mut start, *end)..*end]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..40)
}

proptest! {
    #[test]
    fn any_split_of_a_stream_yields_what_was_sent(messages in prop::collection::vec(message(), 0..6), cuts in cuts()) {
        let (sent, streams): (Vec<Seen>, Vec<Vec<u8>>) = messages.into_iter().unzip();
        let stream = streams.concat();
        let (seen, end) = decode(split(&stream, &cuts));
        let seen: Vec<Seen> = seen.into_iter().filter(|s| !matches!(s, Seen::Ping(_))).collect();
        prop_assert_eq!(seen, sent);
        prop_assert!(end.is_ok());
    }

    #[test]
    fn arbitrary_bytes_mean_the_same_in_any_split(
        stream in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x80), Just(0x01), Just(0xc2)], 0..300),
        cuts in cuts(),
    ) {
        for terms in [TERMS, DEFLATE] {
            let (at_once, whole_end) = decode_on(terms, [&stream[..]]);
            let (seen, end) = decode_on(terms, split(&stream, &cuts));
            prop_assert_eq!(seen, at_once);
            prop_assert_eq!(end.err(), whole_end.err());
        }
    }
}
