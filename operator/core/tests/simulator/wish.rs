//! What a spec asks for, read from it anew: what judges must not share the operator's reading of it.

use crate::gateway::Second;
use operator_core::crd::WebSocketClusterSpec;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub size: Size,
    /// Clients that may be moved per second.
    pub budget: f64,
    pub drain_timeout: Second,
    /// Connections of one pod.
    pub limit: usize,
    /// All that a pod is made of; pods made for the same are replaced for nothing.
    pub pods: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    Fixed(usize),
    Scaled { least: usize, most: usize, per_pod: usize, headroom: usize },
}

impl Wish {
    pub fn of(spec: &WebSocketClusterSpec) -> Self {
        let mut spec = serde_json::to_value(spec).unwrap();
        let number = |path: &str| spec.pointer(path).and_then(Value::as_f64);
        let count =
            |path: &str| spec.pointer(path).and_then(Value::as_u64).map(|n| usize::try_from(n).unwrap());
        let text = |path: &str| spec.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let size = if spec["scaling"].is_object() {
            Size::Scaled {
                least: count("/scaling/minReplicas").unwrap(),
                most: count("/scaling/maxReplicas").unwrap(),
                per_pod: count("/scaling/connectionsPerPod").unwrap(),
                headroom: text("/scaling/headroom").trim_end_matches('%').parse().unwrap(),
            }
        } else {
            Size::Fixed(count("/replicas").unwrap_or(1))
        };
        let budget = number("/disruption/maxReconnectsPerSecond").unwrap();
        let drain_timeout = seconds(text("/disruption/drainTimeout"));
        let limit = count("/limits/maxConnections").unwrap();
        Self { size, budget, drain_timeout, limit, pods: pods(&mut spec) }
    }

    /// The size that so many clients ask for.
    pub fn asked(&self, clients: usize) -> usize {
        match self.size {
            Size::Fixed(size) => size,
            Size::Scaled { least, most, per_pod, headroom } => {
                (clients * (100 + headroom)).div_ceil(100 * per_pod).clamp(least, most)
            }
        }
    }

    /// The pods that there are whatever the connections.
    pub fn least(&self) -> usize {
        self.asked(0)
    }

    pub fn most(&self) -> usize {
        match self.size {
            Size::Fixed(size) => size,
            Size::Scaled { most, .. } => most,
        }
    }
}

/// Histories write durations as minutes or as seconds.
fn seconds(text: &str) -> Second {
    let minutes = text.strip_suffix('m').and_then(|minutes| minutes.parse::<Second>().ok());
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    minutes.map(|minutes| minutes * 60).or(seconds).unwrap_or_default()
}

fn pods(spec: &mut Value) -> String {
    for elsewhere in ["replicas", "scaling", "rollout", "disruption", "expose", "paused"] {
        spec[elsewhere] = Value::Null;
    }
    spec["listener"]["port"] = Value::Null;
    let backplane = &mut spec["backplane"];
    if backplane["memory"].is_null() && backplane["redis"]["url"].is_null() {
        // Gateways find a managed Redis under the same name, however it is made.
        *backplane = "managed".into();
    }
    spec.to_string()
}
