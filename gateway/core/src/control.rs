//! The control port's wire types, shared with the operator. JSON, camelCase.

use serde::{Deserialize, Serialize};

use crate::config::GatewayConfig;

/// What `GET /report` answers: how loaded this gateway is, and how far its drain is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The gateway's name: its pod.
    pub node: String,
    /// Revision of its pod, as the operator named it.
    pub revision: String,
    /// [`GatewayConfig::hash`] of the configuration in force in every shard; empty from a gateway that can't exchange it.
    #[serde(default)]
    pub config_hash: String,
    /// Live connections.
    pub connections: Connections,
    /// Connections accepted since the start.
    pub accepted: Accepted,
    /// Connections accepted per second, over the last 10 s.
    pub accepts_per_second: f64,
    /// Present while draining and after.
    pub drain: Option<DrainProgress>,
    /// How the backplane looks from here.
    pub backplane: BackplaneHealth,
    /// What part of `limits.memoryBytes` is held for clients; absent without a limit, and in older gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// How the keys of clients' tokens come here; absent where none are fetched, and in older gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySetHealth>,
}

/// How a key set looks from one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySetHealth {
    /// `auth.jwks.url`.
    pub url: String,
    /// Keys of it in force.
    pub keys: usize,
    /// Since it was fetched; absent when it never was.
    pub age_seconds: Option<u64>,
    /// Why the last fetch failed, for a person; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What `GET /config` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigInForce {
    /// What `PUT /config` takes.
    pub config: GatewayConfig,
    /// Its hash.
    pub config_hash: String,
}

/// What `PUT /config` answers once every shard goes by what it brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigExchanged {
    /// What `GET /report` names from now on.
    pub config_hash: String,
}

/// Live connections by protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Sessions of the centrifuge protocol.
    pub centrifuge: u32,
    /// Raw WebSocket connections.
    pub raw: u32,
}

impl Connections {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.centrifuge.saturating_add(self.raw)
    }
}

/// Connections accepted since the start; tells growth from a wave of reconnects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Brought no position to recover from.
    pub new: u64,
    /// Came back with a position to recover from.
    pub resumed: u64,
}

/// How the backplane looks from one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum BackplaneHealth {
    /// Publishes arrive back through the subscription.
    #[default]
    Healthy,
    /// They do not.
    #[serde(rename_all = "camelCase")]
    Unhealthy {
        /// The last error, for a person.
        message: String,
        /// Its kind.
        #[serde(default)]
        trouble: BackplaneTrouble,
        /// For how long.
        seconds: u64,
    },
}

/// What kind of trouble there is with the backplane; each has its own remedy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackplaneTrouble {
    /// Its certificate is of a CA that the gateway does not know.
    UnknownAuthority,
    /// Its certificate is for another name.
    WrongName,
    /// Its certificate has expired, or is not valid yet.
    CertificateExpired,
    /// It demands a certificate of the gateway, or refuses the one it got.
    ClientCertificateRefused,
    /// It does not let the gateway's user in, or not do what it has to.
    AccessDenied,
    /// It does not answer, or not as it should.
    #[default]
    #[serde(other)]
    Unreachable,
}

/// Body of `POST /drain`: start draining, or steer the drain under way. Repeating it changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainRequest {
    /// Connections to move per second; 0 pauses the drain.
    pub connections_per_second: f64,
    /// Seconds from now after which the remaining connections are closed at once.
    pub deadline_seconds: u64,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainProgress {
    /// What started it.
    pub trigger: DrainTrigger,
    /// The pace in force.
    pub connections_per_second: f64,
    /// Connections closed by this drain.
    pub moved: u64,
    /// Connections still open.
    pub remaining: u32,
    /// Until the deadline.
    pub seconds_left: u64,
}

/// What started a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DrainTrigger {
    /// `POST /drain`; can be cancelled by `DELETE /drain`.
    Requested,
    /// SIGTERM; cannot be cancelled.
    Terminated,
}
