//! `status`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw and decided.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WebSocketClusterStatus {
    /// Generation of the spec that this status is about.
    pub observed_generation: i64,
    /// Gateway pods, draining ones included.
    pub replicas: i32,
    /// Serving gateway pods that the operator wants; the record of its scaling decision.
    pub desired_replicas: i32,
    /// Serving gateway pods that are ready.
    pub ready_replicas: i32,
    /// `readyReplicas` of `desiredReplicas`, like `2/3`.
    pub ready: String,
    /// Gateway pods whose clients are being moved.
    pub draining_replicas: i32,
    /// Gateway pods of the updated revision that serve.
    pub updated_replicas: i32,
    /// Live connections, as far as reported.
    pub connections: i64,
    /// Selector of the gateway pods, for the scale sub-resource.
    pub selector: String,
    /// Revision of the pods that were complete last.
    pub current_revision: String,
    /// Revision that the spec asks for.
    pub updated_revision: String,
    /// What the cluster waits for, or `Ready`.
    pub reason: String,
    /// The drain under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Ready, Available, Progressing, BackplaneReady, ScalingActive, ScalingLimited, Draining and ReplicaFailure.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The drain under way, over all pods.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DrainStatus {
    /// Connections still to move.
    pub to_move: i64,
    /// Connections moved so far by the pods that drain now.
    pub moved: i64,
    /// Connections moved per second, as granted.
    pub per_second: i64,
    /// Seconds until the last one is moved at this pace; absent while it stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
}
