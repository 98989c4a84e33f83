//! `spec.scaling`, with the behaviour fields of HorizontalPodAutoscaler v2 (KEP-853, KEP-4951).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sizes the cluster by its live connections.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.minReplicas <= self.maxReplicas",
     "message": "spec.scaling.minReplicas: is above maxReplicas; lower it, or raise maxReplicas"},
]))]
pub struct Scaling {
    /// Fewest gateway pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub min_replicas: i32,
    /// Most gateway pods.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_replicas: i32,
    /// Connections one pod should hold: a target; `limits.maxConnections` is the limit.
    #[serde(default = "connections_per_pod")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections_per_pod: i32,
    /// Warm capacity for a burst, as a percentage of the live connections.
    #[serde(default = "headroom")]
    #[schemars(length(max = 4), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[0-9]{1,3}%$')",
        "message": "spec.scaling.headroom: not a percentage; write it like 10%, at most 999%",
    }]))]
    pub headroom: String,
    /// How fast the size may change in each direction.
    #[serde(default)]
    pub behavior: Behavior,
}

fn one() -> i32 {
    1
}

fn connections_per_pod() -> i32 {
    10_000
}

fn headroom() -> String {
    "10%".into()
}

/// How fast the size may change in each direction.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Behavior {
    /// Adding pods.
    #[serde(default = "ScalingRules::up")]
    pub scale_up: ScalingRules,
    /// Removing pods.
    #[serde(default = "ScalingRules::down")]
    pub scale_down: ScalingRules,
}

impl Default for Behavior {
    fn default() -> Self {
        Self { scale_up: ScalingRules::up(), scale_down: ScalingRules::down() }
    }
}

/// How fast the size may change in one direction.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ScalingRules {
    /// Seconds for which the most cautious recommendation holds; 0 for scale-up and 300 for scale-down when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts: the one that allows most change, least change, or none at all.
    pub select_policy: SelectPolicy,
    /// Bounds of the change in a period; the defaults of HorizontalPodAutoscaler when empty.
    #[schemars(length(max = 20))]
    pub policies: Vec<Policy>,
    /// Deviation from `connectionsPerPod` that changes nothing, 0.1 being 10 %; 0 for scale-up and 0.1 for scale-down when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tolerance: Option<f64>,
}

impl ScalingRules {
    fn up() -> Self {
        Self {
            stabilization_window_seconds: Some(0),
            select_policy: SelectPolicy::Max,
            policies: vec![
                Policy { type_: PolicyType::Pods, value: 4, period_seconds: 15 },
                Policy { type_: PolicyType::Percent, value: 100, period_seconds: 15 },
            ],
            tolerance: Some(0.0),
        }
    }

    fn down() -> Self {
        Self {
            stabilization_window_seconds: Some(300),
            select_policy: SelectPolicy::Max,
            policies: vec![Policy { type_: PolicyType::Percent, value: 100, period_seconds: 15 }],
            tolerance: Some(0.1),
        }
    }
}

/// Which policy counts.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows most change.
    #[default]
    Max,
    /// The one that allows least change.
    Min,
    /// The size does not change in this direction.
    Disabled,
}

/// A bound of the change in a period.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// `Pods` or `Percent` of the pods at the period's start.
    #[serde(rename = "type")]
    pub type_: PolicyType,
    /// How many pods, or how many percent.
    #[schemars(range(min = 1, max = 10_000))]
    pub value: i32,
    /// Seconds for which it looks back.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
}

/// What a policy's value counts.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyType {
    /// Pods.
    Pods,
    /// Percent of the pods at the period's start.
    Percent,
}
