//! What a person sees.

use crate::fixtures::{around, at, cluster, defaults, desired, fresh, name, observed, report};
use gateway_core::control::{BackplaneHealth, BackplaneTrouble, Report};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_core::crd::{DrainStatus, WebSocketClusterStatus};
use operator_core::desired::{Desired, SecretKey, Stored};
use operator_core::observed::{Observed, Phase, Waiting};
use operator_core::plan::{Action, DeleteCause, is_due, plan, refuse};
use serde_json::json;

/// Two ready pods and a ready Redis.
fn healthy() -> (Desired, Observed) {
    let desired = desired(&json!({"replicas": 2}));
    let mut seen = observed(&desired, &[5, 7], at(0));
    seen.owned = around(&desired, 2);
    (desired, seen)
}

fn condition<'a>(status: &'a WebSocketClusterStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

/// Status and reason of a condition.
fn short<'a>(status: &'a WebSocketClusterStatus, type_: &str) -> (&'a str, &'a str) {
    let condition = condition(status, type_);
    (&condition.status, &condition.reason)
}

fn waiting(seen: &mut Observed, reason: &str) {
    let pod = seen.pods.get_mut(&name(0)).unwrap();
    (pod.ready, pod.phase) = (false, Phase::Pending);
    pod.waiting = Some(Waiting { reason: reason.into(), message: "no".into() });
}

#[test]
fn a_cluster_as_it_should_be() {
    let (desired, seen) = healthy();
    insta::assert_yaml_snapshot!(plan(&desired, &seen, at(0)).status);
}

#[test]
fn an_image_that_cannot_be_pulled_shows_until_it_is_mended() {
    let (desired, mut seen) = healthy();
    waiting(&mut seen, "ImagePullBackOff");
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!((status.reason.as_str(), status.ready.as_str()), ("ImagePullFailed", "1/2"));
    assert_eq!(short(&status, "Progressing"), ("False", "ImagePullFailed"));
    assert_eq!(short(&status, "Available"), ("True", "PodsReady"));
    let mended = Observed { status: Some(status), ..healthy().1 };
    assert_eq!(plan(&desired, &mended, at(9)).status.reason, "Ready");
}

#[test]
fn a_pod_whose_image_cannot_be_pulled_is_made_anew_once_the_operators_default_is_corrected() {
    let (desired, mut seen) = healthy();
    waiting(&mut seen, "ImagePullBackOff");
    let deleted = |seen: &Observed| {
        let actions = plan(&desired, seen, at(0)).actions;
        let deleted = |action: &Action| match action {
            Action::DeletePod { pod, why, .. } => Some((pod.clone(), *why)),
            _ => None,
        };
        actions.iter().filter_map(deleted).collect::<Vec<_>>()
    };
    for (pulls, expected) in [
        (None, vec![]),
        (Some(desired.pulls()), vec![]),
        (Some("gateway:wrong".to_owned()), vec![(name(0), DeleteCause::NotRunning)]),
        (Some(format!("{} other-secret", desired.pulls())), vec![(name(0), DeleteCause::NotRunning)]),
    ] {
        seen.pods.get_mut(&name(0)).unwrap().pulls = pulls;
        assert_eq!(deleted(&seen), expected);
    }
    // One that runs has what it needs.
    let (_, mut seen) = healthy();
    seen.pods.get_mut(&name(0)).unwrap().pulls = Some("gateway:wrong".to_owned());
    assert_eq!(deleted(&seen), vec![]);
}

#[test]
fn a_container_that_cannot_run_shows() {
    let (desired, mut seen) = healthy();
    waiting(&mut seen, "CreateContainerConfigError");
    assert_eq!(plan(&desired, &seen, at(0)).status.reason, "ContainerFailed");
}

#[test]
fn without_its_secrets_no_pod_is_made() {
    let desired = desired(&json!({"auth": {"jwt": {"hmacSecretRef": {"name": "jwt", "key": "secret"}}}}));
    let created = |seen: &Observed| {
        plan(&desired, seen, at(0))
            .actions
            .iter()
            .filter(|action| matches!(action, Action::CreatePod(_)))
            .count()
    };
    let mut seen = Observed::default();
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!((created(&seen), status.reason.as_str()), (0, "SecretMissing"));
    assert_eq!(short(&status, "Available"), ("False", "SecretMissing"));
    assert!(condition(&status, "Available").message.starts_with("Secret jwt with key secret does not exist"));
    seen.secrets.insert(SecretKey { name: "jwt".into(), key: "secret".into() });
    assert_eq!(created(&seen), 1);
}

#[test]
fn a_backplane_out_of_reach_shows_with_the_error() {
    let (desired, mut seen) = healthy();
    let backplane = BackplaneHealth::Unhealthy {
        message: "connection refused".into(),
        trouble: BackplaneTrouble::Unreachable,
        seconds: 3,
    };
    seen.pods.get_mut(&name(1)).unwrap().report = fresh(Report { backplane, ..report(7) }, at(0));
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(status.reason, "BackplaneUnreachable");
    assert_eq!(short(&status, "BackplaneReady"), ("False", "BackplaneUnreachable"));
    assert!(condition(&status, "BackplaneReady").message.ends_with("connection refused"));
}

#[test]
fn each_kind_of_trouble_with_the_backplane_has_a_reason_of_its_own() {
    let (desired, mut seen) = healthy();
    for (reported, reason) in [
        ("unknownAuthority", "BackplaneUnknownAuthority"),
        ("wrongName", "BackplaneWrongName"),
        ("certificateExpired", "BackplaneCertificateExpired"),
        ("clientCertificateRefused", "BackplaneClientCertificateRefused"),
        ("accessDenied", "BackplaneAccessDenied"),
        ("unreachable", "BackplaneUnreachable"),
        ("of a newer gateway", "BackplaneUnreachable"),
    ] {
        let backplane = json!({"state": "unhealthy", "message": "why", "trouble": reported, "seconds": 3});
        let backplane = serde_json::from_value(backplane).unwrap();
        seen.pods.get_mut(&name(1)).unwrap().report = fresh(Report { backplane, ..report(7) }, at(0));
        let status = plan(&desired, &seen, at(0)).status;
        assert_eq!(status.reason, reason);
        assert_eq!(short(&status, "BackplaneReady"), ("False", reason));
    }
}

#[test]
fn a_managed_redis_that_is_not_ready_shows() {
    let (desired, mut seen) = healthy();
    seen.owned.clear();
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(short(&status, "BackplaneReady"), ("False", "BackplaneNotReady"));
    let hint = "StatefulSet chat-redis has no ready pod: kubectl describe pod chat-redis-0 says why";
    assert_eq!(condition(&status, "BackplaneReady").message, hint);
    // Gateways only see that its name does not resolve, say.
    let backplane = BackplaneHealth::Unhealthy {
        message: "no address".into(),
        trouble: BackplaneTrouble::Unreachable,
        seconds: 3,
    };
    seen.pods.get_mut(&name(1)).unwrap().report = fresh(Report { backplane, ..report(7) }, at(0));
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(short(&status, "BackplaneReady"), ("False", "BackplaneUnreachable"));
    let message = format!("1 gateways can't reach the backplane: no address; {hint}");
    assert_eq!(condition(&status, "BackplaneReady").message, message);
}

#[test]
fn a_gateway_that_has_just_started_is_waited_for_before_its_backplane_is_called_out_of_reach() {
    let (desired, mut seen) = healthy();
    let backplane = BackplaneHealth::Unhealthy {
        message: "not connected yet".into(),
        trouble: BackplaneTrouble::Unreachable,
        seconds: 0,
    };
    let pod = seen.pods.get_mut(&name(1)).unwrap();
    (pod.created, pod.ready, pod.ready_since) = (at(0), false, at(0));
    let mut reason = |now| {
        let report = Report { backplane: backplane.clone(), ..report(0) };
        seen.pods.get_mut(&name(1)).unwrap().report = fresh(report, at(now));
        plan(&desired, &seen, at(now)).status.reason
    };
    assert_eq!(reason(14), "WaitingForPods");
    assert_eq!(reason(15), "BackplaneUnreachable");
}

#[test]
fn a_rollout_without_progress_shows_after_its_deadline() {
    let (desired, mut seen) = healthy();
    let pod = seen.pods.get_mut(&name(0)).unwrap();
    (pod.ready, pod.created, pod.ready_since) = (false, at(0), at(0));
    assert_eq!(short(&plan(&desired, &seen, at(599)).status, "Progressing"), ("True", "WaitingForPods"));
    let status = plan(&desired, &seen, at(600)).status;
    assert_eq!(short(&status, "Progressing"), ("False", "ProgressDeadlineExceeded"));
}

#[test]
fn pods_of_a_node_that_was_paused_are_waited_for_as_new_ones_are_and_forgiven_once_they_are_back() {
    let (desired, mut seen) = healthy();
    for pod in seen.pods.values_mut() {
        (pod.ready, pod.ready_since) = (false, at(0));
    }
    let said = |seen: &Observed, now| {
        let status = plan(&desired, seen, at(now)).status;
        let (progressing, reason) = short(&status, "Progressing");
        (progressing.to_owned(), reason.to_owned(), status.reason)
    };
    let all =
        |progressing: &str, reason: &str, column: &str| (progressing.into(), reason.into(), column.into());
    for now in [0, 599] {
        assert_eq!(said(&seen, now), all("True", "WaitingForPods", "WaitingForPods"), "after {now} s");
    }
    let exceeded = "ProgressDeadlineExceeded";
    assert_eq!(said(&seen, 600), all("False", exceeded, exceeded));
    seen.status = Some(plan(&desired, &seen, at(600)).status);
    for pod in seen.pods.values_mut() {
        (pod.ready, pod.ready_since) = (true, at(601));
    }
    assert_eq!(said(&seen, 602), all("True", "Complete", "Ready"));
    // One that has been there for long, and is not ready for a moment.
    let pod = seen.pods.get_mut(&name(0)).unwrap();
    (pod.ready, pod.ready_since) = (false, at(5000));
    assert_eq!(said(&seen, 5001), all("True", "WaitingForPods", "WaitingForPods"));
}

#[test]
fn a_transition_time_changes_with_the_status_of_its_condition_alone() {
    let (desired, mut seen) = healthy();
    let first = plan(&desired, &seen, at(0)).status;
    seen.status = Some(first.clone());
    assert_eq!(plan(&desired, &seen, at(10)).status, first);
    for pod in seen.pods.values_mut() {
        pod.ready = false;
    }
    let second = plan(&desired, &seen, at(20)).status;
    let time = |status: &WebSocketClusterStatus, type_| condition(status, type_).last_transition_time.0;
    assert_eq!(time(&second, "Available"), at(20));
    assert_eq!(time(&second, "BackplaneReady"), at(0));
}

#[test]
fn a_spec_that_cannot_work_leaves_the_rest_of_the_status_alone() {
    let mut cluster = cluster(&json!({"backplane": {}}));
    let (desired, seen) = healthy();
    let before = plan(&desired, &seen, at(0)).status;
    cluster.status = Some(before.clone());
    cluster.metadata.generation = Some(2);
    let invalid = Desired::parse(&cluster, &defaults()).unwrap_err();
    let planned = refuse(&Stored(Ok(cluster.clone())), &invalid, at(5));
    assert_eq!(planned.actions, []);
    assert_eq!((planned.status.reason.as_str(), planned.status.observed_generation), ("InvalidSpec", 2));
    assert_eq!(short(&planned.status, "Progressing"), ("False", "InvalidBackplane"));
    assert_eq!(short(&planned.status, "Ready"), ("False", "InvalidBackplane"));
    assert_eq!(condition(&planned.status, "Available"), condition(&before, "Available"));
    cluster.status = Some(planned.status.clone());
    assert_eq!(refuse(&Stored(Ok(cluster)), &invalid, at(9)).status, planned.status);
}

#[test]
fn at_its_largest_size_a_cluster_whose_connections_change_is_written_every_ten_seconds_alone() {
    let desired = desired(&json!({"scaling": {"minReplicas": 2, "maxReplicas": 2, "connectionsPerPod": 10}}));
    let status = |connections: u32| {
        let mut seen = observed(&desired, &[connections, 90], at(0));
        seen.owned = around(&desired, 2);
        plan(&desired, &seen, at(0)).status
    };
    let (last, more) = (status(100), status(500));
    assert_eq!(short(&last, "ScalingLimited"), ("True", "TooManyConnections"));
    assert_ne!(condition(&last, "ScalingLimited").message, condition(&more, "ScalingLimited").message);
    assert_eq!([1, 9, 10].map(|now| is_due(Some(&last), Some(at(0)), &more, at(now))), [false, false, true]);
    // In other words it is news.
    let mut other = last.clone();
    other.conditions[0].message = "the cluster rests".into();
    assert!(is_due(Some(&last), Some(at(0)), &other, at(1)));
}

#[test]
fn a_change_of_the_counts_alone_is_written_every_ten_seconds_and_any_other_at_once() {
    let (desired, seen) = healthy();
    let last = WebSocketClusterStatus {
        drain: Some(DrainStatus { to_move: 90, moved: 10, per_second: 50, eta_seconds: Some(2) }),
        ..plan(&desired, &seen, at(0)).status
    };
    let counts = WebSocketClusterStatus {
        connections: last.connections + 1,
        drain: Some(DrainStatus { to_move: 40, moved: 60, per_second: 50, eta_seconds: Some(1) }),
        ..last.clone()
    };
    let others = [
        WebSocketClusterStatus { ready_replicas: 9, ..counts.clone() },
        WebSocketClusterStatus { drain: None, ..last.clone() },
        WebSocketClusterStatus {
            drain: Some(DrainStatus { per_second: 0, ..DrainStatus::default() }),
            ..last.clone()
        },
    ];
    let due = |status: &WebSocketClusterStatus, written: Option<i64>, now| {
        is_due(Some(&last), written.map(at), status, at(now))
    };
    assert_eq!([9, 10].map(|now| due(&counts, Some(0), now)), [false, true]);
    assert!(due(&counts, None, 0), "nothing was written before");
    assert!(others.iter().all(|other| due(other, Some(0), 0)));
    assert!(!due(&last, None, 100) && is_due(None, None, &last, at(0)));
}
