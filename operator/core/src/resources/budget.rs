//! PodDisruptionBudget: evictions go one pod at a time, since an evicted pod counts as unavailable until its clients are moved.

use super::{Object, gateway_metadata, label_selector, selector};
use crate::desired::Desired;
use crate::names::GATEWAY;
use crate::observed::ObjectKind;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// `minAvailable` as a number, and not `maxUnavailable`: for the latter the disruption controller reads the owner's scale
/// sub-resource, which has no `.spec.replicas` while `spec.scaling` is used, and then every eviction would be refused. A single
/// pod may be evicted: it moves its clients on SIGTERM while its replacement starts.
pub(super) fn gateway(desired: &Desired, size: u32) -> Object {
    let name = desired.name.gateway();
    let least = i32::try_from(size.saturating_sub(1)).unwrap_or(i32::MAX);
    let budget = PodDisruptionBudget {
        metadata: gateway_metadata(desired, name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(least)),
            selector: Some(label_selector(selector(desired, GATEWAY))),
            // A pod that never becomes ready must not keep its node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    Object::new(ObjectKind::PodDisruptionBudget, name, &budget)
}
