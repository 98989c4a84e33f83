//! What it means that the API server refused a write.

/// Why the API server refused a write, where that stays so until somebody changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCause {
    /// A ResourceQuota is used up, or asks for what the object does not say.
    Quota,
    /// The namespace's Pod Security Standard.
    PodSecurity,
    /// An admission webhook, or a ValidatingAdmissionPolicy, said no.
    Admission,
    /// An admission webhook could not be asked.
    WebhookUnreachable,
    /// The operator has no right to it.
    Right,
    /// Admission took away what the operator finds its pods by.
    Relabelled,
    /// Anything else: the API server's words say it.
    Other,
}

/// A write that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: RefusalCause,
    /// What was not done, and the API server's words.
    pub message: String,
}

impl RefusalCause {
    /// From the status code and the words of the API server's answer; nothing where trying again is enough.
    #[must_use]
    pub fn of(code: u16, message: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        match code {
            403 if says(&["exceeded quota", "failed quota", "insufficient quota", "unknown for quota"]) => {
                Some(Self::Quota)
            }
            403 if says(&["violates PodSecurity"]) => Some(Self::PodSecurity),
            403 if says(&["forbidden: User \"", "cannot set blockOwnerDeletion"]) => Some(Self::Right),
            400..=499 if says(&["admission webhook \"", "ValidatingAdmissionPolicy"]) => {
                Some(Self::Admission)
            }
            500..=599 if says(&["failed calling webhook"]) => Some(Self::WebhookUnreachable),
            404 | 408 | 409 | 429 => None,
            400..=499 => Some(Self::Other),
            _ => None,
        }
    }

    /// For condition reasons and events.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Quota => "QuotaExceeded",
            Self::PodSecurity => "PodSecurityViolated",
            Self::Admission => "AdmissionDenied",
            Self::WebhookUnreachable => "WebhookUnreachable",
            Self::Right => "RightMissing",
            Self::Relabelled => "LabelsRewritten",
            Self::Other => "WriteRefused",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Quota => "raise the ResourceQuota, or ask for less",
            Self::PodSecurity => {
                "correct spec.podTemplate, or the namespace's pod-security.kubernetes.io labels"
            }
            Self::Admission => "correct what it names, or exempt the operator's objects",
            Self::WebhookUnreachable => "see to the webhook's Service",
            Self::Right => "give the operator the right, as its chart does",
            Self::Relabelled => {
                "exempt labels mooring.dev/* and app.kubernetes.io/* from the webhook that changes them"
            }
            Self::Other => "correct what it names",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RefusalCause::{self, *};

    #[test]
    fn each_refusal_is_told_apart_by_the_api_servers_words() {
        let words = [
            (
                403,
                r#"pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#,
                Some(Quota),
            ),
            (
                403,
                r#"pods "a" is forbidden: failed quota: q: must specify limits.cpu for: gateway"#,
                Some(Quota),
            ),
            (
                403,
                r#"pods "a" is forbidden: violates PodSecurity "restricted:latest": hostPort"#,
                Some(PodSecurity),
            ),
            (
                403,
                r#"services is forbidden: User "u" cannot create resource "services" in API group "" in the namespace "n""#,
                Some(Right),
            ),
            (
                403,
                r#"services "a" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to"#,
                Some(Right),
            ),
            (403, r#"admission webhook "w.example" denied the request: no team label"#, Some(Admission)),
            (400, r#"admission webhook "w.example" denied the request without explanation"#, Some(Admission)),
            (
                422,
                r#"pods "a" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#,
                Some(Admission),
            ),
            (
                500,
                r#"Internal error occurred: failed calling webhook "w.example": Post "https://w": no endpoints"#,
                Some(WebhookUnreachable),
            ),
            (
                422,
                r#"Service "a" is invalid: spec.ports[0].nodePort: provided port is already allocated"#,
                Some(Other),
            ),
            (403, r#"pods "a" is forbidden: no PriorityClass with name x was found"#, Some(Other)),
            (409, r#"Operation cannot be fulfilled on pods "a": exceeded quota"#, None),
            (429, "too many requests", None),
            (503, "the server is currently unable to handle the request", None),
        ];
        for (code, message, cause) in words {
            assert_eq!(RefusalCause::of(code, message), cause, "{message}");
        }
    }
}
