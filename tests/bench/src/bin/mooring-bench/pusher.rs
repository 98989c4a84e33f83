//! The Pusher Channels protocol, version 7: subscribing over WebSocket, publishing by signed HTTP requests.
//! <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/> and `rest-api` beside it.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::{
    dialect::Answer,
    frames::{self, TEXT},
};

/// Where a client connects, with the key of the application in peers/sockudo.toml.
pub const SUBSCRIBE: &str = "/app/bench-key?protocol=7";
/// Where that application's events are sent to.
pub const EVENTS: &str = "/apps/bench/events";

const KEY: &str = "bench-key";
const SECRET: &str = "bench-secret";
/// What HMAC-SHA256 pads shorter keys to with zeros (RFC 2104, section 2).
const BLOCK: usize = 64;

/// What a subscriber does about an event.
pub fn answer(channel: &str, event: &[u8]) -> Answer {
    let is = |name: &str| event.windows(name.len()).any(|window| window == name.as_bytes());
    if is("pusher:connection_established") {
        let subscribe = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
        Answer::Send(frames::masked(TEXT, subscribe.as_bytes()))
    } else if is("pusher_internal:subscription_succeeded") {
        Answer::Ready
    } else if is("pusher:ping") {
        Answer::Send(frames::masked(TEXT, br#"{"event":"pusher:pong","data":{}}"#))
    } else if is("pusher:error") || is("pusher:subscription_error") {
        Answer::Refused
    } else {
        Answer::Nothing
    }
}

/// The request that publishes a text without characters that JSON escapes.
pub fn publish(path: &str, channel: &str, text: &str) -> Vec<u8> {
    let body = format!(r#"{{"name":"m","channel":"{channel}","data":"{text}"}}"#);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let query = query(KEY, SECRET, path, &body, now);
    let length = body.len();
    format!(
        "POST {path}?{query} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The query that authenticates a POST; `now` in seconds since 1970.
fn query(key: &str, secret: &str, path: &str, body: &str, now: u64) -> String {
    let body = hex(&Md5::digest(body));
    let query = format!("auth_key={key}&auth_timestamp={now}&auth_version=1.0&body_md5={body}");
    let mut padded = [0; BLOCK];
    padded[..secret.len()].copy_from_slice(secret.as_bytes());
    let mut mac = Hmac::<Sha256>::new(&padded.into());
    mac.update(format!("POST\n{path}\n{query}").as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    format!("{query}&auth_signature={signature}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of Pusher's HTTP API reference.
    #[test]
    fn a_request_is_signed_as_in_pushers_own_example() {
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(
            query("278d425bdf160c739803", "7ad3773142a6692b25b8", "/apps/3/events", body, 1_353_088_179),
            "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
             &body_md5=ec365a775a4cd0599faeb73354201b6f\
             &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    #[test]
    fn a_subscriber_is_ready_once_its_subscription_is_confirmed() {
        let established = br#"{"event":"pusher:connection_established","data":"{}"}"#;
        let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"live:bench"}}"#;
        assert_eq!(answer("live:bench", established), Answer::Send(frames::masked(TEXT, subscribe)));
        let succeeded =
            br#"{"event":"pusher_internal:subscription_succeeded","channel":"live:bench","data":"{}"}"#;
        assert_eq!(answer("live:bench", succeeded), Answer::Ready);
        assert_eq!(
            answer("live:bench", br#"{"event":"pusher:error","data":{"code":4001}}"#),
            Answer::Refused
        );
    }
}
