//! The gateway's configuration: what the operator derives from a `WebSocketCluster`, or a person writes into a file.

use serde::{Deserialize, Serialize};

use crate::{address::Network, rights::ChannelName};

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// The whole configuration; every field has a default, so that the gateway runs without a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GatewayConfig {
    /// Protocols served.
    pub protocols: Protocols,
    /// Origins that browsers may connect from, like `https://example.com`; empty allows every origin.
    pub allowed_origins: Vec<String>,
    /// Proxies in front of the gateway whose word for the client's address is believed.
    #[serde(skip_serializing_if = "Proxies::is_default")]
    pub proxies: Proxies,
    /// Who may connect.
    pub auth: Auth,
    /// What one gateway and one connection may use.
    pub limits: Limits,
    /// What channels do.
    pub channels: Channels,
    /// How clients are moved when the gateway is told to terminate.
    pub drain: Drain,
}

/// Protocols served; a set kept in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Protocols(pub Vec<Protocol>);

impl Default for Protocols {
    fn default() -> Self {
        Self(vec![Protocol::Centrifuge, Protocol::Raw])
    }
}

/// A client protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// The Centrifugo client protocol, JSON, at /connection/websocket.
    Centrifuge,
    /// Bare WebSocket messages at /raw/{channel}.
    Raw,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Auth {
    /// Clients without a token may connect.
    pub anonymous: bool,
    /// Required `aud` of tokens.
    pub audience: Option<String>,
    /// Required `iss` of tokens.
    pub issuer: Option<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { anonymous: true, audience: None, issuer: None }
    }
}

/// Proxies in front of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxies {
    /// Their addresses, like `10.0.0.0/8`. What they add to `X-Forwarded-For` is believed, and nobody else's.
    pub trusted: Vec<Network>,
    /// Each of their connections begins with a header of the PROXY protocol, version 1 or 2.
    pub proxy_protocol: bool,
}

impl Proxies {
    /// Left out of what is written, so that an older gateway can read it.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What one gateway and one connection may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Connections one gateway pod holds; further ones are refused with 503 and Retry-After. A pod may open 20,000 files on many
    /// systems, and each connection takes one.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub max_connections: u32,
    /// New connections one gateway pod admits per second; the rest are refused with 503 and Retry-After, so that a wave of
    /// reconnects cannot starve live traffic.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub connections_per_second: u32,
    /// Connections of one address (an IPv4 address, or 64 bits of an IPv6 address) to one gateway pod; further ones are refused with
    /// 429. Absent sets no limit, which suits pods that see a load balancer's address instead of their clients'.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_address: Option<u32>,
    /// New connections of one address that one gateway pod admits per second; the rest are refused with 429.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_second_per_address: Option<u32>,
    /// Size in bytes of the largest message a client may send; a larger one closes the connection with 1009.
    #[cfg_attr(feature = "schema", schemars(range(min = 1024, max = 16_777_216)))]
    pub max_message_bytes: u32,
    /// Subscriptions of one connection.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000)))]
    pub subscriptions: u32,
    /// Bytes that may wait for one connection; a client that reads too slowly to stay below is disconnected with 3008.
    #[cfg_attr(feature = "schema", schemars(range(min = 16_384, max = 67_108_864)))]
    pub outbound_queue_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 15_000,
            connections_per_second: 1_000,
            connections_per_address: None,
            connections_per_second_per_address: None,
            max_message_bytes: 65_536,
            subscriptions: 128,
            outbound_queue_bytes: 1_048_576,
        }
    }
}

/// What channels do: the options of channels without a namespace, and of each namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Channels {
    /// Options of channels whose name has no `namespace:` prefix.
    pub default: ChannelOptions,
    /// Options of channels named `namespace:rest`. A channel of an unknown namespace is refused with error 102.
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub namespaces: Vec<Namespace>,
}

impl Default for Channels {
    /// Everything on for plain channels; `live:` channels for what is only worth knowing now, like who is typing.
    fn default() -> Self {
        Self {
            default: ChannelOptions {
                history: Some(History::default()),
                presence: true,
                join_leave: true,
                ..ChannelOptions::default()
            },
            namespaces: vec![Namespace { name: "live".to_owned(), options: ChannelOptions::default() }],
        }
    }
}

impl Channels {
    /// The options of a channel, or nothing when its namespace is unknown.
    #[must_use]
    pub fn options(&self, channel: &str) -> Option<&ChannelOptions> {
        match ChannelName::of(channel).namespace {
            None => Some(&self.default),
            Some(name) => self.namespaces.iter().find(|n| n.name == name).map(|n| &n.options),
        }
    }
}

/// A namespace of channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Namespace {
    /// The part of a channel's name before the first colon, a `$` in front of it aside.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-zA-Z0-9_-]{1,64}$")))]
    pub name: String,
    /// What its channels do.
    #[serde(flatten)]
    pub options: ChannelOptions,
}

/// What a channel does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ChannelOptions {
    /// Publications kept, so that clients can recover what they missed; absent keeps none.
    pub history: Option<History>,
    /// Clients may ask who is present.
    pub presence: bool,
    /// Subscribers are told when a client joins or leaves.
    pub join_leave: bool,
    /// Who may publish besides the server API.
    pub publish: Publishers,
}

/// How much of a channel is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct History {
    /// Publications kept.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub size: u32,
    /// Seconds after the last publication for which they are kept.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub ttl_seconds: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { size: 300, ttl_seconds: 300 }
    }
}

/// Who may publish from a client connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum Publishers {
    /// Nobody: only the server API publishes.
    Server,
    /// Whoever is subscribed to the channel.
    #[default]
    Subscribers,
    /// Every connected client.
    Clients,
}

/// How clients are moved when the gateway is told to terminate (SIGTERM) before the operator steers the drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Drain {
    /// Pace: connections moved per second.
    pub max_reconnects_per_second: u32,
    /// Seconds after which the remaining connections are closed at once.
    pub timeout_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { max_reconnects_per_second: 200, timeout_seconds: 25 }
    }
}
