//! Names, labels and annotations: what the operator writes, and by what it finds its objects again.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Field manager of every server-side apply.
pub const MANAGER: &str = "mooring-operator";

/// Label: the name of the cluster that a pod belongs to.
pub const CLUSTER: &str = "mooring.dev/cluster";
/// Label: the revision of a gateway pod.
pub const REVISION: &str = "mooring.dev/revision";
/// Label: whether the client Service sends connections to a pod, [`SERVING`] or [`DRAINING`].
pub const TRAFFIC: &str = "mooring.dev/traffic";
/// Value of [`TRAFFIC`]: in the endpoints once ready.
pub const SERVING: &str = "serving";
/// Value of [`TRAFFIC`]: out of the endpoints.
pub const DRAINING: &str = "draining";
/// Annotation: why a pod drains, a [`crate::plan::DrainCause`].
pub const DRAIN_REASON: &str = "mooring.dev/drain-reason";
/// Annotation: when the pod left the endpoints, RFC 3339.
pub const DRAIN_SINCE: &str = "mooring.dev/drain-since";
/// Annotation: when its remaining connections are closed at once, RFC 3339; absent until its turn has come.
pub const DRAIN_DEADLINE: &str = "mooring.dev/drain-deadline";
/// Annotation: the image that the pod was made with, and the Secrets to pull it with. Admission may put others into its spec.
pub const PULLS: &str = "mooring.dev/pulls";
/// Annotation: hash of the object as applied last, so that a field removed from it is noticed.
pub const APPLIED_HASH: &str = "mooring.dev/applied-hash";

/// Label app.kubernetes.io/name.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Label app.kubernetes.io/instance: the cluster's name.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label app.kubernetes.io/managed-by.
pub const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// [`APP_NAME`] of gateway pods.
pub const GATEWAY: &str = "mooring-gateway";
/// [`APP_NAME`] of the managed Redis.
pub const REDIS: &str = "mooring-redis";
/// The container of the gateway in its pod; others may have been put beside it.
pub const GATEWAY_CONTAINER: &str = "gateway";
/// The volume of the managed Redis, in its StatefulSet.
pub const REDIS_VOLUME: &str = "data";

/// Port that clients connect to, inside a gateway pod.
pub const CLIENT_PORT: i32 = 8000;
/// Port of probes, metrics, reports and drains, inside a gateway pod.
pub const CONTROL_PORT: i32 = 9000;
/// Port of the managed Redis.
pub const REDIS_PORT: i32 = 6379;

/// The longest cluster name: pods are `<name>-<revision>-<suffix>`, and a host name has 63 characters.
pub const MAX_CLUSTER_NAME: usize = 46;

/// A cluster's name: a DNS label of at most [`MAX_CLUSTER_NAME`] characters that starts with a letter (RFC 1035).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name, if objects can be named after it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        let ends = name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inside = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        (starts && ends && inside && name.len() <= MAX_CLUSTER_NAME).then(|| Self(name.into()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Headless Service, ServiceAccount, PodDisruptionBudget and NetworkPolicy of the gateways.
    #[must_use]
    pub fn gateway(&self) -> String {
        format!("{self}-gateway")
    }

    /// Service of the control ports.
    #[must_use]
    pub fn control(&self) -> String {
        format!("{self}-control")
    }

    /// Secret of the control port's token.
    #[must_use]
    pub fn control_token(&self) -> String {
        format!("{self}-control-token")
    }

    /// Secret of the server API's key.
    #[must_use]
    pub fn api_key(&self) -> String {
        format!("{self}-api-key")
    }

    /// StatefulSet, Service, Secret and NetworkPolicy of the managed Redis.
    #[must_use]
    pub fn redis(&self) -> String {
        format!("{self}-redis")
    }

    /// PersistentVolumeClaim of the managed Redis, as its StatefulSet names it.
    #[must_use]
    pub fn redis_claim(&self) -> String {
        format!("{REDIS_VOLUME}-{self}-redis-0")
    }

    /// Selector of the gateway pods, as the scale sub-resource gives it.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{CLUSTER}={self},{APP_NAME}={GATEWAY}")
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodName(pub String);

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hash of what a gateway pod means; pods of another revision are replaced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
