//! What was seen, and how sure that is.

use crate::crd::WebSocketClusterStatus;
use crate::desired::SecretKey;
use crate::names::{PodName, Revision};
use crate::ownership::Standing;
use crate::refusal::Refusal;
use gateway_core::control;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What was seen of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Gateway pods, those that terminate included.
    pub pods: BTreeMap<PodName, PodView>,
    /// Pods of the cluster that were set aside: somebody took the label from them by which they are its gateways. Their clients
    /// move as they did before, and come to the others.
    pub aside: BTreeMap<PodName, PodView>,
    /// Live objects that the cluster controls, besides pods, as JSON.
    pub owned: BTreeMap<ObjectKey, serde_json::Value>,
    /// Objects under names that the cluster needs, which are not the cluster's.
    pub others: BTreeMap<ObjectKey, Standing>,
    /// Of what earlier plans asked for and this one may ask for again, what the API server refused last.
    pub refusals: BTreeMap<ObjectKey, Refusal>,
    /// Objects that are not as they were applied since admission changed them.
    pub rewritten: BTreeMap<ObjectKey, Rewritten>,
    /// Of [`crate::desired::Desired::referenced_secrets`], those that exist and have the key.
    pub secrets: BTreeSet<SecretKey>,
    /// The status as last written, or as read when the operator started.
    pub status: Option<WebSocketClusterStatus>,
    /// What the last plan gave to remember; empty when the operator started.
    pub memory: Memory,
}

/// An object that came out of its application otherwise than it went in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// What differed, by [`crate::drift::differences`].
    pub differences: Vec<String>,
    /// When to apply it again, if nothing else changes.
    pub again: Timestamp,
}

/// Kind of an object that the cluster needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// networking.k8s.io/v1.
    NetworkPolicy,
    /// v1; made by the StatefulSet of the managed Redis.
    PersistentVolumeClaim,
    /// v1.
    Pod,
    /// policy/v1.
    PodDisruptionBudget,
    /// v1.
    Secret,
    /// v1.
    Service,
    /// v1.
    ServiceAccount,
    /// apps/v1.
    StatefulSet,
}

impl ObjectKind {
    /// As in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Pod => "Pod",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::ServiceAccount => "ServiceAccount",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// An object in the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// A gateway pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// metadata.uid.
    pub uid: String,
    /// metadata.resourceVersion.
    pub resource_version: String,
    /// status.phase.
    pub phase: Phase,
    /// Condition Ready.
    pub ready: bool,
    /// Since when that is so.
    pub ready_since: Timestamp,
    /// Label mooring.dev/traffic.
    pub traffic: Traffic,
    /// Label mooring.dev/revision.
    pub revision: Revision,
    /// Annotation mooring.dev/pulls; none of a pod that an operator made before there was one.
    pub pulls: Option<String>,
    /// metadata.creationTimestamp.
    pub created: Timestamp,
    /// metadata.deletionTimestamp: when the kubelet kills it.
    pub deletion: Option<Timestamp>,
    /// Why the gateway's container waits, when that is an error.
    pub waiting: Option<Waiting>,
    /// What else is wrong with it.
    pub troubles: Troubles,
    /// What its gateway says.
    pub report: Report,
}

/// What can be wrong with a pod besides its gateway's container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Another container that waits for help, an injected one mostly: its name, and why it waits.
    pub beside: Option<(String, Waiting)>,
    /// Why no node takes it, in the scheduler's words.
    pub unschedulable: Option<String>,
    /// Why it has ended.
    pub ended: Option<String>,
    /// Labels that it was made with and has no more, those excepted by which it is found.
    pub lost_labels: BTreeMap<String, String>,
}

/// A pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not started yet.
    Pending,
    /// Its container has started.
    Running,
    /// Its container has ended for good.
    Ended,
    /// Its node does not answer.
    Unknown,
}

/// Whether new clients come to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// In the endpoints once ready.
    Serving,
    /// Out of the endpoints.
    Draining {
        /// Why.
        cause: DrainCause,
        /// Since when.
        since: Timestamp,
        /// When its remaining connections are closed at once; absent until its turn has come.
        deadline: Option<Timestamp>,
    },
}

/// Why a pod's clients are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainCause {
    /// The cluster needs fewer pods.
    ScaleDown,
    /// The pod's revision is not the one that the spec asks for.
    Rollout,
}

impl DrainCause {
    /// Value of annotation mooring.dev/drain-reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScaleDown => "ScaleDown",
            Self::Rollout => "Rollout",
        }
    }

    /// From the annotation's value; anything unknown counts as [`Self::ScaleDown`], so that the pod's drain is finished.
    #[must_use]
    pub fn from_annotation(value: &str) -> Self {
        if value == Self::Rollout.as_str() { Self::Rollout } else { Self::ScaleDown }
    }
}

/// Why a container waits: `state.waiting.reason`, one of those that need somebody's help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Like `ImagePullBackOff`.
    pub reason: String,
    /// For a person.
    pub message: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl Waiting {
    /// Its image can't be pulled.
    #[must_use]
    pub fn is_for_image(&self) -> bool {
        ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"]
            .contains(&self.reason.as_str())
    }
}

/// What a gateway says. Unknown is never zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Report {
    /// Answered recently.
    Fresh {
        /// The answer.
        report: control::Report,
        /// When it came.
        at: Timestamp,
    },
    /// Answered once.
    Stale {
        /// The last answer.
        last: control::Report,
        /// When that came.
        since: Timestamp,
    },
    /// Did not answer yet.
    #[default]
    Never,
}

/// How old a report may be and still be [`Report::Fresh`], in seconds: two readings that failed.
pub const FRESH_SECONDS: i64 = 6;

impl Report {
    /// The answer, if it came recently.
    #[must_use]
    pub fn fresh(&self) -> Option<&control::Report> {
        match self {
            Self::Fresh { report, .. } => Some(report),
            Self::Stale { .. } | Self::Never => None,
        }
    }

    /// The last answer, however old.
    #[must_use]
    pub fn last(&self) -> Option<(&control::Report, Timestamp)> {
        match self {
            Self::Fresh { report, at } => Some((report, *at)),
            Self::Stale { last, since } => Some((last, *since)),
            Self::Never => None,
        }
    }
}

/// What a plan remembers for the next one. Losing it delays a scale-down and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Sizes recommended within the stabilization windows, oldest first.
    pub recommendations: Vec<Recommendation>,
    /// Changes of the size within the policies' periods, oldest first.
    pub changes: Vec<SizeChange>,
    /// The size decided last.
    pub target: Option<u32>,
    /// Drain rates granted since the pods' last reports.
    pub grants: BTreeMap<PodName, Grant>,
    /// Pods that ended as soon as they were made.
    pub ends: Option<Ends>,
}

/// Pods that ended as soon as they were made, time and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// How often in a row.
    pub rounds: u32,
    /// No pod is made before.
    pub until: Timestamp,
    /// Why the last one ended.
    pub why: String,
}

/// A size that the connections asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// Pods.
    pub size: u32,
}

/// A change of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeChange {
    /// When.
    pub at: Timestamp,
    /// Pods added, or removed when negative.
    pub by: i64,
}

/// A drain rate that a gateway was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grant {
    /// When.
    pub at: Timestamp,
    /// Connections per second.
    pub rate: f64,
}
