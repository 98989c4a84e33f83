//! Client of the gateways' control port: reports and drains, each answered within a second or not at all.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gateway_core::control::{DrainRequest, Report};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// A gateway that takes longer to answer is treated as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// No answer of a gateway is longer, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why a gateway could not be asked or told something.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It is not there, or the network between is broken.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SocketAddr, #[source] hyper_util::client::legacy::Error),
    /// It did not answer in time.
    #[error("{0} did not answer within {limit}s", limit = ANSWER_TIMEOUT.as_secs())]
    Timeout(SocketAddr),
    /// It said no.
    #[error("{0} answered {1}")]
    Refused(SocketAddr, StatusCode),
    /// Its answer broke off or is too long.
    #[error("{0} gave an incomplete answer: {1}")]
    Incomplete(SocketAddr, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered something else than a report.
    #[error("{0} gave an answer that cannot be read: {1}")]
    Malformed(SocketAddr, #[source] serde_json::Error),
    /// The address belongs to another gateway by now.
    #[error("{address} is {found}, not {expected}")]
    OtherGateway {
        /// Who was asked.
        address: SocketAddr,
        /// Who answered.
        found: String,
        /// Who was meant.
        expected: String,
    },
    /// The request cannot be written down: the control token has characters that a header cannot carry.
    #[error("{0} cannot be asked with this control token: {1}")]
    Request(SocketAddr, #[source] hyper::http::Error),
}

/// One gateway to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its pod's name; the report must come from it.
    pub name: String,
    /// Its control port.
    pub address: SocketAddr,
    /// The cluster's control token.
    pub token: String,
}

impl Gateway {
    /// The gateway of the pod `name`, which listens on `control` at `ip`.
    #[must_use]
    pub fn new(name: &str, ip: IpAddr, control: u16, token: &str) -> Self {
        Self { name: name.to_owned(), address: SocketAddr::new(ip, control), token: token.to_owned() }
    }
}

/// Talks to gateways; connections are kept and used again.
#[derive(Clone)]
pub struct Gateways(Client<HttpConnector, Full<Bytes>>);

impl Default for Gateways {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_TIMEOUT));
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
    }
}

impl Gateways {
    /// Asks how loaded a gateway is.
    ///
    /// # Errors
    /// When it is unreachable, slow, refuses, is another gateway, or speaks another language.
    pub async fn report(&self, gateway: &Gateway) -> Result<Report, GatewayError> {
        let body = self.exchange(gateway, Method::GET, "/report", Bytes::new()).await?;
        let report: Report =
            serde_json::from_slice(&body).map_err(|e| GatewayError::Malformed(gateway.address, e))?;
        if report.node != gateway.name {
            return Err(GatewayError::OtherGateway {
                address: gateway.address,
                found: report.node,
                expected: gateway.name.clone(),
            });
        }
        Ok(report)
    }

    /// Starts a drain, or steers the one under way.
    ///
    /// # Errors
    /// When the gateway is unreachable, slow or refuses.
    pub async fn drain(&self, gateway: &Gateway, request: &DrainRequest) -> Result<(), GatewayError> {
        let body = serde_json::to_vec(request).map_err(|e| GatewayError::Malformed(gateway.address, e))?;
        self.exchange(gateway, Method::POST, "/drain", body.into()).await.map(drop)
    }

    /// Takes a drain back.
    ///
    /// # Errors
    /// When the gateway is unreachable, slow, or is terminating, which nobody can take back.
    pub async fn cancel_drain(&self, gateway: &Gateway) -> Result<(), GatewayError> {
        self.exchange(gateway, Method::DELETE, "/drain", Bytes::new()).await.map(drop)
    }

    async fn exchange(
        &self,
        gateway: &Gateway,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, GatewayError> {
        let address = gateway.address;
        let request = request(gateway, method, path, body)?;
        let answer = async {
            let response =
                self.0.request(request).await.map_err(|e| GatewayError::Unreachable(address, e))?;
            if !response.status().is_success() {
                return Err(GatewayError::Refused(address, response.status()));
            }
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            Ok(body.map_err(|e| GatewayError::Incomplete(address, e))?.to_bytes())
        };
        timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| GatewayError::Timeout(address))?
    }
}

fn request(
    gateway: &Gateway,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, GatewayError> {
    Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", gateway.address))
        .header(AUTHORIZATION, format!("Bearer {}", gateway.token))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|e| GatewayError::Request(gateway.address, e))
}
