//! permessage-deflate (RFC 7692) on real sockets: the sizes, fragments and offers of groups 12 and 13 of Autobahn's cases.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    rfc6455::{HANDSHAKE, long_frame},
    support::{Server, within},
};

const LARGEST: usize = 131_072;
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const BROWSER: &str = "permessage-deflate; client_max_window_bits";

fn server(compression: bool) -> Server {
    Server::start(|s| {
        s.echo = true;
        s.config.compression = compression;
        s.config.limits.max_message_bytes = LARGEST as u32;
    })
}

/// A client that reads every byte itself.
struct Client(TcpStream);

impl Client {
    /// Opens a WebSocket with an offer; also the extensions that were agreed on.
    async fn open(server: &Server, path: &str, offer: &str) -> (Self, Option<String>) {
        let mut stream = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Extensions: {offer}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("a head", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        let agreed = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        (Self(stream), agreed.map(str::to_owned))
    }

    async fn send(&mut self, bytes: &[u8]) {
        within("room to send", self.0.write_all(bytes)).await.unwrap();
    }

    /// The next frame's first byte and payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        within("a frame", async {
            let first = self.0.read_u8().await.unwrap();
            let length = match self.0.read_u8().await.unwrap() {
                126 => self.0.read_u16().await.unwrap().into(),
                127 => self.0.read_u64().await.unwrap(),
                length => length.into(),
            };
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            (first, payload)
        })
        .await
    }

    /// The next message, whether compressed or not.
    async fn message(&mut self) -> (u8, Vec<u8>) {
        let (first, payload) = self.frame().await;
        if first & 0x40 == 0 {
            return (first, payload);
        }
        let mut message = Vec::with_capacity(LARGEST + 1);
        let stream = [&payload[..], &[0, 0, 0xff, 0xff]].concat();
        Decompress::new(false).decompress_vec(&stream, &mut message, FlushDecompress::Sync).unwrap();
        (first ^ 0x40, message)
    }
}

fn deflated(message: &[u8], level: u32) -> Vec<u8> {
    let mut payload = Vec::with_capacity(2 * message.len() + 1000);
    let mut compress = Compress::new(Compression::new(level), false);
    compress.compress_vec(message, &mut payload, FlushCompress::Sync).unwrap();
    assert!(payload.ends_with(&[0, 0, 0xff, 0xff]));
    payload.truncate(payload.len() - 4);
    payload
}

/// A message in frames of so many bytes; in one when that is 0.
fn in_frames(first: u8, payload: &[u8], size: usize) -> Vec<u8> {
    if size == 0 || payload.len() <= size {
        return long_frame(first | 0x80, payload);
    }
    let count = payload.len().div_ceil(size);
    let frames = payload.chunks(size).enumerate().map(|(index, part)| {
        let opcode = if index == 0 { first } else { 0 };
        let last = if index + 1 == count { 0x80 } else { 0 };
        long_frame(opcode | last, part)
    });
    frames.collect::<Vec<_>>().concat()
}

/// Bytes of a message, and of its frames.
const SIZES: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1024, 0),
    (4096, 0),
    (8192, 0),
    (16_384, 0),
    (32_768, 0),
    (65_536, 0),
    (131_072, 0),
    (8192, 256),
    (16_384, 256),
    (32_768, 256),
    (65_536, 256),
    (131_072, 256),
    (131_072, 1024),
    (131_072, 4096),
    (131_072, 32_768),
];

fn json(length: usize) -> Vec<u8> {
    let text: String =
        (0..).map(|n| format!("{{\"number\":{n},\"text\":\"some words\"}},")).take(length).collect();
    text.into_bytes()[..length].to_vec()
}

fn umlauts(length: usize) -> Vec<u8> {
    "äöüß".repeat(length.div_ceil(8)).into_bytes()[..length].to_vec()
}

/// Bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Sends a message a few times over and expects it back each time.
async fn exchange(client: &mut Client, is_compressed: bool, kind: u8, message: &[u8], frame_size: usize) {
    let levels: &[u32] = if message.len() > 4096 { &[6] } else { &[0, 1, 6, 9] };
    for level in levels {
        let frames = if is_compressed {
            in_frames(kind | 0x40, &deflated(message, *level), frame_size)
        } else {
            in_frames(kind, message, frame_size)
        };
        client.send(&frames).await;
        let (first, came) = client.message().await;
        assert_eq!(first, 0x80 | kind);
        assert!(came == message, "{} bytes came back for {}", came.len(), message.len());
    }
}

#[tokio::test]
async fn messages_of_every_size_and_fragmentation_come_back_as_they_were() {
    let server = server(true);
    let (mut client, agreed) = Client::open(&server, "/echo", BROWSER).await;
    assert_eq!(agreed.as_deref(), Some(AGREED));
    for (length, frame_size) in SIZES {
        for (kind, message) in
            [(0x01, json(length)), (0x01, umlauts(length)), (0x02, noise(length)), (0x02, vec![0; length])]
        {
            exchange(&mut client, true, kind, &message, frame_size).await;
        }
    }
}

#[tokio::test]
async fn each_offer_is_agreed_on_or_declined_and_messages_come_back_either_way() {
    let server = server(true);
    let with_window = format!("{AGREED}; server_max_window_bits=15");
    let cases = [
        ("permessage-deflate", Some(AGREED)),
        ("permessage-deflate; server_no_context_takeover", Some(AGREED)),
        ("permessage-deflate; server_max_window_bits=9", None),
        ("permessage-deflate; server_max_window_bits=15", Some(&*with_window)),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=9", None),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=15", Some(&*with_window)),
        (
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, \
             permessage-deflate; server_no_context_takeover, permessage-deflate",
            Some(AGREED),
        ),
        ("x-unknown", None),
    ];
    for (offer, expected) in cases {
        for path in ["/echo", "/raw/a", "/connection/websocket"] {
            assert_eq!(Client::open(&server, path, offer).await.1.as_deref(), expected, "{path} {offer}");
        }
        let (mut client, _) = Client::open(&server, "/echo", offer).await;
        for (length, frame_size) in [SIZES[0], SIZES[3], SIZES[9], SIZES[12]] {
            exchange(&mut client, expected.is_some(), 0x01, &json(length), frame_size).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_compressed_unless_the_configuration_says_so() {
    let server = server(false);
    let (mut client, agreed) = Client::open(&server, "/echo", BROWSER).await;
    assert_eq!(agreed, None);
    exchange(&mut client, false, 0x01, &json(4096), 0).await;
    client.send(&in_frames(0x41, &deflated(b"hello", 6), 0)).await;
    assert_eq!(client.frame().await, (0x88, 1002_u16.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn a_message_that_inflates_beyond_the_limit_ends_its_connection_alone() {
    let server = server(true);
    let (mut neighbour, _) = Client::open(&server, "/echo", BROWSER).await;
    let bomb = deflated(&vec![0; 8 * 1024 * 1024], 9);
    for frame_size in [0, 1024] {
        let (mut client, _) = Client::open(&server, "/echo", BROWSER).await;
        client.send(&in_frames(0x42, &bomb, frame_size)).await;
        assert_eq!(client.frame().await, (0x88, 1009_u16.to_be_bytes().to_vec()));
    }
    exchange(&mut neighbour, true, 0x02, &noise(1000), 0).await;
}

#[tokio::test]
async fn what_goes_to_many_is_compressed_for_those_who_agreed_on_it() {
    let server = server(true);
    let (mut deflating, _) = Client::open(&server, "/raw/a", BROWSER).await;
    let (mut plain, _) = Client::open(&server, "/raw/a", "x-unknown").await;
    let mut third = server.raw("a").await;
    // Whose message arrives, has a subscription that is in force.
    for client in [&mut deflating, &mut plain] {
        client.send(&long_frame(0x81, b"here")).await;
        while third.message().await != Message::text("here") {}
    }
    third.text("go").await;
    for client in [&mut deflating, &mut plain] {
        while client.message().await.1 != b"go" {}
    }
    let message = String::from_utf8(json(10_000)).unwrap();
    third.text(&message).await;
    assert_eq!(plain.frame().await, (0x81, message.clone().into_bytes()));
    let (first, payload) = deflating.frame().await;
    assert!(first == 0xc1 && payload.len() < message.len() / 3, "{first:#x} {}", payload.len());
    third.text("the end").await;
    assert_eq!(deflating.message().await, (0x81, b"the end".to_vec()));
}
