//! The client port before the 101: HTTP requests, and opening handshakes that lead out of HTTP.

mod api;
mod body;
mod framing;
mod raw;
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
    address,
    centrifuge::command::valid_channel,
    config::ProtocolName,
    handshake::{self, BadHandshake, Subprotocols},
    policy::Policy,
    shard::Opening,
};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, ORIGIN},
    service::Service,
};
use subtle::ConstantTimeEq as _;

use self::reply::HttpResponse;
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
    reactor::{Reactor, ReactorRef, Upgraded},
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
    pub upgraded: Rc<Cell<Option<Upgraded>>>,
}

impl Service<Request<Incoming>> for ClientPort {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let port = self.clone();
        let head = self.framing.begin(&request);
        Box::pin(async move {
            let crowded = port.place.has_arrived();
            let is_last = crowded || head.is_err() || port.framing.is_last();
            let mut reply = match head {
                Ok(()) => port.route(request).await,
                Err(flaw) => reply::refuse(flaw.status(), &flaw.to_string()),
            };
            if is_last && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(reply)
        })
    }
}

impl ClientPort {
    async fn route(&self, request: Request<Incoming>) -> HttpResponse {
        let exchanges = self.reactor.borrow().exchanges();
        let path = request.uri().path();
        let (first, rest) = path[1.min(path.len())..].split_once('/').unwrap_or((path, ""));
        match (first, rest) {
            ("connection", "websocket") if self.serves(ProtocolName::Centrifuge) => {
                let spoken = Subprotocols::Spoken(&["centrifuge-json"]);
                self.upgrade(&request, Opening::Centrifuge, spoken, exchanges)
            }
            ("raw", channel) if self.serves(ProtocolName::Raw) => {
                let Some(channel) = decode(channel).filter(|channel| valid_channel(channel)) else {
                    let message = format!("the channel in /raw/{{channel}} has to be {CHANNEL_RULE}");
                    return reply::refuse(StatusCode::BAD_REQUEST, &message);
                };
                let token = match self.authorize_raw(&request, &channel).await {
                    Ok(token) => token,
                    Err(reply) => return reply,
                };
                if request.method() == Method::POST {
                    self.publish_raw(request, &channel, token).await
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

    fn serves(&self, protocol: ProtocolName) -> bool {
        self.policy().serves(protocol)
    }

    /// Answers an opening handshake; what it was for is left in `upgraded`.
    fn upgrade(
        &self,
        request: &Request<Incoming>,
        opening: Opening,
        subprotocols: Subprotocols,
        exchanges: u32,
    ) -> HttpResponse {
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
                self.upgraded.set(Some(Upgraded { opening, transport, permit, exchanges }));
                reply
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&self, refusal: Refusal) -> HttpResponse {
        self.node.metrics.refused(refusal.label());
        reply::refuse_for_now(refusal.status(), refusal.retry_after(), &refusal.to_string())
    }

    fn unauthorized(&self, message: &str) -> HttpResponse {
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

    async fn api(&self, request: Request<Incoming>) -> HttpResponse {
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

fn page(request: &Request<Incoming>) -> HttpResponse {
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
}
