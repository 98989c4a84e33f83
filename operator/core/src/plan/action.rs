//! What a plan consists of: plain data, carried out in order, with nothing left to decide.

use crate::crd::WebSocketClusterStatus;
use crate::names::PodName;
use crate::observed::{DrainCause, Memory, ObjectKey};
use crate::plan::Reason;
use crate::resources::GeneratedSecret;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::time::Duration;

/// What to do now, and what to say about it.
///
/// The shell carries out `actions` in order, and writes after that the `status` of a plan made with what came of them. Only where
/// the size has changed is this plan's `status` written first: `status.desiredReplicas` is the record that a successor reads.
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
    /// Make an object, or apply it by server-side apply, with force, on condition that it is still the one that was seen.
    Apply {
        /// Which.
        key: ObjectKey,
        /// The whole manifest.
        manifest: serde_json::Value,
    },
    /// Remove an object that the spec no longer asks for, on the same condition.
    Remove {
        /// Which.
        key: ObjectKey,
    },
    /// Make a Secret with a new random value ([`crate::resources::generated_secret`]); one that exists is left as it is.
    CreateSecret(GeneratedSecret),
    /// Create a gateway pod; one of this cluster that exists already under this name is the same pod.
    CreatePod(Box<Pod>),
    /// Put labels back on a pod, on condition that it is still the one that was seen.
    Relabel {
        /// Which.
        pod: PodName,
        /// The labels.
        labels: BTreeMap<String, String>,
    },
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

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteCause {
    /// Its last connection was moved.
    Drained,
    /// Its time to move its connections is up.
    DeadlinePassed,
    /// It has ended.
    Ended,
    /// Its container does not run, and the pod is not needed any more.
    NotRunning,
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
            Self::Relabel { .. } => "Relabel",
            Self::MarkDraining { .. } => "MarkDraining",
            Self::Drain { .. } => "Drain",
            Self::CancelDrain { .. } => "CancelDrain",
            Self::DeletePod { .. } => "DeletePod",
        }
    }
}
