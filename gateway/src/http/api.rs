//! The server API: what backends ask for, as Centrifugo's HTTP API takes it (<https://centrifugal.dev/docs/server/server_api>).
//!
//! A call that was understood answers 200 with `result` or with `error`; only what never was a call answers otherwise.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gateway_core::{
    backplane::{
        self, BackplaneError, ClientInfo, LogOp, Op, Outcome, Payload, PresenceOp, Publication, Retention,
        StreamPosition,
    },
    centrifuge::{codes::ErrorCode, command::valid_channel},
    config::ChannelOptions,
    policy::Policy,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    CHANNEL_RULE,
    reply::{self, HttpResponse},
};
use crate::{backplane::BackplaneHandle, node::Node};

/// Channels of one broadcast.
const MAX_CHANNELS: usize = 1_000;
/// Bytes of the clients of one presence reply.
const MAX_PRESENCE_BYTES: u32 = 16 * 1024 * 1024;

/// Why a call fails.
#[derive(Debug)]
struct Failure {
    code: ErrorCode,
    message: String,
}

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::BadRequest, message: format!("bad request: {}", message.into()) }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: code.message().to_owned() }
    }
}

impl From<BackplaneError> for Failure {
    fn from(error: BackplaneError) -> Self {
        let code = ErrorCode::from(error);
        Self { code, message: format!("{}: {error}", code.message()) }
    }
}

#[derive(Deserialize)]
struct Publish {
    channel: String,
    data: Box<RawValue>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
struct Broadcast {
    channels: Vec<String>,
    data: Box<RawValue>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
struct OfChannel {
    channel: String,
}

#[derive(Deserialize)]
struct History {
    channel: String,
    /// 0 asks for the position alone, -1 for everything kept.
    #[serde(default)]
    limit: i64,
    since: Option<Since>,
    #[serde(default)]
    reverse: bool,
}

#[derive(Deserialize)]
struct Since {
    offset: u64,
    epoch: String,
}

/// The `result` of a publish; empty where the channel keeps no stream.
#[derive(Default, Serialize)]
struct Position {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Arc<str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcomes<T> {
    Result(T),
    Error(ErrorBody),
}

#[derive(Serialize)]
struct ErrorBody {
    code: u16,
    message: String,
}

#[derive(Serialize)]
struct Broadcasted {
    responses: Vec<Outcomes<Position>>,
}

#[derive(Serialize)]
struct PresenceResult {
    presence: BTreeMap<Arc<str>, Client>,
}

#[derive(Serialize)]
struct PresenceStats {
    num_clients: u64,
    num_users: u64,
}

#[derive(Serialize)]
struct HistoryResult {
    publications: Vec<Published>,
    offset: u64,
    epoch: Arc<str>,
}

#[derive(Serialize)]
struct Published {
    data: Box<RawValue>,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Client>,
}

#[derive(Serialize)]
struct Client {
    client: Arc<str>,
    user: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Info {
    nodes: [NodeInfo; 1],
}

/// This gateway; each answers for itself.
#[derive(Serialize)]
struct NodeInfo {
    uid: String,
    name: String,
    version: &'static str,
    num_clients: u32,
    uptime: u64,
}

/// Carries a call out; `method` is the path below /api/.
pub async fn call(
    node: &Node,
    policy: &Policy,
    backplane: &BackplaneHandle,
    method: &str,
    body: Bytes,
) -> HttpResponse {
    let calls = Calls { node, policy, backplane, body };
    match method {
        "publish" => answer(calls.publish().await),
        "broadcast" => answer(calls.broadcast().await),
        "presence" => answer(calls.presence().await),
        "presence_stats" => answer(calls.presence_stats().await),
        "history" => answer(calls.history().await),
        "info" => answer(Ok(calls.info())),
        _ => reply::error(
            StatusCode::NOT_FOUND,
            ErrorCode::MethodNotFound.code().into(),
            ErrorCode::MethodNotFound.message(),
        ),
    }
}

fn answer<T: Serialize>(result: Result<T, Failure>) -> HttpResponse {
    let status = match &result {
        Err(failure) if failure.code == ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    reply::json(status, &outcome(result))
}

fn outcome<T>(result: Result<T, Failure>) -> Outcomes<T> {
    match result {
        Ok(result) => Outcomes::Result(result),
        Err(failure) => Outcomes::Error(ErrorBody { code: failure.code.code(), message: failure.message }),
    }
}

struct Calls<'a> {
    node: &'a Node,
    policy: &'a Policy,
    backplane: &'a BackplaneHandle,
    body: Bytes,
}

impl Calls<'_> {
    async fn publish(&self) -> Result<Position, Failure> {
        let Publish { channel, data, idempotency_key } = self.parse()?;
        self.publish_to(&channel, &data, idempotency_key).await
    }

    async fn broadcast(&self) -> Result<Broadcasted, Failure> {
        let Broadcast { channels, data, idempotency_key } = self.parse()?;
        if channels.len() > MAX_CHANNELS {
            return Err(Failure::bad(format!(
                "channels has {} names; at most {MAX_CHANNELS}",
                channels.len()
            )));
        }
        let publishes =
            channels.iter().map(|channel| self.publish_to(channel, &data, idempotency_key.clone()));
        let responses = futures::future::join_all(publishes).await.into_iter().map(outcome).collect();
        Ok(Broadcasted { responses })
    }

    async fn publish_to(
        &self,
        channel: &str,
        data: &RawValue,
        key: Option<String>,
    ) -> Result<Position, Failure> {
        let options = self.options(channel)?;
        self.node.metrics.publications.inc();
        let publish = backplane::Publish {
            channel: channel.into(),
            payload: Payload::Json(Bytes::copy_from_slice(data.get().as_bytes())),
            info: None,
            sender: None,
            // An empty key is none, as SDKs that always write the field mean it.
            idempotency_key: key.filter(|key| !key.is_empty()).map(Into::into),
        };
        match self.backplane.call(Op::publish(publish, Retention::of(&options))).await? {
            Outcome::Done => Ok(Position::default()),
            Outcome::Appended { position } => {
                Ok(Position { offset: Some(position.offset), epoch: Some(position.epoch) })
            }
            _ => Err(ErrorCode::Internal.into()),
        }
    }

    async fn presence(&self) -> Result<PresenceResult, Failure> {
        let presence =
            self.clients().await?.into_iter().map(|info| (info.client.clone(), info.into())).collect();
        Ok(PresenceResult { presence })
    }

    async fn presence_stats(&self) -> Result<PresenceStats, Failure> {
        let channel = self.channel_with_presence()?;
        match self.backplane.call(PresenceOp::Count { channel }).await? {
            Outcome::Counted { clients, users } => {
                Ok(PresenceStats { num_clients: clients, num_users: users })
            }
            _ => Err(ErrorCode::Internal.into()),
        }
    }

    async fn clients(&self) -> Result<Vec<ClientInfo>, Failure> {
        let op = PresenceOp::List { channel: self.channel_with_presence()?, limit: MAX_PRESENCE_BYTES };
        match self.backplane.call(op).await? {
            Outcome::Listed { clients } => Ok(clients),
            _ => Err(ErrorCode::Internal.into()),
        }
    }

    fn channel_with_presence(&self) -> Result<Arc<str>, Failure> {
        let OfChannel { channel } = self.parse()?;
        if !self.options(&channel)?.presence {
            return Err(ErrorCode::NotAvailable.into());
        }
        Ok(channel.into())
    }

    async fn history(&self) -> Result<HistoryResult, Failure> {
        let History { channel, limit, since, reverse } = self.parse()?;
        let retention = Retention::of(&self.options(&channel)?).ok_or(ErrorCode::NotAvailable)?;
        let limit = match limit {
            -1 => retention.size,
            limit => u32::try_from(limit)
                .map_err(|_| Failure::bad(format!("limit is {limit}; 0 or more, or -1 for everything")))?,
        };
        let since = since.map(|since| StreamPosition { epoch: since.epoch.into(), offset: since.offset });
        match self
            .backplane
            .call(LogOp::Read { channel: channel.into(), retention, since, limit, bytes: u32::MAX, reverse })
            .await?
        {
            Outcome::Read { position, publications } => Ok(HistoryResult {
                publications: publications
                    .iter()
                    .map(|publication| Published::from(&**publication))
                    .collect(),
                offset: position.offset,
                epoch: position.epoch,
            }),
            _ => Err(ErrorCode::Internal.into()),
        }
    }

    fn info(&self) -> Info {
        let node = self.node;
        Info {
            nodes: [NodeInfo {
                uid: format!("{:016x}", node.id),
                name: node.settings.node_name.clone(),
                version: crate::VERSION,
                num_clients: node.connections().total(),
                uptime: node.clock.elapsed().as_secs(),
            }],
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.body);
        let value =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|e| Failure::bad(e.to_string()))?;
        deserializer.end().map_err(|error| Failure::bad(error.to_string()))?;
        Ok(value)
    }

    fn options(&self, channel: &str) -> Result<ChannelOptions, Failure> {
        if !valid_channel(channel) {
            return Err(Failure::bad(format!("channel {channel:?} is no name: {CHANNEL_RULE}")));
        }
        self.policy.options(channel).cloned().ok_or_else(|| ErrorCode::UnknownChannel.into())
    }
}

fn document(bytes: &Bytes) -> Option<Box<RawValue>> {
    serde_json::from_slice(bytes).ok()
}

impl From<ClientInfo> for Client {
    fn from(info: ClientInfo) -> Self {
        Self {
            conn_info: info.conn_info.as_ref().and_then(document),
            chan_info: info.chan_info.as_ref().and_then(document),
            client: info.client,
            user: info.user,
        }
    }
}

impl From<&Publication> for Published {
    fn from(publication: &Publication) -> Self {
        let text = |bytes: &Bytes| serde_json::value::to_raw_value(&String::from_utf8_lossy(bytes)).ok();
        let data = match &publication.payload {
            Payload::Json(bytes) => document(bytes),
            Payload::Text(bytes) | Payload::Binary(bytes) => text(bytes),
        };
        Self {
            data: data.unwrap_or_else(|| RawValue::NULL.to_owned()),
            offset: publication.offset,
            info: publication.info.clone().map(Client::from),
        }
    }
}
