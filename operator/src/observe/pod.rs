//! A Pod as the API server gives it, reduced to what a plan reads.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus, Pod};
use kube::ResourceExt;
use operator_core::names::{
    DRAIN_DEADLINE, DRAIN_REASON, DRAIN_SINCE, DRAINING, PULLS, REVISION, Revision, TRAFFIC,
};
use operator_core::observed::{DrainCause, Phase, PodView, Report, Traffic, Waiting};

/// Reasons for which a container waits that pass without anyone's help.
const PASSING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The pod, unless it lacks what every stored object has.
pub fn view(pod: &Pod, report: Report) -> Option<PodView> {
    let meta = &pod.metadata;
    let created = meta.creation_timestamp.as_ref()?.0;
    Some(PodView {
        uid: meta.uid.clone()?,
        resource_version: meta.resource_version.clone()?,
        phase: phase(pod),
        ready: is_ready(pod),
        traffic: traffic(pod, created),
        revision: Revision(pod.labels().get(REVISION).cloned().unwrap_or_default()),
        pulls: pod.annotations().get(PULLS).cloned(),
        created,
        deletion: meta.deletion_timestamp.as_ref().map(|at| at.0),
        waiting: waiting(pod),
        report,
    })
}

/// Where its gateway can be reached, once it runs.
pub fn address(pod: &Pod) -> Option<IpAddr> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?;
    (phase(pod) == Phase::Running).then(|| ip.parse().ok()).flatten()
}

fn phase(pod: &Pod) -> Phase {
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        None | Some("Pending") => Phase::Pending,
        Some("Running") => Phase::Running,
        Some("Succeeded" | "Failed") => Phase::Ended,
        Some(_) => Phase::Unknown,
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What the label says; an annotation that cannot be read counts as the pod's beginning, so that its drain ends some day.
fn traffic(pod: &Pod, created: Timestamp) -> Traffic {
    if pod.labels().get(TRAFFIC).map(String::as_str) != Some(DRAINING) {
        return Traffic::Serving;
    }
    let annotation = |name| pod.annotations().get(name).map(String::as_str);
    Traffic::Draining {
        cause: DrainCause::from_annotation(annotation(DRAIN_REASON).unwrap_or_default()),
        since: annotation(DRAIN_SINCE).and_then(|since| since.parse().ok()).unwrap_or(created),
        deadline: annotation(DRAIN_DEADLINE).and_then(|deadline| deadline.parse().ok()),
    }
}

fn waiting(pod: &Pod) -> Option<Waiting> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| waits_for_help(container).map(|state| told(state, container)))
}

fn waits_for_help(container: &ContainerStatus) -> Option<&ContainerStateWaiting> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    waiting.reason.as_deref().is_some_and(|reason| !PASSING.contains(&reason)).then_some(waiting)
}

/// The kubelet's words, and for a container that keeps ending, its last ones.
fn told(state: &ContainerStateWaiting, container: &ContainerStatus) -> Waiting {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = last.map(|ended| {
        let words = ended.message.clone().or_else(|| ended.reason.clone()).unwrap_or_default();
        format!("; it ended with code {}: {}", ended.exit_code, words.trim())
    });
    Waiting {
        reason: state.reason.clone().unwrap_or_default(),
        message: format!("{}{}", state.message.as_deref().unwrap_or_default(), last.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(labels: Value, annotations: Value, status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "chat-1", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": labels, "annotations": annotations,
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_that_serves_is_seen_as_it_is() {
        let labels = json!({"mooring.dev/revision": "abc", "mooring.dev/traffic": "serving"});
        let status = json!({"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]});
        let pod = pod(labels, json!({"mooring.dev/pulls": "gateway:1 secret"}), status);
        let expected = PodView {
            uid: "u".into(),
            resource_version: "7".into(),
            phase: Phase::Running,
            ready: true,
            traffic: Traffic::Serving,
            revision: Revision("abc".into()),
            pulls: Some("gateway:1 secret".into()),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            deletion: None,
            waiting: None,
            report: Report::Never,
        };
        assert_eq!(view(&pod, Report::Never), Some(expected));
        assert_eq!(address(&pod), Some("10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn a_drain_is_read_back_from_its_annotations() {
        let annotations = json!({
            "mooring.dev/drain-reason": "Rollout",
            "mooring.dev/drain-since": "2026-01-01T00:01:00Z",
            "mooring.dev/drain-deadline": "2026-01-01T00:16:00Z",
        });
        let pod = pod(json!({"mooring.dev/traffic": "draining"}), annotations, json!({}));
        let expected = Traffic::Draining {
            cause: DrainCause::Rollout,
            since: "2026-01-01T00:01:00Z".parse().unwrap(),
            deadline: Some("2026-01-01T00:16:00Z".parse().unwrap()),
        };
        assert_eq!(view(&pod, Report::Never).map(|view| view.traffic), Some(expected));
    }

    #[test]
    fn a_drain_without_a_readable_beginning_began_with_the_pod() {
        let annotations = json!({"mooring.dev/drain-since": "yesterday"});
        let pod = pod(json!({"mooring.dev/traffic": "draining"}), annotations, json!({}));
        let since = "2026-01-01T00:00:00Z".parse().unwrap();
        let expected = Traffic::Draining { cause: DrainCause::ScaleDown, since, deadline: None };
        assert_eq!(view(&pod, Report::Never).map(|view| view.traffic), Some(expected));
    }

    #[test]
    fn a_container_that_needs_help_says_why_and_one_that_starts_does_not() {
        let waits = |reason: &str| {
            let container = json!({
                "name": "gateway", "image": "", "imageID": "", "ready": false, "restartCount": 1,
                "state": {"waiting": {"reason": reason, "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 2, "message": "bad flag\n"}},
            });
            view(&pod(json!({}), json!({}), json!({"containerStatuses": [container]})), Report::Never)
                .and_then(|view| view.waiting)
        };
        assert_eq!(waits("ContainerCreating"), None);
        let message = "back-off; it ended with code 2: bad flag".to_owned();
        assert_eq!(waits("CrashLoopBackOff"), Some(Waiting { reason: "CrashLoopBackOff".into(), message }));
    }
}
