//! The spec, parsed once: what comes out of here can be built and planned without any further failure.

mod invalid;
mod parse;
mod revision;
mod stored;

pub use invalid::Invalid;
pub(crate) use revision::hash;
pub use stored::{Stored, Undecodable};

use crate::crd::{ClientService, ManagedRedis, PodTemplate, SelectPolicy};
use crate::names::{ClusterName, Revision};
use gateway_core::config::GatewayConfig;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is used where the spec names none. A change reaches gateway pods as they are made, and the managed Redis at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of the gateway.
    pub gateway_image: String,
    /// Image of the managed Redis.
    pub redis_image: String,
    /// Secrets with the credentials of these images' registries, in the namespace of each cluster.
    pub image_pull_secrets: BTreeSet<String>,
}

/// A valid spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Name of the cluster.
    pub name: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// Owner reference of every object made for it.
    pub owner: OwnerReference,
    /// Generation of the spec.
    pub generation: i64,
    /// How many pods.
    pub size: Size,
    /// Revision that pods should have.
    pub revision: Revision,
    /// Image of the gateway.
    pub image: String,
    /// Secrets with the credentials of its registry.
    pub image_pull_secrets: BTreeSet<String>,
    /// Configuration of the gateway.
    pub gateway: GatewayConfig,
    /// Secrets that gateways read.
    pub secrets: Secrets,
    /// What joins the gateways.
    pub backplane: Backplane,
    /// Clients that may be moved per second, over all pods and reasons.
    pub max_reconnects_per_second: u32,
    /// Time one pod may take to move its clients.
    pub drain_timeout: Duration,
    /// Pods beyond the size during a rollout.
    pub max_surge: Surge,
    /// Time a rollout may go without progress.
    pub progress_deadline: Duration,
    /// Port of the client Service.
    pub listener_port: i32,
    /// The client Service.
    pub service: ClientService,
    /// What pods carry beyond what the operator sets.
    pub pod_template: PodTemplate,
    /// What gateways log; their own default when absent.
    pub log: Option<String>,
    /// Change nothing.
    pub paused: bool,
}

/// How many pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Size {
    /// This many.
    Fixed(u32),
    /// As the live connections ask for.
    Scaled(Scaling),
}

/// `spec.scaling`, with its defaults filled in; `min <= max`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Fewest pods; at least 1.
    pub min: u32,
    /// Most pods.
    pub max: u32,
    /// Connections one pod should hold; at least 1.
    pub connections_per_pod: u32,
    /// Warm capacity: percent of the live connections.
    pub headroom_percent: u32,
    /// Adding pods.
    pub up: Rules,
    /// Removing pods.
    pub down: Rules,
}

/// How fast the size may change in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// For how long the most cautious recommendation holds.
    pub stabilization: Duration,
    /// Which policy counts.
    pub select: SelectPolicy,
    /// Bounds of the change in a period; never empty.
    pub policies: Vec<Policy>,
    /// Deviation from the target that changes nothing, as a fraction.
    pub tolerance: f64,
}

/// A bound of the change in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How much.
    pub change: Change,
    /// For how long it looks back.
    pub period: Duration,
}

/// How much a policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Pods.
    Pods(u32),
    /// Percent of the pods at the period's start.
    Percent(u32),
}

/// Pods beyond the size during a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surge {
    /// This many; at least 1.
    Pods(u32),
    /// Percent of the size, rounded up; at least 1.
    Percent(u32),
}

/// A key of a Secret in the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// Secrets that gateways read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Secrets {
    /// Secret of symmetric tokens.
    pub jwt_hmac: Option<SecretKey>,
    /// Public key of asymmetric tokens.
    pub jwt_public_key: Option<SecretKey>,
    /// CAs of the server that asymmetric tokens' keys are fetched from; those that browsers trust when absent.
    pub jwks_ca: Option<SecretKey>,
    /// Key of the server API; the operator makes one when absent.
    pub api_key: Option<SecretKey>,
}

/// What joins the gateways.
#[derive(Clone, Debug, PartialEq)]
pub enum Backplane {
    /// A Redis run by the operator.
    Managed(Managed),
    /// A Redis run by somebody else.
    External(External),
    /// The memory of the only pod.
    Memory,
}

/// A Redis run by the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Managed {
    /// Its image.
    pub image: String,
    /// Secrets with the credentials of its registry.
    pub image_pull_secrets: BTreeSet<String>,
    /// Its storage and resources.
    pub spec: ManagedRedis,
}

/// A Redis run by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct External {
    /// Where it is.
    pub url: RedisUrl,
    /// What the names of the cluster's keys and pub/sub channels begin with, since others may have theirs there.
    pub prefix: String,
    /// Whom gateways say they are.
    pub username: Option<String>,
    /// Their password.
    pub password: Option<SecretKey>,
    /// The CAs that its certificate may be of.
    pub ca: Option<SecretKey>,
    /// The Secret with the gateways' certificate and its key.
    pub client_certificate: Option<String>,
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RedisUrl {
    /// In the spec.
    Plain(String),
    /// In a Secret.
    Secret(SecretKey),
}

impl Desired {
    /// [`crate::names::PULLS`] of a pod that is made now.
    #[must_use]
    pub fn pulls(&self) -> String {
        let words: Vec<&str> =
            std::iter::once(&self.image).chain(&self.image_pull_secrets).map(String::as_str).collect();
        words.join(" ")
    }

    /// Every key of a Secret that the spec names: the shell looks whether they exist, since pods can't start without them.
    #[must_use]
    pub fn referenced_secrets(&self) -> Vec<SecretKey> {
        let external = match &self.backplane {
            Backplane::External(external) => external.secrets(),
            Backplane::Managed(_) | Backplane::Memory => Vec::new(),
        };
        let Secrets { jwt_hmac, jwt_public_key, jwks_ca, api_key } = &self.secrets;
        let own = [jwt_hmac, jwt_public_key, jwks_ca, api_key];
        own.into_iter().filter_map(Option::as_ref).cloned().chain(external).collect()
    }
}

impl External {
    /// The gateways' certificate and its key (type kubernetes.io/tls).
    #[must_use]
    pub fn identity(&self) -> Option<[SecretKey; 2]> {
        let name = self.client_certificate.as_ref()?;
        Some(["tls.crt", "tls.key"].map(|key| SecretKey { name: name.clone(), key: key.into() }))
    }

    fn secrets(&self) -> Vec<SecretKey> {
        let url = match &self.url {
            RedisUrl::Secret(key) => Some(key),
            RedisUrl::Plain(_) => None,
        };
        let named = [url, self.password.as_ref(), self.ca.as_ref()];
        named.into_iter().flatten().cloned().chain(self.identity().into_iter().flatten()).collect()
    }
}

impl Surge {
    /// Pods for a cluster of `size`; at least 1.
    #[must_use]
    pub fn pods(self, size: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods.max(1),
            Self::Percent(percent) => {
                u32::try_from((u64::from(size) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}
