//! Probes of a gateway, all on its control port.

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A gateway is up within a second; a slow backplane may take it a minute.
pub(super) fn startup() -> Probe {
    Probe { period_seconds: Some(1), failure_threshold: Some(60), ..get("/livez") }
}

/// Often, since a new pod is wanted when it is made.
pub(super) fn readiness() -> Probe {
    Probe { period_seconds: Some(2), failure_threshold: Some(2), ..get("/readyz") }
}

/// Patient: a restart disconnects everybody.
pub(super) fn liveness() -> Probe {
    Probe { period_seconds: Some(10), failure_threshold: Some(6), ..get("/livez") }
}

fn get(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("control".into()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
