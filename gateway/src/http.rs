//! The client port before the 101: HTTP requests, and opening handshakes that lead out of HTTP.

mod api;
mod body;
mod framing;
pub mod reply;
mod stream;

use std::{
    borrow::Cow,
    cell::{Cell, Ref},
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use gateway_core::{
    address::{self, Site},
    backplane::{Op, Outcome, Payload},
    centrifuge::command::valid_channel,
    config::Protocol as Served,
    handshake::{self, BadHandshake, Subprotocols},
    policy::Policy,
    raw::backplane_channel,
    shard::Opening,
    token::{EntryToken, TokenError},
};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN,
    },
    service::Service,
};
use subtle::ConstantTimeEq as _;

use self::reply::Reply;
pub use self::{
    body::{BadBody, charge, read as read_body},
    framing::Framing,
    stream::HttpStream,
};
use crate::{
    admission::Refusal,
    backplane::BackplaneHandle,
    node::Node,
    page,
    places::Place,
    reactor::{Accepted, Reactor, ReactorRef},
};

/// No standard's, but every proxy's.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a channel's name may be, for error messages.
const CHANNEL_RULE: &str = "1 to 255 printable ASCII characters";

/// What the requests of one TCP connection need.
#[derive(Clone)]
pub struct ClientPort {
    /// What the threads share.
    pub node: Arc<Node>,
    /// Where publishes go.
    pub backplane: BackplaneHandle,
    /// Whose policy counts.
    pub reactor: ReactorRef,
    /// Who made the connection, or for whom a proxy did.
    pub peer: IpAddr,
    /// The connection's.
    pub place: Rc<Place>,
    /// The connection's.
    pub framing: Framing,
    /// Set by the request that led to a 101.
    pub accepted: Rc<Cell<Option<Accepted>>>,
}

impl Service<Request<Incoming>> for ClientPort {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let port = self.clone();
        let head = self.framing.begin(&request);
        Box::pin(async move {
            let crowded = port.place.has_arrived();
            let is_last = crowded || head.is_err() || port.framing.is_last();
            let mut reply = match head {
                Ok(()) => port.route(request).await,
                Err(flaw) => reply::refuse(StatusCode::BAD_REQUEST, &flaw.to_string()),
            };
            if is_last && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(reply)
        })
    }
}

impl ClientPort {
    async fn route(&self, request: Request<Incoming>) -> Reply {
        let exchanges = self.reactor.borrow().exchanges();
        let path = request.uri().path();
        let (first, rest) = path[1.min(path.len())..].split_once('/').unwrap_or((path, ""));
        match (first, rest) {
            ("connection", "websocket") if self.serves(Served::Centrifuge) => {
                let spoken = Subprotocols::Spoken(&["centrifuge-json"]);
                self.upgrade(&request, Opening::Centrifuge, spoken, exchanges)
            }
            ("raw", channel) if self.serves(Served::Raw) => {
                let Some(channel) = decode(channel).filter(|channel| valid_channel(channel)) else {
                    let message = format!("the channel in /raw/{{channel}} has to be {CHANNEL_RULE}");
                    return reply::refuse(StatusCode::BAD_REQUEST, &message);
                };
                let token = match self.authorize_raw(&request, &channel).await {
                    Ok(token) => token,
                    Err(reply) => return reply,
                };
                if request.method() == Method::POST {
                    self.publish_raw(request, &channel).await
                } else {
                    self.upgrade(&request, Opening::Raw { channel, token }, Subprotocols::Any, exchanges)
                }
            }
            ("api", _) => self.api(request).await,
            ("/echo", "") if self.node.settings.echo => {
                self.upgrade(&request, Opening::Echo, Subprotocols::Any, exchanges)
            }
            _ => page(&request),
        }
    }

    /// What the shard goes by. Not to be held over an await.
    fn policy(&self) -> Ref<'_, Arc<Policy>> {
        Ref::map(self.reactor.borrow(), Reactor::policy)
    }

    fn serves(&self, protocol: Served) -> bool {
        self.policy().serves(protocol)
    }

    /// Answers an opening handshake; what it was for is left in `accepted`.
    fn upgrade(
        &self,
        request: &Request<Incoming>,
        opening: Opening,
        subprotocols: Subprotocols,
        exchanges: u32,
    ) -> Reply {
        let served = handshake::Served { subprotocols, compression: self.policy().compression() };
        let valid = handshake::accept(request.method(), request.version(), request.headers(), served)
            .and_then(|accepted| self.check_origin(request.headers()).map(|()| accepted));
        let (reply, transport) = match valid {
            Ok((reply, transport)) => (reply.map(|()| Full::default()), transport),
            Err(flaw) => {
                self.node.metrics.refused(flaw.label());
                return reply::bad_handshake(flaw);
            }
        };
        let admitted = if self.node.memory.is_tight() {
            Err(Refusal::ShortOfMemory)
        } else {
            self.node.admission.admit(self.client(request.headers()), self.node.clock.elapsed())
        };
        match admitted {
            Ok(permit) => {
                self.accepted.set(Some(Accepted { opening, transport, permit, exchanges }));
                reply
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        self.node.metrics.refused(refusal.label());
        reply::refuse_for_now(refusal.status(), refusal.retry_after(), &refusal.to_string())
    }

    fn unauthorized(&self, message: &str) -> Reply {
        self.node.metrics.refused("token");
        reply::refuse(StatusCode::UNAUTHORIZED, message)
    }

    /// Whose request it is, as far as the proxies are to be believed.
    fn client(&self, headers: &HeaderMap) -> IpAddr {
        match self.policy().proxies().trusted.as_slice() {
            [] => self.peer,
            trusted => {
                let values = headers.get_all(FORWARDED_FOR).iter();
                address::client(self.peer, values.filter_map(|value| value.to_str().ok()), trusted)
            }
        }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), BadHandshake> {
        handshake::check_origin(headers, self.policy().allowed_origins())
    }

    /// Raw clients have no command to bring a token with, so it comes in the URL or in a header. What it says; nothing for who needs none.
    async fn authorize_raw(
        &self,
        request: &Request<Incoming>,
        channel: &str,
    ) -> Result<Option<EntryToken>, Reply> {
        let bearer = || bearer(request.headers());
        let token = parameter(request.uri().query(), "token").or_else(bearer);
        let Some(token) = token else {
            return if self.policy().auth().anonymous && self.policy().may_enter_raw(channel, "") {
                Ok(None)
            } else {
                Err(self.unauthorized("a token is needed, as ?token= or as Authorization: Bearer"))
            };
        };
        let (admission, client) = (&self.node.admission, self.client(request.headers()));
        admission.check(client, self.node.clock.elapsed()).map_err(|refusal| self.refuse(refusal))?;
        let token = self.entry(client, &token, channel).await.map_err(|error| match error {
            TokenError::UnknownKey => {
                self.node.unknown_keys.notify_one();
                self.node.metrics.refused("unknown_key");
                reply::unavailable(1, &error.to_string())
            }
            TokenError::TooMany | TokenError::Unchecked => reply::unavailable(1, &error.to_string()),
            TokenError::Invalid(_) => {
                admission.wrong_token(Site::of(client), self.node.clock.elapsed());
                self.unauthorized(&error.to_string())
            }
            TokenError::Expired => self.unauthorized(&error.to_string()),
        })?;
        if token.names_channel || self.policy().may_enter_raw(channel, &token.user) {
            Ok(Some(token))
        } else {
            Err(self.unauthorized("the channel needs a subscription token for it, or another user's"))
        }
    }

    /// Verifies a token, on another thread where that is slow: whoever brings wrong ones holds up new clients at most.
    async fn entry(&self, client: IpAddr, token: &str, channel: &str) -> Result<EntryToken, TokenError> {
        let verifier = self.policy().verifier().clone();
        let checked = if verifier.is_slow() {
            let check = self.node.checks.submit(Site::of(client), &verifier, token);
            check.ok_or(TokenError::TooMany)?.await.map_err(|_| TokenError::TooMany)?
        } else {
            verifier.check(token)
        };
        checked.entry(channel, self.node.clock.now())
    }

    async fn publish_raw(&self, request: Request<Incoming>, channel: &str) -> Reply {
        if let Err(flaw) = self.check_origin(request.headers()) {
            return reply::bad_handshake(flaw);
        }
        let is_text = request.headers().get(CONTENT_TYPE).is_some_and(is_text);
        let body = match self.body(request).await {
            Ok(body) => body,
            Err(error) => return error.reply(),
        };
        let _busy = self.place.work();
        let payload = match std::str::from_utf8(&body) {
            Ok(_) if is_text => Payload::Text(body),
            _ => Payload::Binary(body),
        };
        self.node.metrics.publications.inc();
        let op = Op::Publish {
            retention: self.policy().raw_retention(channel),
            channel: backplane_channel(channel).into(),
            payload,
            info: None,
            origin: None,
            idempotency_key: None,
        };
        match self.backplane.call(op).await {
            Ok(Outcome::Published { .. }) => reply::json(StatusCode::OK, &serde_json::json!({"result": {}})),
            Ok(_) => {
                reply::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the backplane gave no answer to a publish")
            }
            Err(error) => reply::unavailable(1, &error.to_string()),
        }
    }

    async fn api(&self, request: Request<Incoming>) -> Reply {
        if let Err(message) = self.authorize_api(request.headers()) {
            return reply::refuse(StatusCode::UNAUTHORIZED, message);
        }
        if request.method() != Method::POST {
            return reply::method_not_allowed(&[Method::POST]);
        }
        let method = request.uri().path().trim_start_matches("/api").trim_matches('/').to_owned();
        match self.body(request).await {
            Ok(body) => {
                let _busy = self.place.work();
                let policy = self.policy().clone();
                let answer = api::call(&self.node, &policy, &self.backplane, &method, body).await;
                charge(answer, &self.node.memory).await
            }
            Err(error) => error.reply(),
        }
    }

    /// Where a request comes from says nothing about who sent it: behind a proxy on this machine all of them come from loopback.
    fn authorize_api(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let Some(expected) = &self.node.settings.secrets.api_key else {
            return if !self.node.settings.insecure_api {
                Err(
                    "the server API needs a key: start the gateway with --api-key-file, or to try it with --insecure-api",
                )
            } else if headers.contains_key(ORIGIN) {
                Err("without --api-key-file the server API does not serve web pages")
            } else {
                Ok(())
            };
        };
        let scheme = |value: &str| value.strip_prefix("apikey ").map(str::to_owned);
        let given = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let given = given.or_else(|| headers.get(AUTHORIZATION)?.to_str().ok().and_then(scheme));
        match given {
            Some(given) if is_same(&given, expected.reveal()) => Ok(()),
            Some(_) => Err("the API key is not the one of --api-key-file"),
            None => Err("send the API key as X-API-Key, or as Authorization: apikey KEY"),
        }
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, BadBody> {
        let limit = self.policy().limits().max_message_bytes as usize;
        read_body(request.into_body(), limit, " (limits.maxMessageBytes)", &self.node.memory).await
    }
}

/// Compares secrets in a time that says nothing about where they differ.
pub fn is_same(given: &str, expected: &str) -> bool {
    given.as_bytes().ct_eq(expected.as_bytes()).into()
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn page(request: &Request<Incoming>) -> Reply {
    let Some(asset) = page::asset(request.uri().path()) else {
        return reply::refuse(StatusCode::NOT_FOUND, "nothing is served here");
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply::method_not_allowed(&[Method::GET, Method::HEAD]);
    }
    let mut reply = reply::body(StatusCode::OK, asset.content_type, asset.body);
    let policy = HeaderValue::from_static(page::CONTENT_SECURITY_POLICY);
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    reply
}

fn is_text(content_type: &HeaderValue) -> bool {
    let content_type = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    content_type.starts_with("text/") || content_type.starts_with("application/json")
}

/// A parameter of the query, decoded.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Percent-decoding (RFC 3986, section 2.1); nothing when the result is no UTF-8.
fn decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_or_refused() {
        assert_eq!(decode("room%201"), Some("room 1".to_owned()));
        assert_eq!(decode("100%"), Some("100%".to_owned()), "what encodes nothing stands for itself");
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        assert_eq!(parameter(Some("a=1&token=x%2By&tok=2"), "token"), Some("x+y".to_owned()));
        assert_eq!(parameter(Some("atoken=1"), "token"), None);
        assert_eq!(parameter(None, "token"), None);
    }

    #[test]
    fn json_and_text_are_text_and_the_rest_is_binary() {
        let cases = [("text/plain; charset=utf-8", true), ("Application/JSON", true), ("image/png", false)];
        for (content_type, expected) in cases {
            assert_eq!(is_text(&HeaderValue::from_static(content_type)), expected, "{content_type}");
        }
    }
}
