//! The control port: health, metrics, the report that the operator reads, the drain that it steers, and the configuration.

use std::{
    cell::RefCell, collections::VecDeque, convert::Infallible, future::Future, net::IpAddr, pin::Pin, rc::Rc,
    sync::Arc, time::Duration,
};

use gateway_core::control::{BackplaneHealth, ConfigExchanged, ConfigInForce, DrainRequest, Report};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    backplane::BackplaneHandle,
    config_document,
    drain::Drain,
    http::{
        Framing, HttpStream, bearer, is_same, read_body,
        reply::{self, HttpResponse},
    },
    jwks::KeySetStatus,
    node::Node,
    places::Places,
    policies::{ExchangeError, Policies},
};

/// Connections at once; the kubelet, Prometheus and the operator need a few, and who holds more makes room for them.
const MAX_CONNECTIONS: usize = 64;
/// For a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A drain request at most.
const MAX_BODY: usize = 4096;
/// A configuration at most.
const MAX_CONFIG: usize = 1024 * 1024;
/// Over which the rate of new connections is taken.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// What the control port shows and steers.
#[derive(Clone)]
pub struct ControlPort {
    /// What the threads share.
    pub node: Arc<Node>,
    /// Whose health is reported.
    pub backplane: BackplaneHandle,
    /// What is steered.
    pub drain: Rc<RefCell<Drain>>,
    /// What is exchanged.
    pub policies: Rc<Policies>,
    /// How keys come here that are fetched.
    pub key_set: KeySetStatus,
    /// Filled once a second.
    pub rate: Rc<RefCell<AcceptRate>>,
}

/// How many connections came per second, lately.
#[derive(Debug, Default)]
pub struct AcceptRate {
    /// Time and number of connections accepted until then, oldest first.
    samples: VecDeque<(Duration, u64)>,
}

impl AcceptRate {
    /// Takes a sample; call it about once a second.
    pub fn sample(&mut self, now: Duration, accepted: u64) {
        self.samples.push_back((now, accepted));
        // The oldest sample is the last one that is not younger than the window.
        while self.samples.get(1).is_some_and(|(at, _)| *at + RATE_WINDOW <= now) {
            self.samples.pop_front();
        }
    }

    /// Connections per second since the oldest sample.
    #[must_use]
    pub fn per_second(&self, now: Duration, accepted: u64) -> f64 {
        let Some((at, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.saturating_sub(*at).as_secs_f64();
        if seconds > 0.0 { (accepted - before) as f64 / seconds } else { 0.0 }
    }
}

impl ControlPort {
    /// Serves the control port for ever.
    pub async fn serve(self, listener: TcpListener) {
        let places = Places::new(MAX_CONNECTIONS, self.node.metrics.control_connections.clone());
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.clone().admit(stream, peer.ip(), &places),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections to the control port");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(self, stream: TcpStream, peer: IpAddr, places: &Places) {
        places.admit(peer, |place| async move {
            let stream = HttpStream::registered(stream);
            let service = Connection { port: self, framing: stream.framing() };
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = http.serve_connection(stream, service).await {
                tracing::debug!(%error, "a connection to the control port broke");
            }
            drop(place);
        });
    }

    async fn route(&self, request: Request<Incoming>) -> HttpResponse {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/livez") => reply::body(StatusCode::OK, "text/plain", "ok\n"),
            (&Method::GET, "/readyz") => self.readiness(),
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::GET, "/report")
            | (&Method::POST | &Method::DELETE, "/drain")
            | (&Method::GET | &Method::PUT, "/config") => {
                if !self.is_authorized(&request) {
                    let message = "send Authorization: Bearer with the control token";
                    return reply::refuse(StatusCode::UNAUTHORIZED, message);
                }
                match (request.method(), path.as_str()) {
                    (_, "/report") => reply::json(StatusCode::OK, &self.report()),
                    (&Method::GET, "/config") => self.config(),
                    (_, "/config") => self.exchange(request).await,
                    (&Method::DELETE, _) => self.cancel(),
                    _ => self.drain(request).await,
                }
            }
            (_, "/livez" | "/readyz" | "/metrics" | "/report") => reply::method_not_allowed(&[Method::GET]),
            (_, "/config") => reply::method_not_allowed(&[Method::GET, Method::PUT]),
            (_, "/drain") => reply::method_not_allowed(&[Method::POST, Method::DELETE]),
            _ => reply::refuse(StatusCode::NOT_FOUND, "this is the control port; clients connect to another"),
        }
    }

    /// A backplane out of reach is reported, but keeps nobody away: it is out of every gateway's reach at once, and none would be left. A
    /// gateway that has never had the keys it needs leaves its clients to those that have them.
    fn readiness(&self) -> HttpResponse {
        let reason = if !self.node.is_started() {
            "starting\n"
        } else if self.drain.borrow().progress().is_some() {
            "draining\n"
        } else if self.key_set.is_awaited() {
            "waiting for the keys of auth.jwks.url\n"
        } else {
            return reply::body(StatusCode::OK, "text/plain", "ok\n");
        };
        reply::body(StatusCode::SERVICE_UNAVAILABLE, "text/plain", reason)
    }

    fn metrics(&self) -> HttpResponse {
        let draining = self.drain.borrow().progress().is_some();
        let healthy = self.backplane.health() == BackplaneHealth::Healthy;
        let text = self.node.metrics.expose(&self.node.shards, &self.node.memory, draining, healthy);
        reply::body(StatusCode::OK, "text/plain; version=0.0.4", text)
    }

    fn report(&self) -> Report {
        let accepted = self.node.accepted();
        let now = self.node.clock.elapsed();
        Report {
            node: self.node.settings.node_name.clone(),
            revision: self.node.settings.revision.clone(),
            config_hash: self.policies.in_force().hash().to_owned(),
            connections: self.node.connections(),
            accepted,
            accepts_per_second: self.rate.borrow().per_second(now, accepted.new + accepted.resumed),
            drain: self.drain.borrow().progress(),
            backplane: self.backplane.health(),
            memory: self.node.memory.fraction(),
            jwks: self.key_set.health(now),
        }
    }

    fn config(&self) -> HttpResponse {
        let policy = self.policies.in_force();
        let in_force =
            ConfigInForce { config: policy.document().clone(), config_hash: policy.hash().to_owned() };
        reply::json(StatusCode::OK, &in_force)
    }

    async fn exchange(&self, request: Request<Incoming>) -> HttpResponse {
        let body = match read_body(request.into_body(), MAX_CONFIG, "", &self.node.memory).await {
            Ok(body) => body,
            Err(error) => return error.reply(),
        };
        let settings = &self.node.settings;
        let config = match config_document::parse(&body, |config| settings.anonymous_under(config)) {
            Ok(config) => config,
            Err(error) => return reply::refuse(error.status(), &error.to_string()),
        };
        // A task of its own, which ends even if who asked goes away.
        let (exchange, key_set) = (self.policies.clone().exchange_config(config), self.key_set.clone());
        let exchanging = tokio::task::spawn_local(async move {
            exchange.await.inspect(|policy| key_set.reconfigured(policy.auth()))
        });
        match exchanging.await {
            Ok(Ok(policy)) => {
                reply::json(StatusCode::OK, &ConfigExchanged { config_hash: policy.hash().to_owned() })
            }
            Ok(Err(error @ ExchangeError::Busy)) => reply::unavailable(1, &error.to_string()),
            Ok(Err(error)) => reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
            Err(_) => reply::unavailable(1, "the gateway is ending"),
        }
    }

    async fn drain(&self, request: Request<Incoming>) -> HttpResponse {
        let body = match read_body(request.into_body(), MAX_BODY, "", &self.node.memory).await {
            Ok(body) => body,
            Err(error) => return error.reply(),
        };
        let mut json = serde_json::Deserializer::from_slice(&body);
        let request: DrainRequest = match serde_path_to_error::deserialize(&mut json) {
            Ok(request) => request,
            Err(error) => return reply::refuse(StatusCode::BAD_REQUEST, &format!("drain request: {error}")),
        };
        let rate = request.connections_per_second;
        if !(rate.is_finite() && rate >= 0.0) {
            let message = format!("drain request: connectionsPerSecond is {rate}; 0 pauses, more moves");
            return reply::refuse(StatusCode::BAD_REQUEST, &message);
        }
        self.drain.borrow_mut().request(&request);
        reply::json(StatusCode::OK, &self.report())
    }

    fn cancel(&self) -> HttpResponse {
        // The guard ends before the report borrows again.
        let cancelled = self.drain.borrow_mut().cancel();
        match cancelled {
            Ok(()) => reply::json(StatusCode::OK, &self.report()),
            Err(error) => reply::refuse(StatusCode::CONFLICT, &error.to_string()),
        }
    }

    fn is_authorized(&self, request: &Request<Incoming>) -> bool {
        let Some(expected) = &self.node.settings.secrets.control_token else { return true };
        bearer(request.headers()).is_some_and(|token| is_same(&token, expected.reveal()))
    }
}

/// The control port, as one connection sees it.
struct Connection {
    port: ControlPort,
    framing: Framing,
}

impl Service<Request<Incoming>> for Connection {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let port = self.port.clone();
        let head = self.framing.begin(&request);
        let is_last = head.is_err() || self.framing.is_last();
        Box::pin(async move {
            let mut reply = match head {
                Ok(()) => port.route(request).await,
                Err(flaw) => reply::refuse(flaw.status(), &flaw.to_string()),
            };
            if is_last {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(reply)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_new_connections_is_that_of_the_last_ten_seconds() {
        let mut rate = AcceptRate::default();
        for second in 0..60 {
            rate.sample(Duration::from_secs(second), if second < 30 { 100 * second } else { 3_000 });
        }
        assert_eq!(rate.per_second(Duration::from_secs(60), 3_000), 0.0);
        rate.sample(Duration::from_secs(60), 3_050);
        assert_eq!(rate.per_second(Duration::from_secs(60), 3_050), 5.0);
    }
}
