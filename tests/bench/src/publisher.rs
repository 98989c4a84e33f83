//! Publishes numbered messages, so that what does not arrive is the cluster's doing: each is sent until a gateway has accepted it, or once
//! where a gateway could not tell the second try from another message.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::{
    select,
    sync::{Mutex, watch},
    task::spawn_local,
    time::{MissedTickBehavior, error::Elapsed, interval, sleep, timeout},
};

use crate::{
    audit::Position,
    channel::Channel,
    context::Context,
    message::Message,
    stats::{Form, Protocol, PublishRequest},
};

/// How long a gateway may take to answer one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Size in bytes of the largest answer that is read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("no answer within {} s", TRY_TIMEOUT.as_secs())]
    Timeout,
    #[error("no connection: {0}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("the request cannot be sent: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the answer broke off: {0}")]
    Incomplete(Box<dyn std::error::Error + Send + Sync>),
    #[error("answered {0}")]
    Refused(StatusCode),
    #[error("answered error {0}")]
    Failed(String),
    #[error("the answer is not the API's: {0}")]
    Answer(#[from] serde_json::Error),
}

impl PublishError {
    /// Whether a gateway said so.
    fn is_answer(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Failed(_))
    }
}

/// The number of a channel's last message; locked while one is under way, so that the next one is sent after it.
type Numbering = Rc<Mutex<u64>>;

/// Publishes to all channels, from one request to the next.
pub struct Publisher {
    context: Rc<Context>,
    gateway: Gateway,
    numberings: RefCell<BTreeMap<Channel, Numbering>>,
    /// Dropped to stop what runs.
    stop: RefCell<Option<watch::Sender<()>>>,
}

/// The HTTP side of a gateway.
#[derive(Clone)]
struct Gateway {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    api_key: Option<HeaderValue>,
    /// Makes the idempotency keys of two processes differ.
    run: u64,
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Published>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct Published {
    offset: Option<u64>,
    epoch: Option<String>,
}

#[derive(Deserialize)]
struct ApiError {
    code: u32,
    message: String,
}

/// What is posted to one channel, and where.
struct Route {
    form: Form,
    channel: Channel,
    size: usize,
    url: String,
}

impl Publisher {
    /// Publishes nothing yet.
    #[must_use]
    pub fn new(context: Rc<Context>, api_key: Option<HeaderValue>) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        let gateway = Gateway { http, api_key, run: rand::random() };
        Self { context, gateway, numberings: RefCell::default(), stop: RefCell::default() }
    }

    /// Publishes as asked from now on; what ran before ends with the message that is under way.
    pub fn publish(&self, request: &PublishRequest) {
        let (stop, stopped) = watch::channel(());
        self.stop.replace(Some(stop));
        if request.per_second <= 0.0 {
            return;
        }
        let period = Duration::from_secs_f64(1.0 / request.per_second.max(0.001));
        let default = format!("http://{}", self.context.target.authority);
        let protocol = match request.form {
            Form::Json => Protocol::Centrifuge,
            Form::Text | Form::Binary => Protocol::Raw,
        };
        for number in 0..request.channels {
            let channel = Channel { protocol, number };
            let urls = &request.urls;
            let url = urls.get(number % urls.len().max(1)).unwrap_or(&default).clone();
            let route = Route { form: request.form, channel, size: request.size, url };
            let sequence = self.numberings.borrow_mut().entry(channel).or_default().clone();
            // Channels take turns instead of all publishing at the same moment.
            let offset = period.mul_f64(number as f64 / request.channels as f64);
            let run = Run { context: self.context.clone(), gateway: self.gateway.clone(), route, sequence };
            // Counted from here on, so that whoever asked can wait for the end at once.
            self.context.auditor().publishing(true);
            spawn_local(run.publish(offset, period, request.total, stopped.clone()));
        }
    }
}

/// Publishing to one channel.
struct Run {
    context: Rc<Context>,
    gateway: Gateway,
    route: Route,
    sequence: Numbering,
}

impl Run {
    async fn publish(
        self,
        offset: Duration,
        period: Duration,
        total: Option<u64>,
        mut stopped: watch::Receiver<()>,
    ) {
        let mut sequence = self.sequence.lock().await;
        sleep(offset).await;
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..total.unwrap_or(u64::MAX) {
            select! {
                biased;
                _ = stopped.changed() => break,
                _ = ticks.tick() => {}
            }
            *sequence += 1;
            self.post(Message::new(*sequence, self.context.now())).await;
        }
        self.context.auditor().publishing(false);
    }

    async fn post(&self, message: Message) {
        let channel = self.route.channel;
        loop {
            match self.gateway.post(&self.route, message).await {
                Ok(position) => {
                    self.context.auditor().acknowledged(channel, message.sequence, position);
                    return;
                }
                Err(error) => {
                    self.context.auditor().publish_failed(error.to_string(), error.is_answer());
                    sleep(RETRY_PAUSE).await;
                }
            }
            if self.route.form != Form::Json {
                self.context.auditor().unaccepted(channel, message.sequence);
                return;
            }
        }
    }
}

impl Gateway {
    /// One try; the message's place in the stream where there is one.
    async fn post(&self, route: &Route, message: Message) -> Result<Option<Position>, PublishError> {
        let request = self.request(route, message)?;
        let exchange = async {
            let response = self.http.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            let body = body.map_err(PublishError::Incomplete)?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(PublishError::Refused(status)) }
        };
        let body = timeout(TRY_TIMEOUT, exchange).await.map_err(|Elapsed { .. }| PublishError::Timeout)??;
        match route.form {
            Form::Json => position(&body),
            Form::Text | Form::Binary => Ok(None),
        }
    }

    fn request(&self, route: &Route, message: Message) -> Result<Request<Full<Bytes>>, PublishError> {
        let Route { form, channel, size, url } = route;
        let name = channel.name();
        let post = Request::builder().method(Method::POST);
        let (mut post, body) = match form {
            Form::Json => {
                let key = format!("{:016x}-{name}-{}", self.run, message.sequence);
                let body = format!(
                    r#"{{"channel":"{name}","data":{},"idempotency_key":"{key}"}}"#,
                    message.to_text(*size)
                );
                (post.uri(format!("{url}/api/publish")).header(CONTENT_TYPE, "application/json"), body.into())
            }
            Form::Text => (
                post.uri(format!("{url}/raw/{name}")).header(CONTENT_TYPE, "text/plain; charset=utf-8"),
                message.to_text(*size).into(),
            ),
            Form::Binary => (
                post.uri(format!("{url}/raw/{name}")).header(CONTENT_TYPE, "application/octet-stream"),
                Bytes::from(message.to_binary()),
            ),
        };
        if let Some(key) = &self.api_key {
            post = post.header("x-api-key", key);
        }
        Ok(post.body(Full::new(body))?)
    }
}

fn position(body: &[u8]) -> Result<Option<Position>, PublishError> {
    match serde_json::from_slice(body)? {
        Answer { error: Some(ApiError { code, message }), .. } => {
            Err(PublishError::Failed(format!("{code}: {message}")))
        }
        Answer { result: Some(Published { offset: Some(offset), epoch: Some(epoch) }), .. } => {
            Ok(Some(Position { offset, epoch: epoch.into() }))
        }
        Answer { .. } => Ok(None),
    }
}
