//! Bad input gets the answer that the protocol knows for it, and everyone else keeps their service.

use std::time::Duration;

use e2e::{Fleet, Gateways, Scope, alone, eventually};
use k8s_openapi::api::core::v1::Pod;
use mooring_fleet::stats::{Abuse, AbuseRequest, PublishRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::support::{CHANNELS, LATER, SOON, aftermath, assert_nothing_lost, clients, spec, steadily};

const HALF_OPEN: usize = 5_000;
const NEVER_READ: usize = 20;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// Lines of an opening handshake for the centrifuge protocol, of which one may be replaced.
fn handshake(replaced: &str, by: &str) -> Vec<u8> {
    let lines = [
        "GET /connection/websocket HTTP/1.1",
        "Host: chat",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let lines = lines.map(|line| if !replaced.is_empty() && line.starts_with(replaced) { by } else { line });
    let mut request: Vec<u8> = lines
        .into_iter()
        .filter(|line| !line.is_empty())
        .flat_map(|line| [line.as_bytes(), b"\r\n"].concat())
        .collect();
    request.extend(b"\r\n");
    request
}

/// A text frame with a mask of zeros, or without mask.
fn text(payload: &[u8], masked: bool) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("a short payload");
    let head: &[u8] = if masked { &[0x81, 0x80 | length, 0, 0, 0, 0] } else { &[0x81, length] };
    [head, payload].concat()
}

/// A valid handshake followed by bytes.
fn after_handshake(frames: &[Vec<u8>]) -> Vec<u8> {
    [handshake("", ""), frames.concat()].concat()
}

/// What is sent, and what the answer has to contain.
fn cases() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let close = |code: u16| code.to_be_bytes().to_vec();
    let huge = [&[0x81, 0xff][..], &(16_u64 << 20).to_be_bytes(), &[0; 4]].concat();
    let connect = text(br#"{"id":1,"connect":{}}"#, true);
    vec![
        ("no upgrade", handshake("Upgrade", ""), b"HTTP/1.1 426".to_vec()),
        (
            "wrong version",
            handshake("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
            b"sec-websocket-version: 13".to_vec(),
        ),
        ("bad key", handshake("Sec-WebSocket-Key", "Sec-WebSocket-Key: short"), b"HTTP/1.1 400".to_vec()),
        ("no HTTP at all", b"\x16\x03\x01 hello\r\n\r\n".to_vec(), b"HTTP/1.1 400".to_vec()),
        ("an oversized frame", after_handshake(&[huge]), close(1009)),
        ("bad UTF-8", after_handshake(&[text(b"\xc3\x28", true)]), close(1007)),
        ("an unmasked frame", after_handshake(&[text(b"{}", false)]), close(1002)),
        ("no command at all", after_handshake(&[text(b"hello", true)]), close(3501)),
        (
            "an unknown command",
            after_handshake(&[connect, text(br#"{"id":2,"frobnicate":{}}"#, true)]),
            br#""code":104"#.to_vec(),
        ),
    ]
}

/// Sends bytes to a gateway's client port and reads until the answer contains what is expected.
async fn answers(scope: &Scope, pod: &str, what: &str, request: &[u8], expected: &[u8]) {
    let mut forward = scope.api::<Pod>().portforward(pod, &[8000]).await.expect("the port is forwarded");
    let mut stream = forward.take_stream(8000).expect("a stream");
    stream.write_all(request).await.expect("the gateway takes it");
    let mut answer = Vec::new();
    let contains =
        |answer: &[u8]| answer.windows(expected.len()).any(|window| window.eq_ignore_ascii_case(expected));
    let read = timeout(ANSWER, async {
        let mut buffer = [0; 4096];
        while !contains(&answer) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend(&buffer[..read]),
            }
        }
    });
    let in_time = read.await.is_ok();
    let text = String::from_utf8_lossy(&answer);
    assert!(contains(&answer), "{what}: in time: {in_time}, answered {text:?}");
}

#[tokio::test]
async fn bad_input_gets_the_protocols_answer_and_everyone_else_keeps_their_service() {
    alone("bad-input", async |scope| {
        let mut spec = spec(2, 200);
        spec.limits.outbound_queue_bytes = 65_536;
        let gateways = Gateways::deploy(&scope, "chat", spec).await;
        let fleet = Fleet::start(&gateways).await;
        fleet.connect(&clients(500)).await;
        fleet.publish(&steadily()).await;
        fleet.reset().await;

        let pod = gateways.pods().await.into_keys().next().expect("there are pods");
        for (what, request, expected) in cases() {
            answers(&scope, &pod, what, &request, &expected).await;
        }

        fleet.abuse(&AbuseRequest { kind: Abuse::HalfOpen, count: HALF_OPEN, channel: 0 }).await;
        let tried = |stats: &mooring_fleet::stats::Stats| {
            let half_open = stats.abuse.get(&Abuse::HalfOpen).copied().unwrap_or_default();
            half_open.open + half_open.ended >= HALF_OPEN as u64
        };
        fleet.until("5,000 handshakes are half open", SOON, tried).await;
        fleet.connect(&clients(600)).await;
        fleet.abuse(&AbuseRequest { kind: Abuse::HalfOpen, count: 0, channel: 0 }).await;

        fleet.abuse(&AbuseRequest { kind: Abuse::NeverReads, count: NEVER_READ, channel: 0 }).await;
        let large =
            PublishRequest { channels: 1, per_second: 40.0, total: Some(400), size: 30_000, ..steadily() };
        fleet.publish(&large).await;
        eventually("who never reads is disconnected", LATER, async || {
            let slow = gateways.metric("mooring_slow_consumers_total", "").await;
            if slow.values().sum::<f64>() >= NEVER_READ as f64 { Ok(()) } else { Err(format!("{slow:?}")) }
        })
        .await;
        fleet.abuse(&AbuseRequest { kind: Abuse::NeverReads, count: 0, channel: 0 }).await;

        fleet
            .publish(&PublishRequest { channels: CHANNELS, per_second: 2.0, total: Some(2), ..steadily() })
            .await;
        let stats = aftermath(&fleet, "bad input").await;
        assert_nothing_lost(&stats);
        assert_eq!(stats.reconnects.closed, 0, "somebody else lost their connection: {stats:#?}");
    })
    .await;
}
