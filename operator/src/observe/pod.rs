//! A Pod as the API server gives it, reduced to what a plan reads.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodCondition,
};
use kube::ResourceExt;
use operator_core::names::{
    DRAIN_DEADLINE, DRAIN_REASON, DRAIN_SINCE, DRAINING, GATEWAY_CONTAINER, PULLS, REVISION, Revision,
    SERVING, TRAFFIC,
};
use operator_core::observed::{DrainCause, Phase, PodView, Report, Traffic, Troubles, Waiting};
use std::collections::BTreeMap;

/// Reasons for which a container waits that pass without anyone's help.
const PASSING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The pod, unless it lacks what every stored object has.
pub fn view(pod: &Pod, report: Report) -> Option<PodView> {
    let meta = &pod.metadata;
    let created = meta.creation_timestamp.as_ref()?.0;
    let ready = condition(pod, "Ready");
    Some(PodView {
        uid: meta.uid.clone()?,
        resource_version: meta.resource_version.clone()?,
        phase: phase(pod),
        ready: ready.is_some_and(|ready| ready.status == "True"),
        ready_since: ready.and_then(|ready| Some(ready.last_transition_time.as_ref()?.0)).unwrap_or(created),
        traffic: traffic(pod, created),
        revision: Revision(revision(pod).unwrap_or_default()),
        pulls: pod.annotations().get(PULLS).cloned(),
        created,
        deletion: meta.deletion_timestamp.as_ref().map(|at| at.0),
        waiting: containers(pod).find_map(|(name, waiting)| (name == GATEWAY_CONTAINER).then_some(waiting)),
        troubles: Troubles {
            beside: containers(pod).find(|(name, _)| name != GATEWAY_CONTAINER),
            unschedulable: unschedulable(pod),
            ended: ended(pod),
            lost_labels: lost_labels(pod),
        },
        report,
    })
}

/// As labelled, or as its name has it: `<cluster>-<revision>-<suffix>`.
fn revision(pod: &Pod) -> Option<String> {
    let named = || pod.metadata.name.as_deref()?.rsplit('-').nth(1).map(ToOwned::to_owned);
    pod.labels().get(REVISION).cloned().or_else(named)
}

/// With what it takes to put them back. Without its revision a pod would count as an old one, and without its traffic it would
/// count as serving while the client Service passes it by.
fn lost_labels(pod: &Pod) -> BTreeMap<String, String> {
    let drains = pod.annotations().contains_key(DRAIN_SINCE);
    let traffic = if drains { DRAINING } else { SERVING };
    let made_with = [(REVISION, revision(pod)), (TRAFFIC, Some(traffic.to_owned()))];
    let lost = made_with.into_iter().filter(|(label, _)| !pod.labels().contains_key(*label));
    lost.filter_map(|(label, value)| Some((label.to_owned(), value?))).collect()
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let waits = condition(pod, "PodScheduled").filter(|condition| {
        condition.status == "False"
            && matches!(condition.reason.as_deref(), Some("Unschedulable" | "SchedulingGated"))
    })?;
    waits.message.clone().or_else(|| waits.reason.clone())
}

/// The kubelet's words, or those with which the gateway's container ended.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref().filter(|_| phase(pod) == Phase::Ended)?;
    let gateway = status.container_statuses.iter().flatten().find(|one| one.name == GATEWAY_CONTAINER);
    let container = gateway.and_then(|one| one.state.as_ref()?.terminated.as_ref()).map(last_words);
    let words = [status.reason.clone(), status.message.clone(), container];
    let words: Vec<_> = words.into_iter().flatten().filter(|words| !words.is_empty()).collect();
    Some(if words.is_empty() { "nobody says why".into() } else { words.join(": ") })
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

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// What the label says, and without it the annotations; one that cannot be read counts as the pod's beginning, so that its drain
/// ends some day.
fn traffic(pod: &Pod, created: Timestamp) -> Traffic {
    let annotation = |name| pod.annotations().get(name).map(String::as_str);
    let drains = pod
        .labels()
        .get(TRAFFIC)
        .map_or_else(|| annotation(DRAIN_SINCE).is_some(), |traffic| traffic == DRAINING);
    if !drains {
        return Traffic::Serving;
    }
    Traffic::Draining {
        cause: DrainCause::from_annotation(annotation(DRAIN_REASON).unwrap_or_default()),
        since: annotation(DRAIN_SINCE).and_then(|since| since.parse().ok()).unwrap_or(created),
        deadline: annotation(DRAIN_DEADLINE).and_then(|deadline| deadline.parse().ok()),
    }
}

/// Containers that wait for help, by name; those that start before the others come last.
fn containers(pod: &Pod) -> impl Iterator<Item = (String, Waiting)> {
    let status = pod.status.iter();
    let all = status.clone().flat_map(|status| status.container_statuses.iter().flatten());
    let all = all.chain(status.flat_map(|status| status.init_container_statuses.iter().flatten()));
    all.filter_map(|container| {
        waits_for_help(container).map(|state| (container.name.clone(), told(state, container)))
    })
}

fn waits_for_help(container: &ContainerStatus) -> Option<&ContainerStateWaiting> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    waiting.reason.as_deref().is_some_and(|reason| !PASSING.contains(&reason)).then_some(waiting)
}

/// The kubelet's words, and for a container that keeps ending, its last ones.
fn told(state: &ContainerStateWaiting, container: &ContainerStatus) -> Waiting {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = last.map(|ended| format!("; it {}", last_words(ended))).unwrap_or_default();
    Waiting {
        reason: state.reason.clone().unwrap_or_default(),
        message: format!("{}{last}", state.message.as_deref().unwrap_or_default()),
    }
}

fn last_words(ended: &ContainerStateTerminated) -> String {
    let words = ended.message.clone().or_else(|| ended.reason.clone()).unwrap_or_default();
    format!("ended with code {}: {}", ended.exit_code, words.trim())
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
        let status = json!({"phase": "Running", "podIP": "10.0.0.7", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]});
        let pod = pod(labels, json!({"mooring.dev/pulls": "gateway:1 secret"}), status);
        let expected = PodView {
            uid: "u".into(),
            resource_version: "7".into(),
            phase: Phase::Running,
            ready: true,
            ready_since: "2026-01-01T00:00:05Z".parse().unwrap(),
            traffic: Traffic::Serving,
            revision: Revision("abc".into()),
            pulls: Some("gateway:1 secret".into()),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            deletion: None,
            waiting: None,
            troubles: Troubles::default(),
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

    /// The troubles of a pod with these containers, besides what its gateway waits for.
    fn seen(containers: Value, init: Value) -> (Option<String>, Option<String>) {
        let labels = json!({"mooring.dev/revision": "abc", "mooring.dev/traffic": "serving"});
        let status =
            json!({"phase": "Running", "containerStatuses": containers, "initContainerStatuses": init});
        let view = view(&pod(labels, json!({}), status), Report::Never).unwrap();
        (view.waiting.map(|waiting| waiting.reason), view.troubles.beside.map(|(name, _)| name))
    }

    #[test]
    fn a_container_beside_the_gateway_that_cannot_run_is_told_apart_from_the_gateway() {
        let runs = |name: &str| {
            json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}})
        };
        let crashes = |name: &str| {
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 7,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}})
        };
        let starts = |name: &str| {
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "PodInitializing"}}})
        };
        let crash = || Some("CrashLoopBackOff".to_owned());
        assert_eq!(
            seen(json!([crashes("a-proxy"), runs("gateway")]), json!([])),
            (None, Some("a-proxy".into()))
        );
        assert_eq!(seen(json!([starts("gateway")]), json!([crashes("setup")])), (None, Some("setup".into())));
        assert_eq!(seen(json!([runs("a-proxy"), crashes("gateway")]), json!([])), (crash(), None));
        assert_eq!(seen(json!([runs("a-proxy"), runs("gateway")]), json!([])), (None, None));
    }

    #[test]
    fn a_pod_that_no_node_takes_has_the_schedulers_words() {
        let scheduled = |status: &str, reason: &str| {
            let condition =
                json!({"type": "PodScheduled", "status": status, "reason": reason, "message": "0/3 nodes"});
            let pod = pod(json!({}), json!({}), json!({"phase": "Pending", "conditions": [condition]}));
            view(&pod, Report::Never).unwrap().troubles.unschedulable
        };
        assert_eq!(scheduled("False", "Unschedulable"), Some("0/3 nodes".into()));
        assert_eq!(scheduled("False", "SchedulingGated"), Some("0/3 nodes".into()));
        assert_eq!(scheduled("False", "SchedulerError"), None);
        assert_eq!(scheduled("True", ""), None);
    }

    #[test]
    fn a_pod_that_has_ended_says_why() {
        let why =
            |status: Value| view(&pod(json!({}), json!({}), status), Report::Never).unwrap().troubles.ended;
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(why(evicted), Some("Evicted: The node was low on resource: memory.".into()));
        let gateway = json!({"name": "gateway", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 2, "message": "bad flag\n"}}});
        assert_eq!(
            why(json!({"phase": "Failed", "containerStatuses": [gateway]})),
            Some("ended with code 2: bad flag".into())
        );
        assert_eq!(why(json!({"phase": "Succeeded"})), Some("nobody says why".into()));
        assert_eq!(why(json!({"phase": "Running"})), None);
    }

    #[test]
    fn a_label_that_was_taken_away_is_known_from_what_is_left() {
        let mut stripped = pod(json!({}), json!({}), json!({"phase": "Running"}));
        stripped.metadata.name = Some("my-chat-0123456789-abcde".into());
        let lost = |pod: &Pod| {
            let view = view(pod, Report::Never).unwrap();
            (view.revision.0, view.troubles.lost_labels, view.traffic == Traffic::Serving)
        };
        let labels = |traffic: &str| {
            let labels = [("mooring.dev/revision", "0123456789"), ("mooring.dev/traffic", traffic)];
            labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into()
        };
        assert_eq!(lost(&stripped), ("0123456789".into(), labels("serving"), true));
        stripped.annotations_mut().insert(DRAIN_SINCE.into(), "2026-01-01T00:01:00Z".into());
        assert_eq!(lost(&stripped), ("0123456789".into(), labels("draining"), false));
        stripped.labels_mut().extend(labels("serving"));
        assert_eq!(lost(&stripped), ("0123456789".into(), BTreeMap::new(), true));
    }
}
