//! The `WebSocketCluster` resource: schema, defaults, validation rules and the manifest of its definition.

mod auth;
mod backplane;
mod definition;
mod pod_template;
mod reference;
mod scaling;
mod status;

pub use auth::{Auth, Jwks, Jwt};
pub use backplane::{Backplane, ManagedRedis, Memory, Redis, RedisTls, Storage};
pub use definition::{crd, crd_yaml};
pub use pod_template::PodTemplate;
pub use reference::{configuration_reference, reference};
pub use scaling::{Behavior, Policy, PolicyType, Scaling, ScalingRules, SelectPolicy};
pub use status::{DrainStatus, WebSocketClusterStatus};

use gateway_core::config::{Channels, Limits, ProtocolName};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cluster of WebSocket gateways that grows and shrinks with its connections and loses nothing when it shrinks.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "WebSocketCluster",
    plural = "websocketclusters",
    shortname = "wsc",
    category = "all",
    namespaced,
    status = "WebSocketClusterStatus",
    derive = "PartialEq",
    doc = "A cluster of WebSocket gateways that grows and shrinks with its connections and loses nothing when it shrinks.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Serving pods that are ready, of those wanted"
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.connections",
        description = "Live connections"
    ),
    printcolumn(
        name = "Draining",
        type_ = "integer",
        json_path = ".status.drainingReplicas",
        description = "Pods whose clients are being moved"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        description = "What the cluster waits for, or Ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.replicas) && has(self.scaling))",
     "message": "spec.replicas: a fixed size and spec.scaling exclude each other; remove one of them"},
    {"rule": "!has(self.backplane.memory) || !has(self.replicas) || self.replicas <= 1",
     "message": "spec.backplane.memory: joins the clients of one pod only; use spec.backplane.redis, or spec.replicas: 1"},
    {"rule": "!has(self.backplane.memory) || !has(self.scaling) || self.scaling.maxReplicas <= 1",
     "message": "spec.backplane.memory: joins the clients of one pod only; use spec.backplane.redis, or remove spec.scaling"},
    {
        "rule": "!has(self.scaling) || self.scaling.connectionsPerPod <= self.limits.maxConnections",
        "message": "spec.scaling.connectionsPerPod: is above spec.limits.maxConnections, so no pod would ever be added; lower it, or raise the limit"
    },
]))]
#[allow(clippy::duplicated_attributes, reason = "every column has a type, and two of them the same")]
pub struct WebSocketClusterSpec {
    /// Image of the gateway; the operator's own default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Fixed number of gateway pods; 1 when neither this nor `scaling` is given. `kubectl scale` and autoscalers write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    /// Sizes the cluster by its live connections, instead of `replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Where clients connect.
    #[serde(default)]
    pub listener: Listener,
    /// Protocols served: `centrifuge` at /connection/websocket, `raw` at /raw/{channel}.
    #[serde(default = "protocols")]
    #[schemars(length(min = 1, max = 2))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub protocols: Vec<ProtocolName>,
    /// Who may connect and who may publish through the server API.
    #[serde(default)]
    pub auth: Auth,
    /// What one gateway and one connection may use.
    #[serde(default)]
    pub limits: Limits,
    /// What channels do.
    #[serde(default)]
    pub channels: Channels,
    /// What joins the gateways: Redis, or memory for a single pod.
    #[serde(default)]
    pub backplane: Backplane,
    /// How fast clients may be moved, whatever the reason.
    #[serde(default)]
    pub disruption: Disruption,
    /// How pods are replaced when their configuration changes.
    #[serde(default)]
    pub rollout: Rollout,
    /// How clients outside the cluster reach it.
    #[serde(default)]
    pub expose: Expose,
    /// What gateway pods carry beyond what the operator sets.
    #[serde(default)]
    pub pod_template: PodTemplate,
    /// What gateways log, as `tracing` filter directives like `info` or `info,mooring_gateway::reactor=debug`; `info` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^(([A-Za-z_][0-9A-Za-z_]*(::[A-Za-z_][0-9A-Za-z_]*)*=)?(?i:off|error|warn|info|debug|trace)(,|$))+$') && !self.endsWith(',')",
        "message": "spec.log: not a list of levels (off, error, warn, info, debug, trace) and module=level; write it like info,mooring_gateway::reactor=debug",
    }]))]
    pub log: Option<String>,
    /// The operator reports the cluster's state and changes nothing but the pace of drains that have begun.
    #[serde(default)]
    pub paused: bool,
}

fn protocols() -> Vec<ProtocolName> {
    vec![ProtocolName::Centrifuge, ProtocolName::Raw]
}

/// Where clients connect.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Listener {
    /// Port of the client Service.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Origins that browsers may connect from, like `https://example.com`; empty allows every origin.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(o, o.matches('^[a-zA-Z][a-zA-Z0-9+.-]*://[][a-zA-Z0-9.:_-]+$'))",
         "message": "spec.listener.allowedOrigins: an origin is a scheme and a host without a path, like https://example.com"},
    ]))]
    pub allowed_origins: Vec<String>,
    /// Messages of 512 bytes and more are compressed for clients that offer permessage-deflate, as browsers do: less traffic for more
    /// processor time. What goes to many is compressed once.
    pub compression: bool,
}

impl Default for Listener {
    fn default() -> Self {
        Self { port: 8000, allowed_origins: Vec::new(), compression: false }
    }
}

/// How fast clients may be moved, whatever the reason.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Disruption {
    /// Clients that may be moved per second in the whole cluster, by scale-down, rollout and deletion of pods together.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_reconnects_per_second: i32,
    /// Time one pod may take to move its clients, like `15m`; those that remain then are closed at once.
    #[schemars(length(max = 20), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self.matches('[1-9]')",
        "message": "spec.disruption.drainTimeout: not a duration; write it like 15m or 1h30m, each part [0-9]{1,6} and h, m or s",
    }]))]
    pub drain_timeout: String,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_reconnects_per_second: 200, drain_timeout: "15m".into() }
    }
}

/// How pods are replaced when their configuration changes.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rollout {
    /// Pods that may exist beyond the cluster's size during a rollout: a number, or a percentage of the size, rounded up.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "type(self) == int ? self >= 1 : self.matches('^[1-9][0-9]{0,2}%$')",
         "message": "spec.rollout.maxSurge: new pods come before old ones go; give at least 1 or 1%"},
    ]))]
    pub max_surge: IntOrString,
    /// Seconds a rollout may go without a new pod becoming ready before condition Progressing turns False.
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { max_surge: IntOrString::String("25%".into()), progress_deadline_seconds: 600 }
    }
}

/// How clients outside the cluster reach it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Expose {
    /// The client Service, named like the cluster.
    pub service: ClientService,
}

/// The client Service.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.nodePort) || self.type != 'ClusterIP'",
     "message": "spec.expose.service.nodePort: a ClusterIP Service has none; set type: NodePort or LoadBalancer"},
]))]
pub struct ClientService {
    /// `ClusterIP`, `NodePort` or `LoadBalancer`, as in core/v1.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Port on every node, for type NodePort or LoadBalancer; chosen by Kubernetes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub node_port: Option<i32>,
    /// Annotations of the Service, for the load balancer's controller.
    pub annotations: BTreeMap<String, String>,
}

/// Type of the client Service.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reached from inside the cluster.
    #[default]
    ClusterIP,
    /// Reached through a port of every node.
    NodePort,
    /// Reached through the cloud's load balancer.
    LoadBalancer,
}
