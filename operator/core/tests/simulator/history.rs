//! What can happen to a cluster, as data: it is generated, made smaller, printed and read back.

use operator_core::crd::{Redis, WebSocketClusterSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A cluster and what happened to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub seed: u64,
    pub placement: Placement,
    pub clients: usize,
    pub spec: Value,
    /// A Service of somebody else has the cluster's name.
    #[serde(default)]
    pub foreign: bool,
    /// An admission webhook has its own mind about the image of the managed Redis.
    #[serde(default)]
    pub webhook: bool,
    /// Each with the seconds after it.
    pub steps: Vec<(Event, u16)>,
}

/// Where clients that connect come to, of the endpoints that have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    LeastLoaded,
    Random,
    /// All to the fullest.
    Piled,
    /// All to the oldest pod, which is the next to be replaced.
    Oldest,
}

/// Pods and nodes are given by an index into those that there are; one beyond the last is nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Connect(usize),
    Disconnect(usize),
    Edit(Edit),
    /// `kubectl delete pod`, with the pod's own grace period unless one is given.
    Delete {
        pod: usize,
        grace: Option<i64>,
    },
    Evict {
        pod: usize,
    },
    /// `kubectl drain`: cordons, and asks for evictions until none is left.
    DrainNode(usize),
    UncordonNode(usize),
    KillNode(usize),
    ReviveNode(usize),
    /// The gateway's process ends, so many times in a row.
    Crash {
        pod: usize,
        times: u8,
    },
    /// Another container of the pod crashes for so many seconds.
    SidecarCrash {
        pod: usize,
        seconds: u8,
    },
    /// The operator can't reach the gateway.
    Silence {
        pod: usize,
        seconds: u16,
    },
    /// No pod finds a node.
    Unschedulable {
        seconds: u16,
    },
    /// `kubectl label pod … mooring.dev/cluster-`.
    StripLabel {
        pod: usize,
    },
    RestartOperator,
    StopOperator {
        seconds: u16,
    },
    /// Another operator leads in the middle of a pass; the one thing that the first had begun is done so many seconds later.
    TakeOver {
        late: u8,
    },
    StepClock {
        seconds: i64,
    },
    /// Percent of writes that fail, percent of orders that are lost, repeated or late, and seconds by which caches are behind.
    Trouble {
        writes: u8,
        orders: u8,
        lag: u8,
    },
    /// A new operator, with another default image.
    Upgrade,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    Replicas(i32),
    Scaling {
        min: i32,
        max: i32,
        per_pod: i32,
        window: i32,
    },
    Image(u8),
    MissingImage,
    Budget(i32),
    DrainTimeout(u16),
    Limit(u32),
    Surge(u8),
    Pause(bool),
    Log(u8),
    ExternalRedis,
    Port(u16),
    Compression(bool),
    PodLabel(u8),
    ProgressDeadline(i32),
    /// A spec that can't work.
    Invalid,
}

impl Edit {
    pub fn apply(&self, spec: &mut WebSocketClusterSpec) {
        match self {
            Self::Replicas(replicas) => (spec.replicas, spec.scaling) = (Some(*replicas), None),
            Self::Scaling { min, max, per_pod, window } => {
                let scaling = json!({
                    "minReplicas": min, "maxReplicas": max, "connectionsPerPod": per_pod, "headroom": "0%",
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": window}},
                });
                (spec.replicas, spec.scaling) = (None, Some(serde_json::from_value(scaling).unwrap()));
            }
            Self::Image(image) => spec.image = Some(format!("image:{image}")),
            Self::MissingImage => spec.image = Some("missing:1".into()),
            Self::Budget(budget) => spec.disruption.max_reconnects_per_second = *budget,
            Self::DrainTimeout(seconds) => spec.disruption.drain_timeout = format!("{seconds}s"),
            Self::Limit(limit) => spec.limits.max_connections = *limit,
            Self::Surge(percent) => {
                spec.rollout.max_surge = serde_json::from_value(json!(format!("{percent}%"))).unwrap();
            }
            Self::Pause(paused) => spec.paused = *paused,
            Self::Log(level) => spec.log = Some(["info", "debug", "warn"][usize::from(*level) % 3].into()),
            Self::ExternalRedis => {
                let redis = Redis { url: Some("redis://other:6379".into()), ..Redis::default() };
                spec.backplane.redis = Some(redis);
            }
            Self::Port(port) => spec.listener.port = i32::from(*port),
            Self::Compression(compression) => spec.listener.compression = *compression,
            Self::PodLabel(value) => {
                spec.pod_template.labels.insert("team".into(), value.to_string());
            }
            Self::ProgressDeadline(seconds) => spec.rollout.progress_deadline_seconds = *seconds,
            Self::Invalid => spec.disruption.drain_timeout = "soon".into(),
        }
    }
}
