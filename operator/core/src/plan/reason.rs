//! Why the cluster is not as it should be.

use crate::names::PodName;
use gateway_core::control::BackplaneTrouble;
use std::fmt;

/// What is not as it should be, and why: the source of conditions, the Reason column, events and log lines. The order of the
/// variants is their weight: the column shows the first.
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
        /// The image; why it can't be pulled is in the pod's events, in words that change at every try.
        image: String,
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
        /// The kind of the first one's error.
        trouble: BackplaneTrouble,
        /// That error.
        message: String,
        /// The StatefulSet of the managed Redis, if it has no ready pod.
        down: Option<String>,
    },
    /// The managed Redis is not ready.
    BackplaneNotReady {
        /// Its StatefulSet.
        set: String,
    },
    /// A rollout makes no progress.
    ProgressDeadlineExceeded {
        /// Pods of the new revision that are not ready.
        waiting: usize,
    },
    /// No pod could take the clients of a draining pod.
    DrainBlocked {
        /// Which.
        pod: PodName,
    },
    /// Pods are not ready yet.
    WaitingForPods {
        /// How many.
        pods: usize,
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
            Self::BackplaneUnreachable { trouble, .. } => match trouble {
                BackplaneTrouble::UnknownAuthority => "BackplaneUnknownAuthority",
                BackplaneTrouble::WrongName => "BackplaneWrongName",
                BackplaneTrouble::CertificateExpired => "BackplaneCertificateExpired",
                BackplaneTrouble::ClientCertificateRefused => "BackplaneClientCertificateRefused",
                BackplaneTrouble::AccessDenied => "BackplaneAccessDenied",
                BackplaneTrouble::Unreachable => "BackplaneUnreachable",
            },
            Self::BackplaneNotReady { .. } => "BackplaneNotReady",
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSpec { message, .. } => f.write_str(message),
            Self::Paused => f.write_str("spec.paused is true: nothing is changed until it is removed"),
            Self::SecretMissing { name, key } => {
                write!(
                    f,
                    "Secret {name} with key {key} does not exist: create it, or correct the reference in spec"
                )
            }
            Self::ImagePullFailed { pod, image } => {
                write!(
                    f,
                    "image {image} of pod {pod} can't be pulled: correct spec.image; the pod's events say why"
                )
            }
            Self::ContainerFailed { pod, message } => {
                write!(f, "the container of pod {pod} can't run: {message}")
            }
            Self::BackplaneUnreachable { pods, message, down, .. } => {
                write!(f, "{pods} gateways can't reach the backplane: {message}")?;
                down.as_ref().map_or(Ok(()), |set| write!(f, "; {}", NoReadyPod(set)))
            }
            Self::BackplaneNotReady { set } => NoReadyPod(set).fmt(f),
            Self::ProgressDeadlineExceeded { waiting } => {
                write!(
                    f,
                    "{waiting} pods of the updated revision did not get ready in spec.rollout.progressDeadlineSeconds"
                )
            }
            Self::DrainBlocked { pod } => {
                write!(
                    f,
                    "no ready pod has room for the clients of {pod}: add pods, or raise spec.limits.maxConnections"
                )
            }
            Self::WaitingForPods { pods } => write!(f, "{pods} serving pods are not ready yet"),
            Self::RollingOut { left } => write!(f, "{left} pods of an older revision are left"),
            Self::Draining { pods } => write!(f, "the clients of {pods} pods are being moved"),
            Self::WaitingForReports { pods } => {
                let names: Vec<_> = pods.iter().map(ToString::to_string).collect();
                write!(f, "nothing is scaled down without the reports of {}", names.join(", "))
            }
            Self::TooManyConnections { wanted, max } => {
                write!(f, "the connections ask for {wanted} pods, and spec.scaling.maxReplicas is {max}")
            }
            Self::ScaleDownHeld { wanted, kept } => {
                write!(
                    f,
                    "the connections ask for {wanted} pods; {kept} are kept by spec.scaling.behavior.scaleDown"
                )
            }
            Self::ScaleUpHeld { wanted, kept } => {
                write!(
                    f,
                    "the connections ask for {wanted} pods; spec.scaling.behavior.scaleUp allows {kept} now"
                )
            }
        }
    }
}

/// Of a StatefulSet of one.
struct NoReadyPod<'a>(&'a str);

impl fmt::Display for NoReadyPod<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(set) = self;
        write!(f, "StatefulSet {set} has no ready pod: kubectl describe pod {set}-0 says why")
    }
}
