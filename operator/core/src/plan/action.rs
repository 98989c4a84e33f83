//! What a plan consists of: plain data, carried out in order, with nothing left to decide.

use crate::crd::WebSocketClusterStatus;
use crate::names::PodName;
use crate::observed::{Memory, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::fmt;
use std::time::Duration;

/// What to do now, and what to say about it.
///
/// The shell writes `status` first, when it differs from the one last written, and carries out `actions` after that, in order:
/// `status.desiredReplicas` is the record of the scaling decision that a successor reads.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In order; each may be repeated without harm.
    pub actions: Vec<Action>,
    /// Equal to the previous one when nothing changed.
    pub status: WebSocketClusterStatus,
    /// For the next plan.
    pub memory: Memory,
    /// When to plan again if nothing happens before.
    pub wake: Option<Duration>,
    /// What is not as it should be, and why.
    pub reasons: Vec<Reason>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Apply an object by server-side apply, with force.
    Apply {
        /// Which.
        key: ObjectKey,
        /// The whole manifest.
        manifest: serde_json::Value,
    },
    /// Remove an object that the spec no longer asks for.
    Remove {
        /// Which.
        key: ObjectKey,
    },
    /// Make a Secret with a new random value ([`crate::resources::generated_secret`]); one that exists is left as it is.
    CreateSecret(GeneratedSecret),
    /// Create a gateway pod; one that exists already under this name is the same pod.
    CreatePod(Box<Pod>),
    /// Take a pod out of the endpoints: label and annotations.
    MarkDraining {
        /// Which.
        pod: PodName,
        /// Why.
        cause: DrainCause,
        /// Since when.
        since: Timestamp,
        /// When its remaining connections are closed at once; absent until its turn has come.
        deadline: Option<Timestamp>,
    },
    /// `POST /drain`.
    Drain {
        /// Which.
        pod: PodName,
        /// Connections per second; 0 pauses.
        rate: f64,
        /// When the remaining connections are closed at once.
        deadline: Timestamp,
    },
    /// `DELETE /drain`, then back into the endpoints: label, and annotations removed.
    CancelDrain {
        /// Which.
        pod: PodName,
    },
    /// Delete a pod, on condition that it is still the one that was seen.
    DeletePod {
        /// Which.
        pod: PodName,
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: String,
        /// Why.
        why: DeleteCause,
    },
}

/// A Secret that the operator makes once, with a random value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GeneratedSecret {
    /// Password of the managed Redis.
    RedisPassword,
    /// Token of the control port.
    ControlToken,
    /// Key of the server API.
    ApiKey,
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

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteCause {
    /// Its last connection was moved.
    Drained,
    /// Its time to move its connections is up.
    DeadlinePassed,
    /// It has ended.
    Ended,
    /// It never started, and is not needed any more.
    NeverStarted,
}

/// What is not as it should be, and why: the source of conditions, the Reason column, events and log lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The spec can't work.
    InvalidSpec {
        /// [`crate::desired::Invalid::reason`].
        kind: &'static str,
        /// Field, value and remedy.
        message: String,
    },
    /// `spec.paused`.
    Paused,
    /// A Secret that the spec names does not exist, or lacks the key.
    SecretMissing {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// A pod's image can't be pulled.
    ImagePullFailed {
        /// Which pod.
        pod: PodName,
        /// The kubelet's words.
        message: String,
    },
    /// A pod's container can't be started.
    ContainerFailed {
        /// Which pod.
        pod: PodName,
        /// The kubelet's reason and words.
        message: String,
    },
    /// Gateways can't reach the backplane.
    BackplaneUnreachable {
        /// How many gateways say so.
        pods: usize,
        /// The error of the first.
        message: String,
    },
    /// The managed Redis is not ready.
    BackplaneNotReady,
    /// A rollout makes no progress.
    ProgressDeadlineExceeded {
        /// Pods of the new revision that are not ready.
        waiting: usize,
    },
    /// Pods are not ready yet.
    WaitingForPods {
        /// How many.
        pods: usize,
    },
    /// Without these pods' reports nothing is scaled down.
    WaitingForReports {
        /// Which.
        pods: Vec<PodName>,
    },
    /// The connections ask for more pods than maxReplicas.
    TooManyConnections {
        /// Pods they ask for.
        wanted: u32,
        /// maxReplicas.
        max: u32,
    },
    /// The connections ask for fewer pods, and the stabilization window or a policy holds that back.
    ScaleDownHeld {
        /// Pods they ask for.
        wanted: u32,
        /// Pods kept.
        kept: u32,
    },
    /// A policy holds the scale-up back.
    ScaleUpHeld {
        /// Pods they ask for.
        wanted: u32,
        /// Pods allowed now.
        kept: u32,
    },
    /// Old pods are being replaced.
    RollingOut {
        /// Pods of another revision left.
        left: usize,
    },
    /// Pods' clients are being moved.
    Draining {
        /// How many pods.
        pods: usize,
    },
    /// No pod could take the clients of a draining pod.
    DrainBlocked {
        /// Which.
        pod: PodName,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Action {
    /// For metric labels and event reasons.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "Apply",
            Self::Remove { .. } => "Remove",
            Self::CreateSecret(_) => "CreateSecret",
            Self::CreatePod(_) => "CreatePod",
            Self::MarkDraining { .. } => "MarkDraining",
            Self::Drain { .. } => "Drain",
            Self::CancelDrain { .. } => "CancelDrain",
            Self::DeletePod { .. } => "DeletePod",
        }
    }
}

impl Reason {
    /// For condition reasons, events and metric labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidSpec { .. } => "InvalidSpec",
            Self::Paused => "Paused",
            Self::SecretMissing { .. } => "SecretMissing",
            Self::ImagePullFailed { .. } => "ImagePullFailed",
            Self::ContainerFailed { .. } => "ContainerFailed",
            Self::BackplaneUnreachable { .. } => "BackplaneUnreachable",
            Self::BackplaneNotReady => "BackplaneNotReady",
            Self::ProgressDeadlineExceeded { .. } => "ProgressDeadlineExceeded",
            Self::WaitingForPods { .. } => "WaitingForPods",
            Self::WaitingForReports { .. } => "WaitingForReports",
            Self::TooManyConnections { .. } => "TooManyConnections",
            Self::ScaleDownHeld { .. } => "ScaleDownHeld",
            Self::ScaleUpHeld { .. } => "ScaleUpHeld",
            Self::RollingOut { .. } => "RollingOut",
            Self::Draining { .. } => "Draining",
            Self::DrainBlocked { .. } => "DrainBlocked",
        }
    }

    /// Somebody has to do something about it.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::InvalidSpec { .. }
                | Self::SecretMissing { .. }
                | Self::ImagePullFailed { .. }
                | Self::ContainerFailed { .. }
                | Self::BackplaneUnreachable { .. }
                | Self::ProgressDeadlineExceeded { .. }
                | Self::TooManyConnections { .. }
                | Self::DrainBlocked { .. }
        )
    }
}
