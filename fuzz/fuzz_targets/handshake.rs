#![no_main]
//! The opening handshake, with the HTTP parser in front of it: whatever a request says, the answer is a status; a 101 is given to a valid
//! handshake only, with the accept key of its key; a valid handshake is given one; and what follows the head is left for the frames.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use gateway_core::handshake::{self, Subprotocols, accept, check_origin};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use libfuzzer_sys::fuzz_target;
use mooring_fuzz::Stream;

/// As the gateway limits them.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

const ALLOWED_ORIGIN: &str = "https://chat.example";

fuzz_target!(|input: &[u8]| {
    let Some(stream) = Stream::new(input) else { return };
    let spoken: Option<&'static [&'static str]> = (stream.options & 1 != 0).then_some(&["centrifuge-json"]);
    let allowed: &[String] = if stream.options & 2 == 0 { &[] } else { &[ALLOWED_ORIGIN.to_owned()] };
    let served = serve(stream, spoken, allowed);
    let answer = Head::read(&served.written);
    let head = Head::read(&stream.whole[..stream.whole.len() - served.unread.len()]);
    let is_upgraded = answer.as_ref().is_some_and(|answer| answer.start.starts_with("HTTP/1.1 101 "));
    if let Some(answer) = &answer {
        let status: Option<u16> = answer.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        assert!(answer.start.starts_with("HTTP/1.") && matches!(status, Some(101 | 400..=505)), "{answer:?}");
    }
    if served.requests != 1 {
        return;
    }
    if is_upgraded {
        let (Some(answer), Some(head)) = (&answer, &head) else { unreachable!("neither is empty") };
        assert!(head.is_handshake(spoken, allowed), "a 101 for {head:?}");
        assert!(head.is_whole, "more than the head was taken: {head:?}");
        assert_eq!(answer.all("sec-websocket-accept"), [head.accept_key()]);
        let (chosen, offered) = (answer.all("sec-websocket-protocol"), head.items("sec-websocket-protocol"));
        let expected =
            offered.iter().find(|offered| spoken.is_none_or(|spoken| spoken.contains(&offered.as_str())));
        assert_eq!(chosen, expected.cloned().into_iter().collect::<Vec<_>>());
    } else if let Some(head) = head.filter(|head| head.is_plain && head.is_whole) {
        assert!(!head.is_handshake(spoken, allowed), "no 101, but {answer:?}, for {head:?}");
    }
});

/// What came of a stream.
struct Served {
    written: Vec<u8>,
    requests: usize,
    /// What the HTTP connection did not take.
    unread: Vec<u8>,
}

fn serve(stream: Stream<'_>, spoken: Option<&'static [&'static str]>, allowed: &[String]) -> Served {
    let subprotocols = spoken.map_or(Subprotocols::Any, Subprotocols::Spoken);
    let here = handshake::Served { subprotocols, compression: false };
    let requests = std::cell::Cell::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        requests.set(requests.get() + 1);
        let accepted = accept(request.method(), request.version(), request.headers(), here)
            .and_then(|(reply, _)| check_origin(request.headers(), allowed).map(|()| reply));
        let reply = accepted.map(|reply| reply.map(|()| Full::new(Bytes::new()))).unwrap_or_else(|flaw| {
            let mut reply = Response::new(Full::new(Bytes::from(flaw.to_string())));
            *reply.status_mut() = flaw.status();
            flaw.explain(reply.headers_mut());
            reply
        });
        std::future::ready(Ok::<_, Infallible>(reply))
    });
    let mut unread: Vec<Bytes> = stream.pieces().map(Bytes::copy_from_slice).collect();
    unread.reverse();
    let socket = Socket { unread, written: Vec::new() };
    let mut connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .half_close(true)
        .serve_connection(socket, service);
    drive(std::future::poll_fn(|context| connection.poll_without_shutdown(context)));
    let parts = connection.into_parts();
    let mut unread = BytesMut::from(parts.read_buf);
    parts.io.unread.iter().rev().for_each(|piece| unread.extend_from_slice(piece));
    Served { written: parts.io.written, requests: requests.get(), unread: unread.into() }
}

/// Polls a future to its end. A connection with much to read asks to be polled again, and may; it may not wait for anything else.
fn drive(future: impl Future) {
    #[derive(Default)]
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        assert!(woken.0.swap(false, Ordering::Relaxed), "nothing is left to wait for");
    }
}

/// A client that has sent everything and reads everything.
struct Socket {
    /// The next piece is the last.
    unread: Vec<Bytes>,
    written: Vec<u8>,
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.unread.pop() {
            room.put_slice(&piece.split_to(piece.len().min(room.remaining())));
            if !piece.is_empty() {
                self.unread.push(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A request's or an answer's head, read by another reader than the one under test.
#[derive(Debug)]
struct Head {
    start: String,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    /// Nothing in it is left to a reader's taste.
    is_plain: bool,
    /// It ends where the bytes end.
    is_whole: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let start = lines.find(|line| !line.is_empty())?.to_owned();
        let fields: Vec<_> = lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap_or((line, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
            .collect();
        let is_plain_line =
            |line: &[u8]| line.ends_with(b"\r") && line.iter().all(|b| matches!(b, b' '..=b'~' | b'\r'));
        let is_plain_name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        Some(Self {
            is_plain: bytes
                .split_inclusive(|b| *b == b'\n')
                .all(|line| line.strip_suffix(b"\n").is_some_and(is_plain_line))
                && !bytes.starts_with(b"\r")
                && fields.len() <= MAX_HEADERS
                && fields.iter().all(|(name, _)| is_plain_name(name))
                && ["content-length", "transfer-encoding"]
                    .iter()
                    .all(|name| fields.iter().all(|(n, _)| n != name)),
            is_whole: lines.eq([""]),
            start,
            fields,
        })
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    }

    /// The items of a list.
    fn items(&self, name: &str) -> Vec<String> {
        let values = self.all(name);
        let items = values.iter().flat_map(|value| value.split(',')).map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    }

    /// The items of a list, in lower case.
    fn list(&self, name: &str) -> Vec<String> {
        self.items(name).iter().map(|item| item.to_ascii_lowercase()).collect()
    }

    /// RFC 6455, section 4.2.1.
    fn is_handshake(&self, spoken: Option<&[&str]>, allowed: &[String]) -> bool {
        let is_get = self.start.starts_with("GET ")
            && self.start.ends_with(" HTTP/1.1")
            && self.start.matches(' ').count() == 2;
        let keys = self.all("sec-websocket-key");
        let is_key = keys.len() == 1 && STANDARD.decode(&keys[0]).is_ok_and(|key| key.len() == 16);
        let offered = self.items("sec-websocket-protocol");
        let is_token = |item: &String| {
            item.bytes().all(|b| matches!(b, b'!'..=b'~') && !b"\"(),/:;<=>?@[\\]{}".contains(&b))
        };
        let is_list = !offered.is_empty()
            && offered.len() <= 32
            && offered.iter().all(is_token)
            && offered.iter().enumerate().all(|(index, item)| !offered[..index].contains(item));
        let is_known =
            |spoken: &[&str]| spoken.iter().any(|spoken| offered.iter().any(|offered| offered == spoken));
        let is_spoken =
            self.all("sec-websocket-protocol").is_empty() || (is_list && spoken.is_none_or(is_known));
        let origins = self.all("origin");
        let is_allowed = allowed.is_empty()
            || origins
                .first()
                .is_none_or(|origin| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)));
        is_get
            && is_key
            && self.list("connection").iter().any(|item| item == "upgrade")
            && self.list("upgrade").iter().any(|item| item == "websocket")
            && self.all("sec-websocket-version") == ["13"]
            && is_spoken
            && is_allowed
    }

    /// RFC 6455, section 4.2.2.
    fn accept_key(&self) -> String {
        let key = self.all("sec-websocket-key").concat();
        let hash = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
        STANDARD.encode(hash.bytes())
    }
}
