//! The control port: what the fleet is to do, and what it has seen.
//!
//! | request | body | answer |
//! |---|---|---|
//! | GET /stats | | [`Stats`](crate::stats::Stats) |
//! | POST /clients | [`ClientsRequest`] | 204 |
//! | POST /publish | [`PublishRequest`] | 204 |
//! | POST /abuse | [`AbuseRequest`] | 204 |
//! | POST /probe | [`ProbeRequest`] | [`Reach`](crate::stats::Reach) |
//! | POST /reset | | 204; counters start from 0 |

use std::{convert::Infallible, io, rc::Rc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpListener, task::spawn_local};

use crate::{
    abuse::Abuses,
    context::Context,
    fleet::Fleet,
    probe::probe,
    publisher::Publisher,
    stats::{AbuseRequest, ClientsRequest, ProbeRequest, PublishRequest},
};

/// Size in bytes of the largest body that is read.
const BODY_LIMIT: usize = 64 * 1024;

/// What the control port controls.
pub struct Control {
    /// The clock and the books.
    pub context: Rc<Context>,
    /// The clients.
    pub fleet: Fleet,
    /// The publisher.
    pub publisher: Publisher,
    /// The abusive connections.
    pub abuses: Abuses,
}

type Reply = Response<Full<Bytes>>;

/// Why a request is not carried out: the status and what is wrong.
struct Refusal(StatusCode, String);

/// Serves the control port until the listener fails.
pub async fn serve(control: Rc<Control>, listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let control = control.clone();
        spawn_local(async move {
            let service = service_fn(|request| answer(&control, request));
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a control connection failed");
            }
        });
    }
}

async fn answer(control: &Control, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (status, body) = match route(control, request).await {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (StatusCode::NO_CONTENT, Vec::new()),
        Err(Refusal(status, message)) => (status, message.into_bytes()),
    };
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    Ok(reply)
}

async fn route(control: &Control, request: Request<Incoming>) -> Result<Option<Vec<u8>>, Refusal> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/stats") => {
            let now = control.context.now();
            let stats = control.context.auditor().stats(control.fleet.wanted(), now);
            return json(&stats).map(Some);
        }
        (&Method::POST, "/clients") => control.fleet.set(&body::<ClientsRequest>(request).await?),
        (&Method::POST, "/publish") => control.publisher.publish(&body::<PublishRequest>(request).await?),
        (&Method::POST, "/abuse") => control.abuses.set(&body::<AbuseRequest>(request).await?),
        (&Method::POST, "/probe") => {
            let ProbeRequest { address } = body(request).await?;
            return json(&probe(address).await).map(Some);
        }
        (&Method::POST, "/reset") => control.context.auditor().reset(control.context.now()),
        (method, path) => {
            let served = "GET /stats, POST /clients, /publish, /abuse, /probe and /reset are served here";
            return Err(Refusal(StatusCode::NOT_FOUND, format!("{method} {path}: {served}\n")));
        }
    }
    Ok(None)
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer).map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let refuse = |error: String| Refusal(StatusCode::BAD_REQUEST, format!("{error}\n"));
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(|error| refuse(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| refuse(error.to_string()))
}
