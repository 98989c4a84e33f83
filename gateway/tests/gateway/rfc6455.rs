//! What RFC 6455 asks of a server, byte by byte. gateway/core/rfc6455.txt says which requirement each test shows.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest as _};

use crate::support::{Server, frame, within};

pub const HANDSHAKE: &str = "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const PATHS: [&str; 3] = ["/connection/websocket", "/raw/a", "/echo"];

fn server() -> Server {
    Server::start(|s| s.echo = true)
}

/// Everything that comes for some bytes, up to the end of the connection: the head of the answer, in its letters, and what is behind it.
async fn converse(server: &Server, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut stream = within("a TCP connection", TcpStream::connect(server.client)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    within("the end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer.split_off(end))
}

/// What a WebSocket answers to some frames, of which the last ends it.
async fn frames(server: &Server, path: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    let head = format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}\r\n");
    let (answer, behind) = converse(server, &[head.as_bytes(), &frames.concat()].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    behind
}

/// A frame of the server, with the length in its shortest form.
fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let length = match length {
        0..=125 => vec![length as u8],
        126..=0xffff => [&[126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&[first][..], &length, payload].concat()
}

/// A frame of a client with a payload of any length.
pub fn long_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = sent(first, payload);
    let header = frame.len() - payload.len();
    frame[1] |= 0x80;
    // A mask of zeros changes nothing.
    frame.splice(header..header, [0; 4]);
    frame
}

fn close(body: &[u8]) -> Vec<u8> {
    frame(0x88, body)
}

#[tokio::test]
async fn the_answer_to_a_handshake_is_the_one_of_the_rfc() {
    let server = server();
    for path in PATHS {
        // What is not spoken here is passed over.
        let request =
            format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Extensions: x-mux; channels=4\r\n\r\n");
        let (head, behind) = converse(&server, &[request.as_bytes(), &close(b"")].concat()).await;
        let mut lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
        lines.retain(|line| !line.is_empty() && !line.starts_with("date: "));
        lines[1..].sort();
        let expected = [
            "http/1.1 101 switching protocols",
            "connection: upgrade",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
            "upgrade: websocket",
        ];
        assert_eq!(lines, expected, "{path}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert_eq!(behind, sent(0x88, &1000_u16.to_be_bytes()));
    }
}

#[tokio::test]
async fn a_handshake_that_is_none_opens_nothing() {
    let server = server();
    let without = |field: &str| {
        let lines = HANDSHAKE.split_inclusive("\r\n").filter(|line| !line.starts_with(field));
        format!("GET /echo HTTP/1.1\r\n{}\r\n", lines.collect::<String>())
    };
    let cases = [
        (without("Host"), "400"),
        (without("Upgrade"), "426"),
        (without("Connection"), "426"),
        (without("Sec-WebSocket-Key"), "400"),
        (without("Sec-WebSocket-Version"), "426"),
        (format!("POST /echo HTTP/1.1\r\n{HANDSHAKE}\r\n"), "426"),
        (format!("GET /echo HTTP/1.0\r\n{HANDSHAKE}\r\n"), "400"),
        (format!("GET /echo HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Version: 13\r\n\r\n"), "426"),
        (format!("GET /echo HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Protocol: a, a\r\n\r\n"), "400"),
    ];
    for (request, status) in cases {
        // What comes behind it is no frame, but at best a broken request.
        let (head, behind) =
            converse(&server, &[request.as_bytes(), &frame(0x81, b"hello"), b"\r\n\r\n"].concat()).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{request}");
        assert!(!behind.windows(5).any(|bytes| bytes == b"hello"), "{request}: {behind:?}");
    }
}

#[tokio::test]
async fn a_path_without_web_sockets_is_not_found_by_a_handshake() {
    let server = Server::start(|_| {});
    for path in ["/echo", "/connection", "/connection/nothing", "/nothing"] {
        let (head, _) =
            converse(&server, format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}\r\nno request\r\n\r\n").as_bytes())
                .await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}

/// Opens a WebSocket with these subprotocols; the one that was chosen, or the status of the refusal.
async fn subprotocol(server: &Server, path: &str, offers: &'static str) -> Result<Option<String>, u16> {
    let mut request = format!("ws://{}{path}", server.client).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", offers.parse().unwrap());
    let opened = within("a handshake", client_async(request, server.connect().await)).await;
    match opened {
        Ok((_, answer)) => {
            let chosen = answer.headers().get("Sec-WebSocket-Protocol");
            Ok(chosen.map(|chosen| chosen.to_str().unwrap().to_owned()))
        }
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_client_is_given_a_subprotocol_of_its_own_on_every_path() {
    let server = server();
    let some = |name: &str| Ok(Some(name.to_owned()));
    let cases = [
        ("/raw/a", "Chat.v2", some("Chat.v2")),
        ("/raw/a", "mqtt, chat", some("mqtt")),
        ("/echo", "chat, mqtt", some("chat")),
        ("/connection/websocket", "centrifuge-json", some("centrifuge-json")),
        ("/connection/websocket", "centrifuge-protobuf, centrifuge-json", some("centrifuge-json")),
        ("/connection/websocket", "centrifuge-protobuf", Err(400)),
        ("/connection/websocket", "chat", Err(400)),
    ];
    for (path, offers, expected) in cases {
        assert_eq!(subprotocol(&server, path, offers).await, expected, "{path} {offers}");
    }
    // A client may split its list.
    let request = format!(
        "GET /raw/a HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Protocol: ,Chat.v2\r\nsec-websocket-protocol: mqtt\r\n\r\n"
    );
    let (head, _) = converse(&server, &[request.as_bytes(), &close(b"")].concat()).await;
    let chosen: Vec<&str> =
        head.lines().filter(|line| line.to_lowercase().starts_with("sec-websocket-protocol")).collect();
    assert_eq!(chosen.len(), 1, "{head}");
    assert!(chosen[0].ends_with(": Chat.v2"), "{head}");
}

#[tokio::test]
async fn who_offers_no_subprotocol_is_given_none() {
    let server = server();
    for path in PATHS {
        let head = format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}\r\n");
        let (head, _) = converse(&server, &[head.as_bytes(), &close(b"")].concat()).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
    }
}

#[tokio::test]
async fn what_the_server_sends_is_whole_unmasked_and_of_the_shortest_length() {
    let server = Server::start(|s| {
        s.echo = true;
        s.config.limits.max_message_bytes = 70_000;
    });
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; length];
        for first in [0x81, 0x82] {
            let answer = frames(&server, "/echo", &[long_frame(first, &payload), close(b"\x03\xe8")]).await;
            assert!(
                answer == [sent(first, &payload), sent(0x88, b"\x03\xe8")].concat(),
                "{first:#x} {length}"
            );
        }
    }
    let answer = frames(&server, "/echo", &[frame(0x89, &[7; 125]), close(b"\x03\xe8")]).await;
    assert_eq!(answer, [sent(0x8a, &[7; 125]), sent(0x88, b"\x03\xe8")].concat());
}

#[tokio::test]
async fn a_message_is_the_same_in_one_frame_and_in_fragments() {
    let server = server();
    let text = "grüße an alle".as_bytes();
    for fragments in [1, 2, 3, 5, text.len()] {
        let size = text.len().div_ceil(fragments);
        let mut sent_frames: Vec<Vec<u8>> = text.chunks(size).map(|part| frame(0x00, part)).collect();
        sent_frames[0][0] = 0x01;
        sent_frames.last_mut().unwrap()[0] |= 0x80;
        // A pong that nobody asked for is passed over, wherever it is.
        sent_frames.insert(1, frame(0x8a, b"?"));
        sent_frames.push(close(b""));
        let answer = frames(&server, "/echo", &sent_frames).await;
        assert_eq!(answer, [sent(0x81, text), sent(0x88, b"\x03\xe8")].concat(), "{fragments}");
    }
}

#[tokio::test]
async fn a_ping_within_a_message_is_answered_before_the_message_is_whole() {
    let server = server();
    let parts = [
        frame(0x01, b"one "),
        frame(0x89, b"1"),
        frame(0x00, b"and "),
        frame(0x89, b"2"),
        frame(0x80, b"two"),
    ];
    let answer = frames(&server, "/echo", &[parts.concat(), close(b"")]).await;
    assert_eq!(
        answer,
        [sent(0x8a, b"1"), sent(0x8a, b"2"), sent(0x81, b"one and two"), sent(0x88, b"\x03\xe8")].concat()
    );
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code_or_with_what_is_wrong_with_it() {
    let server = server();
    let reason = |length| [&b"\x03\xe8"[..], &vec![b'x'; length]].concat();
    let mut cases =
        vec![(vec![], 1000), (reason(0), 1000), (reason(123), 1000), (reason(124), 1002), (vec![3], 1002)];
    cases.push((b"\x03\xe8gr\xc3\xbc\xc3\x9fe".to_vec(), 1000));
    cases.push((b"\x03\xe8\xff".to_vec(), 1007));
    cases.push((b"\x03\xe8\xc3".to_vec(), 1007));
    let may_be_sent = [1000..=1003, 1007..=1014, 3000..=3003, 3998..=4001, 4998..=4999];
    cases.extend(may_be_sent.into_iter().flatten().map(|code: u16| (code.to_be_bytes().to_vec(), code)));
    let reserved = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16];
    cases.extend(reserved.into_iter().map(|code| (code.to_be_bytes().to_vec(), 1002)));
    for (body, code) in cases {
        for path in PATHS {
            let answer = frames(&server, path, &[long_frame(0x88, &body), frame(0x81, b"too late")]).await;
            assert_eq!(answer, sent(0x88, &code.to_be_bytes()), "{path} {body:x?}");
        }
    }
}

#[tokio::test]
async fn nothing_behind_a_broken_frame_is_handled() {
    let server = server();
    for (flaw, code) in [
        (vec![0x81, 1, b'a'], 1002_u16),
        (frame(0x84, b""), 1002),
        (frame(0x80, b"a"), 1002),
        (frame(0x81, b"\xff"), 1007),
    ] {
        let frames_sent =
            [frame(0x81, b"before"), flaw.clone(), frame(0x81, b"behind"), frame(0x89, b""), close(b"")];
        let answer = frames(&server, "/echo", &frames_sent).await;
        assert_eq!(answer, [sent(0x81, b"before"), sent(0x88, &code.to_be_bytes())].concat(), "{flaw:x?}");
    }
}
