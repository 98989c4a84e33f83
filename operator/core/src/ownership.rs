//! Whose an object is: its controller's, by uid. A name says nothing of that, and labels can be written by anybody.

use crate::desired::Desired;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt;

/// Who has an object under a name that the cluster needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Somebody made it by hand, or by a tool that claims nothing.
    Nobody,
    /// A cluster of this name that was deleted; what was its goes after it.
    Predecessor,
    /// Its controller.
    Controller {
        /// Like `WebSocketCluster`.
        kind: String,
        /// In the same namespace.
        name: String,
    },
}

/// What is known of an object under a name that the cluster needs, where that is not the cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is another's.
    Taken(Holder),
    /// It could not be looked at.
    Unknown,
}

/// Whether the cluster controls the object.
#[must_use]
pub fn is_ours(metadata: &ObjectMeta, desired: &Desired) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == desired.owner.uid)
}

/// Who controls an object that the cluster does not.
#[must_use]
pub fn holder(metadata: &ObjectMeta, desired: &Desired) -> Holder {
    let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    match controller {
        None => Holder::Nobody,
        Some(owner) if owner.kind == desired.owner.kind && owner.name == desired.owner.name => {
            Holder::Predecessor
        }
        Some(owner) => Holder::Controller { kind: owner.kind.clone(), name: owner.name.clone() },
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("exists and is not this cluster's: delete it, or rename either"),
            Self::Predecessor => f.write_str(
                "is left of a deleted cluster of this name: it goes when Kubernetes clears up after that",
            ),
            Self::Controller { kind, name } => {
                write!(f, "belongs to {kind} {name}: rename one of the two, or delete {kind} {name}")
            }
        }
    }
}
