//! What goes wrong in the shell, and what is done about it.

use std::time::Duration;

use kube::core::Status;
use operator_core::refusal::{Refusal, RefusalCause};

use crate::gateways::GatewayError;

/// The cause of refusals in a namespace that is being deleted: core/v1, NamespaceTerminatingCause.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// How an error is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Goes away by itself: tried again, ever more slowly.
    Transient,
    /// Stays until someone changes something: tried again, ever more slowly.
    Permanent,
    /// The world was newer than our view of it: tried again at once, with the new view.
    Conflict,
}

impl Class {
    /// The class as a metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Conflict => "conflict",
        }
    }

    /// When to try again after `failures` in a row, the present one included.
    #[must_use]
    pub fn retry_after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(6);
        match self {
            Self::Transient => Duration::from_secs(1 << doublings),
            Self::Permanent => Duration::from_secs(2 << doublings.min(5)),
            Self::Conflict => Duration::from_millis(50 << doublings),
        }
    }
}

/// Why a pass over a cluster did not complete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("cannot {doing}: {}", words(source))]
    Kube {
        /// The operation, like `apply Service default/chat`.
        doing: String,
        /// What the API server or the transport said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("cannot {doing}: no answer from the API server in {}s", limit.as_secs())]
    Timeout {
        /// The operation.
        doing: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A gateway refused or did not answer.
    #[error("cannot {doing}: {source}")]
    Gateway {
        /// The operation, like `start the drain of pod default/chat-1`.
        doing: String,
        /// What the gateway or the transport said.
        #[source]
        source: GatewayError,
    },
    /// A gateway cannot be asked at all.
    #[error("cannot {doing}: the pod has no address yet, or the control token is missing")]
    NoGateway {
        /// The operation.
        doing: String,
    },
    /// The object is not, or no longer, the cluster's.
    #[error("cannot {doing}: it is not this cluster's")]
    NotOurs {
        /// The operation.
        doing: String,
    },
    /// Admission took the labels from a pod by which it would have been found.
    #[error("cannot {doing}: admission takes label {label} away")]
    Relabelled {
        /// The operation.
        doing: String,
        /// The label.
        label: String,
    },
    /// Another operator may be about to act; this one must not.
    #[error("this operator no longer leads")]
    NotLeading,
}

impl Error {
    /// How to treat it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Kube { source, .. } => kube_class(source),
            Self::NotOurs { .. } => Class::Conflict,
            Self::Relabelled { .. } => Class::Permanent,
            Self::Timeout { .. } | Self::Gateway { .. } | Self::NoGateway { .. } | Self::NotLeading => {
                Class::Transient
            }
        }
    }

    /// What the API server refused for good, or until somebody changes something, and why.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let cause = match self {
            Self::Kube { source, .. } => match &**source {
                kube::Error::Api(status) if self.class() != Class::Conflict => {
                    RefusalCause::of(status.code, &status.message)
                }
                _ => None,
            },
            Self::Relabelled { .. } => Some(RefusalCause::Relabelled),
            _ => None,
        };
        cause.map(|cause| Refusal { cause, message: self.to_string() })
    }

    /// Whether it is the API server's answer with this HTTP status.
    #[must_use]
    pub fn is_answer(&self, code: u16) -> bool {
        matches!(self, Self::Kube { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == code))
    }

    /// Whether the API server takes nothing new because the namespace is being deleted, which nobody can take back.
    #[must_use]
    pub fn is_namespace_terminating(&self) -> bool {
        let Self::Kube { source, .. } = self else { return false };
        let kube::Error::Api(status) = &**source else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == NAMESPACE_TERMINATING)
    }

    /// The variant as a metric label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Kube { .. } => "kube",
            Self::Timeout { .. } => "timeout",
            Self::Gateway { .. } => "gateway",
            Self::NoGateway { .. } => "no_gateway",
            Self::NotOurs { .. } => "not_ours",
            Self::Relabelled { .. } => "relabelled",
            Self::NotLeading => "not_leading",
        }
    }
}

/// The API server's own message; what kube adds is the same again, in the words of its types.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        _ => error.to_string(),
    }
}

/// 409 and a 404 mean that our view is old; other 4xx but 408 and 429 stay until someone changes something.
fn kube_class(error: &kube::Error) -> Class {
    match error {
        // Another object has the name by now.
        kube::Error::Api(status) if is_about_uid(status) => Class::Conflict,
        kube::Error::Api(status) => match status.code {
            404 | 409 => Class::Conflict,
            408 | 429 => Class::Transient,
            400..=499 => Class::Permanent,
            _ => Class::Transient,
        },
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => Class::Permanent,
        _ => Class::Transient,
    }
}

/// A uid that was given as a condition, and is another's: an immutable field, to the API server.
fn is_about_uid(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.field == "metadata.uid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16) -> Error {
        let status = Status { code, ..Status::default() };
        Error::Kube { doing: "apply".into(), source: Box::new(kube::Error::Api(Box::new(status))) }
    }

    #[test]
    fn a_refusal_is_told_in_the_api_server_s_words() {
        let message = "pods \"chat-1\" is forbidden: exceeded quota".to_owned();
        let status = Status { code: 403, reason: "Forbidden".into(), message, ..Status::default() };
        let source = Box::new(kube::Error::Api(Box::new(status)));
        let told = Error::Kube { doing: "create Pod default/chat-1".into(), source }.to_string();
        assert_eq!(told, "cannot create Pod default/chat-1: pods \"chat-1\" is forbidden: exceeded quota");
    }

    #[test]
    fn a_stale_view_is_a_conflict_and_tried_again_at_once() {
        assert_eq!([404, 409].map(|code| answered(code).class()), [Class::Conflict; 2]);
        assert_eq!(Class::Conflict.retry_after(1), Duration::from_millis(50));
    }

    #[test]
    fn an_overloaded_api_server_is_transient() {
        assert_eq!([408, 429, 500, 503].map(|code| answered(code).class()), [Class::Transient; 4]);
    }

    #[test]
    fn a_refusal_stays_until_someone_changes_something() {
        assert_eq!([400, 403, 422].map(|code| answered(code).class()), [Class::Permanent; 3]);
    }

    #[test]
    fn transient_errors_and_refusals_back_off_up_to_a_bound() {
        let waits = |class: Class| [1, 2, 3, 7, u32::MAX].map(|n| class.retry_after(n).as_secs());
        assert_eq!(waits(Class::Transient), [1, 2, 4, 64, 64]);
        assert_eq!(waits(Class::Permanent), [2, 4, 8, 64, 64]);
    }
}
