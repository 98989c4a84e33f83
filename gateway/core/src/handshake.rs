//! The opening handshake of RFC 6455, section 4.2, on the server's side.

use http::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
};
use tungstenite::handshake::derive_accept_key;

/// Why a request is no opening handshake that this server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHandshake {
    /// Neither asks for an upgrade nor for anything else that is served here.
    #[error("this path serves WebSockets; send Connection: Upgrade and Upgrade: websocket")]
    NoUpgrade,
    /// HTTP/1.0 knows no upgrade.
    #[error("the opening handshake needs HTTP/1.1")]
    OldHttp,
    /// Where the frames begin would depend on who reads it.
    #[error("the opening handshake has no body; send neither Content-Length nor Transfer-Encoding")]
    Body,
    /// Not version 13.
    #[error("Sec-WebSocket-Version has to be 13")]
    Version,
    /// Not the base64 of 16 bytes.
    #[error("Sec-WebSocket-Key has to be the base64 of 16 bytes")]
    Key,
    /// A page of another origin.
    #[error("the Origin of this page is not among allowedOrigins")]
    Origin,
    /// None of the subprotocols on offer is spoken here.
    #[error("none of the subprotocols in Sec-WebSocket-Protocol is spoken here; centrifuge-json is")]
    Subprotocol,
}

impl BadHandshake {
    /// Metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoUpgrade => "no_upgrade",
            Self::OldHttp => "old_http",
            Self::Body => "body",
            Self::Version => "version",
            Self::Key => "key",
            Self::Origin => "origin",
            Self::Subprotocol => "subprotocol",
        }
    }

    /// The answer's status: 426 with what to upgrade to (RFC 6455, section 4.4; RFC 9110, section 15.5.22), 403 for the origin, 400
    /// else.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::OldHttp | Self::Body | Self::Key | Self::Subprotocol => StatusCode::BAD_REQUEST,
        }
    }

    /// Adds what a client needs that is told to upgrade.
    pub fn explain(self, headers: &mut HeaderMap) {
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }
}

/// The 101 for a valid opening handshake. `subprotocols` are those spoken on this path; a client that offers some has to offer one of
/// them, unless there are none at all.
///
/// # Errors
/// It is no such handshake.
pub fn accept(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    subprotocols: &[&'static str],
) -> Result<Response<()>, BadHandshake> {
    if method != Method::GET
        || !has_token(headers, &CONNECTION, "upgrade")
        || !has_token(headers, &UPGRADE, "websocket")
    {
        return Err(BadHandshake::NoUpgrade);
    }
    if version < Version::HTTP_11 {
        return Err(BadHandshake::OldHttp);
    }
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
    {
        return Err(BadHandshake::Body);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(BadHandshake::Version);
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(BadHandshake::Key)?;
    let subprotocol = choose(headers, subprotocols)?;
    let mut reply = Response::new(());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = reply.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| BadHandshake::Key)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    Ok(reply)
}

/// Whether a browser's page may use this server: every page when none is listed, and always who sends no Origin, which no page can
/// do (RFC 6454, section 7.3).
///
/// # Errors
/// The page is of another origin.
pub fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), BadHandshake> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let known = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
    if allowed.is_empty() || allowed.iter().any(known) { Ok(()) } else { Err(BadHandshake::Origin) }
}

fn choose(headers: &HeaderMap, spoken: &[&'static str]) -> Result<Option<&'static str>, BadHandshake> {
    if spoken.is_empty() || !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let chosen = spoken.iter().find(|name| has_token(headers, &SEC_WEBSOCKET_PROTOCOL, name));
    chosen.map(|name| Some(*name)).ok_or(BadHandshake::Subprotocol)
}

/// Whether a list header holds a token, whatever its case (RFC 9110, section 5.6.1).
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        // Most lists are of one.
        value.as_bytes().eq_ignore_ascii_case(token.as_bytes())
            || value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}

/// 16 bytes in base64: 22 digits, of which the last has four spare bits that are zero, and two pads.
fn is_key(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit) && b"AQgw".contains(&key[21])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let standard = [
            (CONNECTION, "keep-alive, Upgrade"),
            (UPGRADE, "WebSocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in standard {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(&mut headers);
        headers
    }

    fn outcome(headers: &HeaderMap) -> Result<StatusCode, BadHandshake> {
        accept(&Method::GET, Version::HTTP_11, headers, &["centrifuge-json"]).map(|reply| reply.status())
    }

    #[test]
    fn the_handshake_of_the_rfc_gets_the_accept_key_of_the_rfc() {
        let reply = accept(&Method::GET, Version::HTTP_11, &headers(|_| {}), &[]).unwrap();
        assert_eq!(reply.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(reply.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_flaw_is_refused_by_its_name() {
        let without = |name: HeaderName| headers(|h| drop(h.remove(name)));
        let with = |name: HeaderName, value: &'static str| {
            headers(|h| drop(h.insert(name, HeaderValue::from_static(value))))
        };
        let cases = [
            (without(UPGRADE), BadHandshake::NoUpgrade),
            (without(CONNECTION), BadHandshake::NoUpgrade),
            (with(CONTENT_LENGTH, "3"), BadHandshake::Body),
            (with(TRANSFER_ENCODING, "chunked"), BadHandshake::Body),
            (with(SEC_WEBSOCKET_VERSION, "8"), BadHandshake::Version),
            (without(SEC_WEBSOCKET_VERSION), BadHandshake::Version),
            (without(SEC_WEBSOCKET_KEY), BadHandshake::Key),
            (with(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25j"), BadHandshake::Key),
            (with(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZR=="), BadHandshake::Key),
            (with(SEC_WEBSOCKET_PROTOCOL, "centrifuge-protobuf"), BadHandshake::Subprotocol),
        ];
        for (headers, expected) in cases {
            assert_eq!(outcome(&headers), Err(expected), "{headers:?}");
        }
        assert_eq!(
            accept(&Method::GET, Version::HTTP_10, &headers(|_| {}), &[]).map(|r| r.status()),
            Err(BadHandshake::OldHttp)
        );
    }

    #[test]
    fn a_body_of_no_bytes_is_none() {
        let empty = headers(|h| drop(h.insert(CONTENT_LENGTH, HeaderValue::from_static("0"))));
        assert_eq!(outcome(&empty), Ok(StatusCode::SWITCHING_PROTOCOLS));
    }

    #[test]
    fn two_keys_are_none() {
        let twice = headers(|h| {
            h.append(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        });
        assert_eq!(outcome(&twice), Err(BadHandshake::Key));
    }

    #[test]
    fn only_listed_pages_may_connect_once_some_are_listed() {
        let page = headers(|h| drop(h.insert(ORIGIN, HeaderValue::from_static("https://Example.com"))));
        let allowed =
            |list: &[&str]| check_origin(&page, &list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(allowed(&[]), Ok(()));
        assert_eq!(allowed(&["https://example.com"]), Ok(()));
        assert_eq!(allowed(&["https://other.example"]), Err(BadHandshake::Origin));
        assert_eq!(check_origin(&HeaderMap::new(), &["https://example.com".to_owned()]), Ok(()));
    }
}
