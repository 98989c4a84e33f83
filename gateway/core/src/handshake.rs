//! The opening handshake of RFC 6455, section 4.2, on the server's side.

mod extensions;

use http::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use smallvec::SmallVec;
use tungstenite::handshake::derive_accept_key;

use crate::transport::Transport;

/// More than any client offers, and few enough to be compared with each other.
const MAX_SUBPROTOCOLS: usize = 32;

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
    /// Not a list of names, or one with a name twice.
    #[error("Sec-WebSocket-Protocol has to be a list of different names, like chat, superchat")]
    SubprotocolList,
    /// Not a list of extensions (section 9.1).
    #[error(
        "Sec-WebSocket-Extensions has to be a list of names with parameters, like permessage-deflate; a=1"
    )]
    Extensions,
}

/// What is served on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The protocols of its messages.
    pub subprotocols: Subprotocols,
    /// Messages may be compressed by permessage-deflate.
    pub compression: bool,
}

/// The subprotocols of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocols {
    /// These are spoken, by whoever offers none as well.
    Spoken(&'static [&'static str]),
    /// Messages mean nothing to this server. The client's first choice is taken, since a browser ends a connection that takes none
    /// of its own.
    Any,
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
            Self::Subprotocol | Self::SubprotocolList => "subprotocol",
            Self::Extensions => "extensions",
        }
    }

    /// The answer's status: 426 with what to upgrade to (RFC 6455, section 4.4; RFC 9110, section 15.5.22), 403 for the origin, 400
    /// else.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::OldHttp
            | Self::Body
            | Self::Key
            | Self::Subprotocol
            | Self::SubprotocolList
            | Self::Extensions => StatusCode::BAD_REQUEST,
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

/// The 101 for a valid opening handshake, and what it makes of the connection. Without compression extensions are passed over, as fields
/// that nobody knows are.
///
/// # Errors
/// It is no such handshake.
pub fn accept(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    served: Served,
) -> Result<(Response<()>, Transport), BadHandshake> {
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
    if single(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(BadHandshake::Version);
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(BadHandshake::Key)?;
    let subprotocol = choose(headers, served.subprotocols)?;
    let extensions = if served.compression { extensions::negotiate(headers)? } else { None };
    let mut reply = Response::new(());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = reply.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| BadHandshake::Key)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    let Some(extensions) = extensions else { return Ok((reply, Transport::WebSocket)) };
    answer.insert(SEC_WEBSOCKET_EXTENSIONS, extensions);
    Ok((reply, Transport::CompressedWebSocket))
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

/// Whether a browser could send this as a page's origin: a scheme, a host, and a port if it is not the scheme's own (RFC 6454, section
/// 6.2).
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_of_authority = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-[]".contains(&byte);
    scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_of_scheme)
        && !authority.is_empty()
        && authority.bytes().all(is_of_authority)
}

/// One of the client's subprotocols, letter by letter, since it compares what it gets with what it offered.
fn choose(headers: &HeaderMap, subprotocols: Subprotocols) -> Result<Option<HeaderValue>, BadHandshake> {
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let offered = offered(headers)?;
    let chosen = match subprotocols {
        Subprotocols::Any => offered.first().copied(),
        Subprotocols::Spoken(spoken) => spoken.iter().copied().find(|name| offered.contains(name)),
    };
    let chosen = chosen.ok_or(BadHandshake::Subprotocol)?;
    HeaderValue::from_str(chosen).map(Some).map_err(|_| BadHandshake::SubprotocolList)
}

/// The subprotocols that a client offers, in its order (section 4.1).
fn offered(headers: &HeaderMap) -> Result<SmallVec<[&str; 4]>, BadHandshake> {
    let mut names: SmallVec<[&str; 4]> = SmallVec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let value = value.to_str().map_err(|_| BadHandshake::SubprotocolList)?;
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !is_token(name) || names.len() == MAX_SUBPROTOCOLS || names.contains(&name) {
                return Err(BadHandshake::SubprotocolList);
            }
            names.push(name);
        }
    }
    if names.is_empty() { Err(BadHandshake::SubprotocolList) } else { Ok(names) }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_in_tokens = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_in_tokens)
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
        accept(&Method::GET, Version::HTTP_11, headers, served(CENTRIFUGE)).map(|(reply, _)| reply.status())
    }

    fn served(subprotocols: Subprotocols) -> Served {
        Served { subprotocols, compression: false }
    }

    const CENTRIFUGE: Subprotocols = Subprotocols::Spoken(&["centrifuge-json"]);

    /// What a client that offers these is given.
    fn subprotocol(
        offers: &[&'static str],
        subprotocols: Subprotocols,
    ) -> Result<Option<String>, BadHandshake> {
        let headers = headers(|h| {
            for offer in offers {
                h.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer));
            }
        });
        let (reply, _) = accept(&Method::GET, Version::HTTP_11, &headers, served(subprotocols))?;
        Ok(reply.headers().get(SEC_WEBSOCKET_PROTOCOL).map(|chosen| chosen.to_str().unwrap().to_owned()))
    }

    #[test]
    fn the_handshake_of_the_rfc_gets_the_accept_key_of_the_rfc() {
        let any = served(Subprotocols::Any);
        let (reply, transport) = accept(&Method::GET, Version::HTTP_11, &headers(|_| {}), any).unwrap();
        assert_eq!(transport, Transport::WebSocket);
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
        let any = served(Subprotocols::Any);
        assert_eq!(
            accept(&Method::GET, Version::HTTP_10, &headers(|_| {}), any).map(|(reply, _)| reply.status()),
            Err(BadHandshake::OldHttp)
        );
        assert_eq!(
            accept(&Method::POST, Version::HTTP_11, &headers(|_| {}), any).map(|(reply, _)| reply.status()),
            Err(BadHandshake::NoUpgrade)
        );
    }

    #[test]
    fn a_client_gets_one_of_the_subprotocols_that_it_offers_letter_by_letter() {
        let any = |offers: &[&'static str]| subprotocol(offers, Subprotocols::Any);
        let centrifuge = |offers: &[&'static str]| subprotocol(offers, CENTRIFUGE);
        let some = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!([any(&[]), centrifuge(&[])], [Ok(None), Ok(None)]);
        assert_eq!(any(&["Chat.v2, mqtt"]), some("Chat.v2"));
        assert_eq!(any(&[" , mqtt", "chat"]), some("mqtt"));
        assert_eq!(centrifuge(&["centrifuge-protobuf, centrifuge-json"]), some("centrifuge-json"));
        assert_eq!(centrifuge(&["x", "centrifuge-json"]), some("centrifuge-json"));
        for unspoken in ["centrifuge-protobuf", "Centrifuge-JSON"] {
            assert_eq!(centrifuge(&[unspoken]), Err(BadHandshake::Subprotocol), "{unspoken}");
        }
    }

    #[test]
    fn subprotocols_are_different_names_or_the_handshake_is_none() {
        let many: &str = (0..33).map(|n| format!("p{n}")).collect::<Vec<_>>().join(",").leak();
        for offers in [&["a, a"][..], &["a", "a"], &[""], &[","], &["a b"], &["a/1"], &["\"a\""], &[many]] {
            for subprotocols in [Subprotocols::Any, CENTRIFUGE] {
                assert_eq!(
                    subprotocol(offers, subprotocols),
                    Err(BadHandshake::SubprotocolList),
                    "{offers:?}"
                );
            }
        }
    }

    #[test]
    fn compression_is_agreed_on_where_it_is_served() {
        let offers = |offer: &'static str| {
            headers(|h| drop(h.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer))))
        };
        let outcome = |offer, compression| -> Result<_, BadHandshake> {
            let served = Served { subprotocols: Subprotocols::Any, compression };
            let (reply, transport) = accept(&Method::GET, Version::HTTP_11, &offers(offer), served)?;
            Ok((reply.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS), transport))
        };
        for (offer, compression, expected) in [
            ("permessage-deflate", true, Ok((true, Transport::CompressedWebSocket))),
            ("permessage-bzip2", true, Ok((false, Transport::WebSocket))),
            ("permessage deflate", true, Err(BadHandshake::Extensions)),
            ("permessage-deflate", false, Ok((false, Transport::WebSocket))),
            ("permessage deflate", false, Ok((false, Transport::WebSocket))),
        ] {
            assert_eq!(outcome(offer, compression), expected, "{offer} {compression}");
        }
    }

    #[test]
    fn two_versions_are_none() {
        let twice = headers(|h| {
            h.append(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        });
        assert_eq!(outcome(&twice), Err(BadHandshake::Version));
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

    #[test]
    fn an_origin_is_a_scheme_and_a_host_and_no_pattern() {
        for origin in [
            "https://example.com",
            "HTTP://a:8080",
            "http://[::1]:80",
            "capacitor://localhost",
            "a+b-c.1://x_y",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "",
            "*",
            "null",
            "example.com",
            "://a",
            "1a://b",
            "https://",
            "https://a/",
            "https://a/b",
            "https://*.a",
            "https://a b",
            "https://a?b",
            "https://a#b",
            "https://a@b",
            "https://\"a\"",
            "https://a\n",
            "https://ü",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
