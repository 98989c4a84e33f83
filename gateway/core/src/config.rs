//! The gateway's configuration: what the operator derives from a `WebSocketCluster`, or a person writes into a file.

mod auth;
mod channels;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use self::{
    auth::{Auth, Jwks},
    channels::{Audience, ChannelOptions, Channels, Entrants, History, Namespace},
};
use crate::address::Network;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// The whole configuration; every field has a default, so that the gateway runs without a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GatewayConfig {
    /// Protocols served.
    pub protocols: Protocols,
    /// Origins that browsers may connect from, like `https://example.com`; empty allows every origin.
    pub allowed_origins: Vec<String>,
    /// Messages are compressed for clients that offer permessage-deflate (RFC 7692).
    #[serde(skip_serializing_if = "is_default")]
    pub compression: bool,
    /// Proxies in front of the gateway whose word for the client's address is believed.
    #[serde(skip_serializing_if = "is_default")]
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

impl GatewayConfig {
    /// The same for configurations that mean the same, however they are written: hexadecimal SHA-256 of what differs from the defaults.
    /// So a field that is added later with a default changes no hash, and gateways and operators of different versions agree.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut canonical = self.clone();
        canonical.protocols.0.sort_unstable();
        canonical.protocols.0.dedup();
        canonical.allowed_origins.iter_mut().for_each(|origin| origin.make_ascii_lowercase());
        canonical.allowed_origins.sort_unstable();
        canonical.allowed_origins.dedup();
        canonical.proxies.trusted.sort_unstable();
        canonical.proxies.trusted.dedup();
        canonical.channels.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        let differences = differences(&canonical, &Self::default());
        let text = Value::Object(differences).to_string();
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What of a document is not as in the default, with its keys in order.
fn differences(config: &GatewayConfig, default: &GatewayConfig) -> Map<String, Value> {
    let object = |value: Result<Value, serde_json::Error>| match value {
        Ok(Value::Object(fields)) => fields,
        // Neither type has anything that JSON has not.
        _ => Map::new(),
    };
    let mut fields = object(serde_json::to_value(config));
    remove_defaults(&mut fields, &object(serde_json::to_value(default)));
    // A list differs as a whole, but what is in it has defaults as well.
    let namespaces = fields.get_mut("channels").and_then(|channels| channels.get_mut("namespaces"));
    let options = object(serde_json::to_value(ChannelOptions::default()));
    for namespace in namespaces.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(namespace) = namespace {
            remove_defaults(namespace, &options);
        }
    }
    fields
}

fn remove_defaults(fields: &mut Map<String, Value>, defaults: &Map<String, Value>) {
    fields.retain(|key, field| defaults.get(key) != Some(field));
    for (key, field) in fields {
        if let (Value::Object(fields), Some(Value::Object(defaults))) = (field, defaults.get(key)) {
            remove_defaults(fields, defaults);
        }
    }
}

/// Protocols served; a set kept in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(transparent)]
pub struct Protocols(pub Vec<ProtocolName>);

impl Default for Protocols {
    fn default() -> Self {
        Self(vec![ProtocolName::Centrifuge, ProtocolName::Raw])
    }
}

/// A client protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ProtocolName {
    /// The Centrifugo client protocol, JSON, at /connection/websocket.
    Centrifuge,
    /// Bare WebSocket messages at /raw/{channel}.
    Raw,
}

/// Proxies in front of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxies {
    /// Their addresses, like `10.0.0.0/8`. What they add to `X-Forwarded-For` is believed, and nobody else's.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub trusted: Vec<Network>,
    /// Each of their connections begins with a header of the PROXY protocol, version 1 or 2.
    pub proxy_protocol: bool,
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
    /// Tokens of one address that are signed by none of the keys, or not for here, that one gateway pod verifies per minute; for a while
    /// after that it refuses the address's connections with 429. Absent sets no limit, as with the other limits of an address.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_tokens_per_minute_per_address: Option<u32>,
    /// Bytes that one gateway pod holds in memory for its clients, all together: what waits for them, what they have sent and is not
    /// handled, HTTP bodies. Near it, new connections and large requests are refused (503 with Retry-After, error 111), then the slowest
    /// clients are disconnected with 3008. Absent takes half of the container's memory limit, and none where there is none; 0 sets none.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1_099_511_627_776_u64)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Size in bytes of the largest message a client may send; a larger one closes the connection with 1009.
    #[cfg_attr(feature = "schema", schemars(range(min = 1024, max = 16_777_216)))]
    pub max_message_bytes: u32,
    /// Messages, fragments of them, and commands that one connection may send per second, and as many at once: 10,000 when absent, a tenth of what a core can
    /// take; 0 sets no limit. Who sends more is read no further until it may go on, so that nothing is lost; who sends five times as much for
    /// a minute is disconnected with 3013.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1_000_000)))]
    #[serde(skip_serializing_if = "is_default_pace")]
    pub messages_per_second: u32,
    /// Subscriptions of one connection.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000)))]
    pub subscriptions: u32,
    /// Bytes that may wait for one connection; a client that reads too slowly to stay below is disconnected with 3008.
    #[cfg_attr(feature = "schema", schemars(range(min = 16_384, max = 67_108_864)))]
    pub outbound_queue_bytes: u32,
}

const MESSAGES_PER_SECOND: u32 = 10_000;

/// Left out of what is written, so that an older gateway can read it.
fn is_default_pace(messages_per_second: &u32) -> bool {
    *messages_per_second == MESSAGES_PER_SECOND
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 15_000,
            connections_per_second: 1_000,
            connections_per_address: None,
            connections_per_second_per_address: None,
            wrong_tokens_per_minute_per_address: None,
            memory_bytes: None,
            max_message_bytes: 65_536,
            messages_per_second: MESSAGES_PER_SECOND,
            subscriptions: 128,
            outbound_queue_bytes: 1_048_576,
        }
    }
}

/// Left out of what is written, so that an older gateway can read it.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How clients are moved when the gateway is told to terminate (SIGTERM) before the operator steers the drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn hash(json: &str) -> String {
        serde_json::from_str::<GatewayConfig>(json).unwrap().hash()
    }

    #[test]
    fn a_configuration_has_the_same_hash_however_it_is_written_and_another_one_has_another() {
        let one = r#"{"auth":{"anonymous":false,"issuer":"i"},"allowedOrigins":["https://a","https://b"],"protocols":["raw","centrifuge"],
            "channels":{"namespaces":[{"name":"x","presence":true},{"name":"y"}]},"proxies":{"trusted":["10.0.0.0/8","::1"]}}"#;
        let same = r#"{"proxies":{"trusted":["::1/128","10.0.0.0/8"],"proxyProtocol":false},"limits":{},
            "channels":{"namespaces":[{"name":"y","history":null,"publish":"Subscribers"},{"presence":true,"name":"x"}]},
            "protocols":["centrifuge","raw"],"allowedOrigins":["HTTPS://B","https://a"],"auth":{"issuer":"i","anonymous":false}}"#;
        let other = one.replace("\"presence\":true", "\"presence\":false");
        assert_eq!(hash(one), hash(same));
        assert_ne!(hash(one), hash(&other));
        assert_eq!((hash("{}"), hash("{}").len()), (GatewayConfig::default().hash(), 64));
    }

    #[test]
    fn a_configuration_is_read_from_what_is_written_of_it() {
        let config = GatewayConfig::default();
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<GatewayConfig>(&written).unwrap(), config);
    }

    /// What a configuration of these tests means, in types that know no order and no repetition.
    type Meaning = (BTreeSet<String>, BTreeSet<String>, BTreeMap<String, (bool, u32)>, bool, u32);

    fn configs() -> impl Strategy<Value = (GatewayConfig, Meaning)> {
        let protocols = prop::collection::vec(
            prop::sample::select(&[ProtocolName::Centrifuge, ProtocolName::Raw][..]),
            0..3,
        );
        let origins =
            prop::collection::vec(prop::sample::select(&["http://a", "HTTP://A", "http://b"][..]), 0..3);
        let options = (any::<bool>(), 0..2_u32);
        let namespaces = prop::collection::btree_map(prop::sample::select(&["n", "m"][..]), options, 0..3);
        (protocols, origins, namespaces, any::<bool>(), any::<bool>(), 1..3_u32).prop_map(
            |(protocols, origins, namespaces, reverse, anonymous, subscriptions)| {
                let mut config = GatewayConfig::default();
                config.auth.anonymous = anonymous;
                config.limits.subscriptions = subscriptions;
                config.allowed_origins = origins.iter().map(ToString::to_string).collect();
                config.channels.namespaces = namespaces
                    .iter()
                    .map(|(name, (presence, size))| Namespace {
                        name: (*name).to_owned(),
                        options: ChannelOptions {
                            presence: *presence,
                            history: (*size > 0).then_some(History { size: *size, ttl_seconds: 1 }),
                            ..ChannelOptions::default()
                        },
                    })
                    .collect();
                if reverse {
                    config.channels.namespaces.reverse();
                }
                let meaning = (
                    protocols.iter().map(|protocol| format!("{protocol:?}")).collect(),
                    origins.iter().map(|origin| origin.to_lowercase()).collect(),
                    namespaces.into_iter().map(|(name, options)| (name.to_owned(), options)).collect(),
                    anonymous,
                    subscriptions,
                );
                config.protocols = Protocols(protocols);
                (config, meaning)
            },
        )
    }

    proptest! {
        #[test]
        fn hashes_are_the_same_exactly_where_the_meaning_is((one, meaning) in configs(), (other, others) in configs()) {
            prop_assert_eq!(one.hash() == other.hash(), meaning == others);
        }
    }
}
