//! Why the cluster is not as it should be.

use crate::names::PodName;
use crate::observed::ObjectKey;
use crate::ownership::Holder;
use crate::refusal::RefusalCause;
use crate::words::some_of;
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
    /// An object of a name that the cluster needs is not the cluster's.
    NameTaken {
        /// Which.
        key: ObjectKey,
        /// Whose it is.
        holder: Holder,
    },
    /// The API server refused what the cluster needs.
    Refused {
        /// Why.
        cause: RefusalCause,
        /// What was refused.
        key: ObjectKey,
        /// The API server's words.
        message: String,
    },
    /// Pods end as soon as they are made, and are made anew ever more slowly.
    PodsEnd {
        /// How often that happened in a row.
        rounds: u32,
        /// The kubelet's words.
        why: String,
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
    /// A container beside the gateway can't run, so that the pod does not get ready.
    SidecarFailed {
        /// In which pod.
        pod: PodName,
        /// The container.
        container: String,
        /// The kubelet's reason and words.
        message: String,
    },
    /// No node takes pods.
    Unschedulable {
        /// How many.
        pods: usize,
        /// One of them.
        pod: PodName,
        /// The scheduler's words about it.
        message: String,
    },
    /// Pods were set aside, and others made in their place.
    PodsSetAside {
        /// Which.
        pods: Vec<PodName>,
        /// They are so many that no more are replaced.
        too_many: bool,
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
    /// Pods that should be ready have not been for too long.
    ProgressDeadlineExceeded {
        /// Pods of the new revision that are not ready.
        waiting: usize,
    },
    /// No pod could take the clients of a draining pod.
    DrainBlocked {
        /// Which.
        pod: PodName,
    },
    /// Objects around the pods are not there yet, or not as the spec asks.
    Reconciling {
        /// The first of them.
        key: ObjectKey,
        /// How many there are besides.
        more: usize,
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
    /// Admission changes an object each time it is applied.
    ObjectRewritten {
        /// Which.
        key: ObjectKey,
        /// The first difference, and how many there are.
        differs: (String, usize),
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
            Self::NameTaken { .. } => "NameTaken",
            Self::Refused { cause, .. } => cause.reason(),
            Self::PodsEnd { .. } => "PodsEnd",
            Self::ImagePullFailed { .. } => "ImagePullFailed",
            Self::ContainerFailed { .. } => "ContainerFailed",
            Self::SidecarFailed { .. } => "SidecarFailed",
            Self::Unschedulable { .. } => "Unschedulable",
            Self::PodsSetAside { .. } => "PodsSetAside",
            Self::ObjectRewritten { .. } => "ObjectRewritten",
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
            Self::Reconciling { .. } => "Reconciling",
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
                | Self::NameTaken { .. }
                | Self::Refused { .. }
                | Self::PodsEnd { .. }
                | Self::ImagePullFailed { .. }
                | Self::ContainerFailed { .. }
                | Self::SidecarFailed { .. }
                | Self::Unschedulable { .. }
                | Self::PodsSetAside { too_many: true, .. }
                | Self::BackplaneUnreachable { .. }
                | Self::ProgressDeadlineExceeded { .. }
                | Self::TooManyConnections { .. }
                | Self::DrainBlocked { .. }
        )
    }

    /// Worth to be told, and nothing to wait for: with it alone the cluster is as it should be.
    #[must_use]
    pub fn is_note(&self) -> bool {
        matches!(
            self,
            Self::ScaleDownHeld { .. }
                | Self::ScaleUpHeld { .. }
                | Self::ObjectRewritten { .. }
                | Self::PodsSetAside { too_many: false, .. }
        )
    }

    /// The cluster is not what the spec asks for while it is so. What the spec's own bounds hold back, and clients that are moved,
    /// are no part of that.
    #[must_use]
    pub fn is_in_the_way(&self) -> bool {
        let goes_on = matches!(
            self,
            Self::Paused
                | Self::DrainBlocked { .. }
                | Self::Draining { .. }
                | Self::WaitingForReports { .. }
                | Self::TooManyConnections { .. }
        );
        !goes_on && !self.is_note()
    }

    /// The object that can't be made, or can't be changed.
    #[must_use]
    pub fn refused(&self) -> Option<&ObjectKey> {
        match self {
            Self::NameTaken { key, .. } | Self::Refused { key, .. } => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSpec { message, .. } => f.write_str(message),
            Self::Paused => f.write_str(
                "spec.paused is true: nothing but the pace of drains is changed until it is removed",
            ),
            Self::SecretMissing { name, key } => {
                write!(
                    f,
                    "Secret {name} with key {key} does not exist: create it, or correct the reference in spec"
                )
            }
            Self::NameTaken { key, holder } => write!(f, "{key} {holder}"),
            Self::Refused { cause, message, key: _ } => write!(f, "{message}: {}", cause.remedy()),
            Self::PodsEnd { rounds, why } => {
                write!(f, "pods end as soon as they are made (rounds so far: {rounds}): {why}")
            }
            Self::SidecarFailed { pod, container, message } => {
                write!(f, "container {container} beside the gateway of pod {pod} can't run: {message}")
            }
            Self::Unschedulable { pods, pod, message } => {
                write!(f, "no node takes {pods} pods; of {pod} the scheduler says: {message}")
            }
            Self::PodsSetAside { pods, too_many } => {
                let names = some_of(pods);
                let end = if *too_many {
                    "they are too many for others to be made in their place"
                } else {
                    "others serve in their place"
                };
                write!(
                    f,
                    "the labels of {names} no longer say that they are gateways of this cluster: {end}; delete them when you are through, or put label mooring.dev/cluster back"
                )
            }
            Self::ObjectRewritten { key, differs: (first, count) } => {
                write!(f, "{key} is changed by admission as it is applied: {first}")?;
                if *count > 1 { write!(f, ", and {} more", count - 1) } else { Ok(()) }
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
                    "{waiting} pods of the updated revision have not been ready for spec.rollout.progressDeadlineSeconds"
                )
            }
            Self::DrainBlocked { pod } => {
                write!(
                    f,
                    "no ready pod has room for the clients of {pod}: add pods, or raise spec.limits.maxConnections"
                )
            }
            Self::Reconciling { key, more } => {
                write!(f, "{key}")?;
                match more {
                    0 => f.write_str(" is not yet as the spec asks"),
                    more => write!(f, " and {more} more objects are not yet as the spec asks"),
                }
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
