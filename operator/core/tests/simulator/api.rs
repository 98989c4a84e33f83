//! What the API server stores.

use crate::gateway::Second;
use crate::wish::Wish;
use jiff::Timestamp;
use operator_core::crd::WebSocketCluster;
use operator_core::desired::{Defaults, Desired, Invalid};
use operator_core::observed::{ObjectKey, ObjectKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
}

/// A pod is out of the endpoints by its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub cause: String,
    pub since: Timestamp,
    pub deadline: Option<Timestamp>,
}

/// A gateway pod as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodObject {
    pub uid: u64,
    pub version: u64,
    /// It has the label by which the operator and the Services find it.
    pub labelled: bool,
    pub mark: Option<Mark>,
    pub revision: String,
    pub pulls: Option<String>,
    pub created: Second,
    /// When the kubelet kills it.
    pub deletion: Option<Second>,
    pub phase: Phase,
    pub ready: bool,
    pub ready_since: Second,
    /// Why the gateway's container waits.
    pub waiting: Option<&'static str>,
    /// Why the container beside it waits.
    pub beside: Option<&'static str>,
}

/// A cluster as it is stored, and what it means.
pub struct Spec {
    pub cluster: WebSocketCluster,
    pub parsed: Result<Desired, Invalid>,
    pub wish: Wish,
}

impl Spec {
    pub fn new(cluster: WebSocketCluster, defaults: &Defaults) -> Self {
        let parsed = Desired::parse(&cluster, defaults);
        let wish = Wish::of(&cluster.spec);
        Self { cluster, parsed, wish }
    }
}

/// No answer, or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// Objects besides pods.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub owned: BTreeMap<ObjectKey, Value>,
    /// Those of somebody else.
    pub foreign: BTreeSet<ObjectKey>,
}

impl Objects {
    /// The smallest number of healthy pods that an eviction may leave.
    pub fn least_available(&self) -> usize {
        let budgets = self.owned.iter().filter(|(key, _)| key.kind == ObjectKind::PodDisruptionBudget);
        let least = budgets.filter_map(|(_, budget)| budget.pointer("/spec/minAvailable")?.as_u64()).max();
        usize::try_from(least.unwrap_or(0)).unwrap()
    }
}
