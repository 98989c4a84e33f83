//! What is in the way of pods and objects: each kind told apart, nothing of others touched, and over when its cause is gone.

use crate::fixtures::{around, at, desired, name, observed, serving};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference};
use operator_core::crd::WebSocketClusterStatus;
use operator_core::desired::Desired;
use operator_core::drift::differences;
use operator_core::names::{PodName, Revision};
use operator_core::observed::{
    DrainCause, ObjectKey, ObjectKind, Observed, Phase, PodView, Rewritten, Traffic, Waiting,
};
use operator_core::ownership::{Holder, Standing, holder, is_ours};
use operator_core::plan::{Action, Plan, plan};
use operator_core::refusal::{Refusal, RefusalCause};
use operator_core::resources::{self, generated_secrets};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Every object that a cluster needs, by the names it needs them under.
fn needed(desired: &Desired) -> Vec<ObjectKey> {
    let secrets = generated_secrets(desired).into_iter().map(|which| which.name(desired));
    let secrets = secrets.map(|name| ObjectKey { kind: ObjectKind::Secret, name });
    resources::keys(desired).into_iter().chain(secrets).collect()
}

/// Two ready pods and everything around them, as applied.
fn complete() -> (Desired, Observed) {
    let desired = desired(&json!({"replicas": 2}));
    let mut seen = observed(&desired, &[5, 7], at(0));
    seen.owned = around(&desired, 2);
    (desired, seen)
}

fn taken(seen: &mut Observed, key: &ObjectKey, holder: Holder) {
    seen.owned.remove(key);
    seen.others.insert(key.clone(), Standing::Taken(holder));
}

/// The objects that a plan writes.
fn written(desired: &Desired, planned: &Plan) -> BTreeSet<ObjectKey> {
    let key = |action: &Action| match action {
        Action::Apply { key, .. } | Action::Remove { key } => Some(key.clone()),
        Action::CreateSecret(which) => {
            Some(ObjectKey { kind: ObjectKind::Secret, name: which.name(desired) })
        }
        _ => None,
    };
    planned.actions.iter().filter_map(key).collect()
}

fn created(planned: &Plan) -> usize {
    planned.actions.iter().filter(|action| matches!(action, Action::CreatePod(_))).count()
}

fn condition<'a>(status: &'a WebSocketClusterStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

/// Status and reason of a condition.
fn short<'a>(status: &'a WebSocketClusterStatus, type_: &str) -> (&'a str, &'a str) {
    let condition = condition(status, type_);
    (&condition.status, &condition.reason)
}

fn pod(seen: &mut Observed, index: usize) -> &mut PodView {
    seen.pods.get_mut(&name(index)).unwrap()
}

#[test]
fn with_nothing_in_the_way_nothing_is_done_and_the_cluster_is_ready() {
    let (desired, seen) = complete();
    let Plan { actions, status, .. } = plan(&desired, &seen, at(0));
    assert_eq!((actions, status.reason.as_str()), (vec![], "Ready"));
    assert_eq!(short(&status, "ReplicaFailure"), ("False", "NothingInTheWay"));
    assert_eq!(short(&status, "Ready"), ("True", "AsDesired"));
}

#[test]
fn a_cluster_that_lacks_an_object_is_not_ready_whatever_its_size_and_looks_again() {
    for replicas in [0, 2] {
        let desired = desired(&json!({"replicas": replicas}));
        let mut seen = observed(&desired, &[5, 7][..replicas as usize], at(0));
        seen.owned = around(&desired, replicas);
        assert_eq!(short(&plan(&desired, &seen, at(0)).status, "Ready"), ("True", "AsDesired"));
        for key in around(&desired, replicas).into_keys() {
            for standing in [None, Some(Standing::Unknown), Some(Standing::Taken(Holder::Nobody))] {
                let lacking = &mut seen.clone();
                lacking.owned.remove(&key);
                let is_taken = matches!(standing, Some(Standing::Taken(_)));
                lacking.others.extend(standing.map(|standing| (key.clone(), standing)));
                let Plan { status, wake, .. } = plan(&desired, lacking, at(0));
                let redis = key.kind == ObjectKind::StatefulSet;
                let reason = match (is_taken, redis) {
                    (true, _) => "NameTaken",
                    (false, true) => "BackplaneNotReady",
                    (false, false) => "Reconciling",
                };
                assert_eq!(short(&status, "Ready"), ("False", reason), "{key}");
                assert_eq!(status.reason, reason);
                assert_ne!(short(&status, "Progressing"), ("True", "Complete"), "{key}");
                assert!(wake.is_some(), "nobody looks again for {key}");
            }
        }
    }
}

#[test]
fn an_object_that_drifted_or_is_no_longer_asked_for_is_told_until_that_is_mended() {
    let (desired, mut seen) = complete();
    let key = ObjectKey { kind: ObjectKind::Service, name: "chat".into() };
    seen.owned.get_mut(&key).unwrap()["spec"]["selector"] = json!({"app": "theirs"});
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(short(&status, "Ready"), ("False", "Reconciling"));
    assert_eq!(condition(&status, "Ready").message, "Service chat is not yet as the spec asks");
    let memory = crate::fixtures::desired(&json!({"replicas": 1, "backplane": {"memory": {}}}));
    let mut seen = observed(&memory, &[5], at(0));
    seen.owned = around(&memory, 1);
    assert_eq!(short(&plan(&memory, &seen, at(0)).status, "Ready"), ("True", "AsDesired"));
    seen.owned.extend(around(&desired, 1).into_iter().filter(|(key, _)| key.name == "chat-redis"));
    let status = plan(&memory, &seen, at(0)).status;
    let told = "NetworkPolicy chat-redis and 2 more objects are not yet as the spec asks";
    assert_eq!(condition(&status, "Ready").message, told);
}

#[test]
fn what_the_specs_own_bounds_hold_back_and_clients_that_are_moved_leave_a_cluster_ready() {
    let (desired, mut seen) = complete();
    let surplus = (name(2), serving(&desired.revision, 9, at(0)));
    seen.pods.extend([surplus]);
    pod(&mut seen, 2).traffic =
        Traffic::Draining { cause: DrainCause::ScaleDown, since: at(0), deadline: None };
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!((status.reason.as_str(), short(&status, "Ready")), ("Draining", ("True", "AsDesired")));
    let spec = json!({"scaling": {"minReplicas": 2, "maxReplicas": 2, "connectionsPerPod": 1}});
    let full = crate::fixtures::desired(&spec);
    let mut seen = observed(&full, &[5, 7], at(0));
    seen.owned = around(&full, 2);
    let status = plan(&full, &seen, at(0)).status;
    assert_eq!(
        (status.reason.as_str(), short(&status, "Ready")),
        ("TooManyConnections", ("True", "AsDesired"))
    );
    let paused = crate::fixtures::desired(&json!({"replicas": 2, "paused": true}));
    let (_, mut seen) = complete();
    assert_eq!(short(&plan(&paused, &seen, at(0)).status, "Ready"), ("True", "AsDesired"));
    seen.owned.pop_first();
    assert_eq!(short(&plan(&paused, &seen, at(0)).status, "Ready"), ("False", "Reconciling"));
}

#[test]
fn an_object_of_any_kind_that_is_anothers_is_never_written_and_the_cluster_is_not_ready_and_names_it() {
    for key in needed(&complete().0) {
        let (desired, mut seen) = complete();
        taken(&mut seen, &key, Holder::Nobody);
        let planned = plan(&desired, &seen, at(0));
        assert!(!written(&desired, &planned).contains(&key), "{key} is written");
        let status = planned.status;
        assert_eq!(status.reason, "NameTaken");
        assert_eq!(short(&status, "ReplicaFailure"), ("True", "NameTaken"));
        assert_eq!(short(&status, "Progressing"), ("False", "NameTaken"));
        assert_eq!(short(&status, "Ready"), ("False", "NameTaken"));
        let told = format!("{key} exists and is not this cluster's: delete it, or rename either");
        assert_eq!(condition(&status, "ReplicaFailure").message, told);
        let reachable = key != ObjectKey { kind: ObjectKind::Service, name: "chat".into() };
        assert_eq!(condition(&status, "Available").status, if reachable { "True" } else { "False" });

        seen.others.clear();
        let healed = plan(&desired, &seen, at(1));
        if key.kind != ObjectKind::PersistentVolumeClaim {
            assert!(written(&desired, &healed).contains(&key), "{key} is not made once its name is free");
        }
        assert_ne!(healed.status.reason, "NameTaken");
    }
}

#[test]
fn of_two_clusters_that_need_one_name_the_second_names_the_first() {
    let (desired, mut seen) = complete();
    let key = ObjectKey { kind: ObjectKind::Service, name: "chat-gateway".into() };
    let other = Holder::Controller { kind: "WebSocketCluster".into(), name: "chat-gateway".into() };
    taken(&mut seen, &key, other);
    let status = plan(&desired, &seen, at(0)).status;
    let told = "Service chat-gateway belongs to WebSocketCluster chat-gateway: rename one of the two, or delete \
                WebSocketCluster chat-gateway";
    assert_eq!(condition(&status, "ReplicaFailure").message, told);
}

#[test]
fn an_object_is_the_clusters_if_its_controller_has_the_clusters_uid() {
    let desired = desired(&json!({}));
    let owned_by = |uid: &str, name: &str, controller| {
        let owner =
            OwnerReference { uid: uid.into(), name: name.into(), controller, ..desired.owner.clone() };
        ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() }
    };
    let ours = |metadata: &ObjectMeta| is_ours(metadata, &desired);
    assert!(ours(&owned_by("0b5e", "chat", Some(true))));
    let others = [
        (owned_by("0b5e", "chat", Some(false)), Holder::Nobody),
        (owned_by("0b5e", "chat", None), Holder::Nobody),
        (ObjectMeta::default(), Holder::Nobody),
        (owned_by("1", "chat", Some(true)), Holder::Predecessor),
        (
            owned_by("1", "other", Some(true)),
            Holder::Controller { kind: "WebSocketCluster".into(), name: "other".into() },
        ),
    ];
    for (metadata, expected) in others {
        assert!(!ours(&metadata), "{metadata:?}");
        assert_eq!(holder(&metadata, &desired), expected);
    }
}

#[test]
fn what_could_not_be_looked_at_is_not_written_and_not_called_taken() {
    for key in needed(&complete().0) {
        let (desired, mut seen) = complete();
        seen.owned.remove(&key);
        seen.others.insert(key.clone(), Standing::Unknown);
        let planned = plan(&desired, &seen, at(0));
        assert!(!written(&desired, &planned).contains(&key), "{key} is written");
        assert_ne!(planned.status.reason, "NameTaken");
    }
}

#[test]
fn a_secret_that_may_not_be_read_is_not_called_missing_and_no_pod_is_made_on_it() {
    let spec = json!({"auth": {"jwt": {"hmacSecretRef": {"name": "jwt", "key": "secret"}}}});
    let desired = desired(&spec);
    let key = ObjectKey { kind: ObjectKind::Secret, name: "jwt".into() };
    let refusal = Refusal { cause: RefusalCause::Right, message: "cannot read Secret demo/jwt: no".into() };
    let mut seen = Observed::default();
    seen.others.insert(key.clone(), Standing::Unknown);
    seen.refusals.insert(key, refusal);
    let planned = plan(&desired, &seen, at(0));
    assert_eq!((created(&planned), planned.status.reason.as_str()), (0, "RightMissing"));
}

#[test]
fn a_volume_of_anothers_is_kept_from_the_stateful_set_that_would_take_it() {
    let (desired, mut seen) = complete();
    let set = ObjectKey { kind: ObjectKind::StatefulSet, name: "chat-redis".into() };
    let claim = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: "data-chat-redis-0".into() };
    seen.owned.remove(&set);
    taken(&mut seen, &claim, Holder::Nobody);
    assert!(!written(&desired, &plan(&desired, &seen, at(0))).contains(&set));
    seen.others.clear();
    assert!(written(&desired, &plan(&desired, &seen, at(0))).contains(&set));
}

#[test]
fn no_pod_is_made_that_would_run_on_a_secret_or_an_account_of_somebody_else() {
    for key in needed(&complete().0) {
        let (desired, mut seen) = complete();
        seen.pods.clear();
        taken(&mut seen, &key, Holder::Nobody);
        let holds = matches!(key.kind, ObjectKind::Secret | ObjectKind::ServiceAccount);
        assert_eq!(created(&plan(&desired, &seen, at(0))), if holds { 0 } else { 2 }, "{key}");
    }
}

#[test]
fn each_refusal_of_the_api_server_has_a_reason_of_its_own_and_its_words_and_a_remedy() {
    let causes = [
        (RefusalCause::Quota, "QuotaExceeded"),
        (RefusalCause::PodSecurity, "PodSecurityViolated"),
        (RefusalCause::Admission, "AdmissionDenied"),
        (RefusalCause::WebhookUnreachable, "WebhookUnreachable"),
        (RefusalCause::Right, "RightMissing"),
        (RefusalCause::Relabelled, "LabelsRewritten"),
        (RefusalCause::Other, "WriteRefused"),
    ];
    for (cause, reason) in causes {
        let (desired, mut seen) = complete();
        seen.pods.pop_last();
        let key = ObjectKey { kind: ObjectKind::Pod, name: "chat-1".into() };
        seen.refusals.insert(key, Refusal { cause, message: "cannot create Pod demo/chat-1: no".into() });
        let status = plan(&desired, &seen, at(0)).status;
        assert_eq!(status.reason, reason);
        assert_eq!(short(&status, "ReplicaFailure"), ("True", reason));
        assert_eq!(short(&status, "Progressing"), ("False", reason));
        let told = format!("cannot create Pod demo/chat-1: no: {}", cause.remedy());
        assert_eq!(condition(&status, "ReplicaFailure").message, told);
        assert_eq!(short(&status, "Available"), ("True", "PodsReady"));
    }
}

#[test]
fn a_cluster_whose_service_cannot_be_made_is_not_available_whatever_its_pods_are() {
    let (desired, mut seen) = complete();
    let key = ObjectKey { kind: ObjectKind::Service, name: "chat".into() };
    let refusal = Refusal { cause: RefusalCause::Quota, message: "cannot make Service demo/chat: no".into() };
    seen.refusals.insert(key.clone(), refusal);
    // A change of one that exists may be refused, and clients still find it.
    assert_eq!(short(&plan(&desired, &seen, at(0)).status, "Available"), ("True", "PodsReady"));
    seen.owned.remove(&key);
    assert_eq!(short(&plan(&desired, &seen, at(0)).status, "Available"), ("False", "QuotaExceeded"));
}

#[test]
fn what_admission_changes_each_time_is_applied_when_its_time_has_come_or_something_else_has_changed() {
    let (desired, mut seen) = complete();
    let key = ObjectKey { kind: ObjectKind::StatefulSet, name: "chat-redis".into() };
    let applied = seen.owned[&key].clone();
    let image = "/spec/template/spec/containers/0/image";
    let live = seen.owned.get_mut(&key).unwrap();
    *live.pointer_mut(image).unwrap() = json!("mirror/redis:8");
    let differences = differences(&applied, live);
    assert_eq!(
        differences,
        [r#"spec.template.spec.containers[0].image is "mirror/redis:8" where "redis:8" was applied"#]
    );
    let writes = |seen: &Observed, now| !written(&desired, &plan(&desired, seen, at(now))).is_empty();
    assert!(writes(&seen, 0));
    seen.rewritten.insert(key.clone(), Rewritten { differences: differences.clone(), again: at(60) });
    assert_eq!([0, 59, 60].map(|now| writes(&seen, now)), [false, false, true]);

    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(status.reason, "Ready");
    assert_eq!(short(&status, "ReplicaFailure"), ("False", "ObjectRewritten"));
    let told = format!("StatefulSet chat-redis is changed by admission as it is applied: {}", differences[0]);
    assert_eq!(condition(&status, "ReplicaFailure").message, told);

    seen.owned.get_mut(&key).unwrap()["spec"]["replicas"] = json!(3);
    assert!(writes(&seen, 0), "what somebody else changed is not put right");
}

fn aside(desired: &Desired, count: usize) -> BTreeMap<PodName, PodView> {
    let pod = |index| (PodName(format!("aside-{index}")), serving(&desired.revision, 3, at(0)));
    (0..count).map(pod).collect()
}

#[test]
fn a_pod_that_was_set_aside_is_replaced_and_told_and_the_cluster_is_ready() {
    let (desired, mut seen) = complete();
    seen.aside = aside(&desired, 1);
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(status.reason, "Ready");
    assert_eq!(short(&status, "ReplicaFailure"), ("False", "PodsSetAside"));
    assert!(condition(&status, "ReplicaFailure").message.contains("aside-0"));
    seen.pods.pop_last();
    assert_eq!(created(&plan(&desired, &seen, at(0))), 1);
}

#[test]
fn whatever_takes_the_labels_from_every_pod_does_not_make_pods_without_an_end() {
    let spec = |replicas: usize| desired(&json!({"replicas": replicas}));
    for (replicas, most) in [(1, 3), (3, 3), (5, 5)] {
        let desired = spec(replicas);
        let mut seen = Observed { aside: aside(&desired, most - 1), ..Observed::default() };
        assert_eq!(created(&plan(&desired, &seen, at(0))), replicas);
        seen.aside = aside(&desired, most);
        let planned = plan(&desired, &seen, at(0));
        assert_eq!(created(&planned), 0);
        assert_eq!(short(&planned.status, "ReplicaFailure"), ("True", "PodsSetAside"));
    }
}

#[test]
fn a_pod_gets_back_the_labels_by_which_its_clients_find_it() {
    let (desired, mut seen) = complete();
    let labels = BTreeMap::from([("mooring.dev/traffic".to_owned(), "serving".to_owned())]);
    pod(&mut seen, 0).troubles.lost_labels = labels.clone();
    assert_eq!(plan(&desired, &seen, at(0)).actions, [Action::Relabel { pod: name(0), labels }]);
    pod(&mut seen, 0).deletion = Some(at(60));
    let relabels = plan(&desired, &seen, at(0)).actions;
    assert!(!relabels.iter().any(|action| matches!(action, Action::Relabel { .. })), "{relabels:?}");
}

#[test]
fn a_sidecar_that_crashes_takes_no_client_from_its_pod() {
    let (desired, mut seen) = complete();
    let waiting = Waiting { reason: "CrashLoopBackOff".into(), message: "exit 1".into() };
    let view = pod(&mut seen, 0);
    (view.ready, view.troubles.beside) = (false, Some(("istio-proxy".into(), waiting)));
    let Plan { actions, status, .. } = plan(&desired, &seen, at(0));
    assert_eq!((actions, status.reason.as_str()), (vec![], "SidecarFailed"));
    assert_eq!(short(&status, "ReplicaFailure"), ("True", "SidecarFailed"));
    let told = "container istio-proxy beside the gateway of pod a can't run: CrashLoopBackOff: exit 1";
    assert_eq!(condition(&status, "ReplicaFailure").message, told);
    // In a rollout, too, it goes as one with clients does.
    pod(&mut seen, 0).revision = Revision("old".into());
    let actions = plan(&desired, &seen, at(0)).actions;
    assert!(!actions.iter().any(|action| matches!(action, Action::DeletePod { .. })), "{actions:?}");
}

#[test]
fn pods_that_no_node_takes_are_told_in_the_schedulers_words() {
    let (desired, mut seen) = complete();
    for index in 0..2 {
        let view = pod(&mut seen, index);
        (view.ready, view.phase) = (false, Phase::Pending);
        view.troubles.unschedulable = Some(format!("0/{} nodes are available", index + 3));
    }
    let status = plan(&desired, &seen, at(0)).status;
    assert_eq!(status.reason, "Unschedulable");
    assert_eq!(short(&status, "Available"), ("False", "Unschedulable"));
    let told = "no node takes 2 pods; of a the scheduler says: 0/3 nodes are available";
    assert_eq!(condition(&status, "ReplicaFailure").message, told);
}

/// Pods that a node refuses as soon as they are made: when each came to be, in seconds.
fn refused_by_its_node(seconds: i64, desired: &Desired) -> Vec<i64> {
    let (mut seen, mut made) = (Observed::default(), Vec::new());
    for now in 0..seconds {
        let planned = plan(desired, &seen, at(now));
        seen.memory = planned.memory;
        for action in planned.actions {
            match action {
                Action::CreatePod(new) => {
                    made.push(now);
                    let mut view = serving(&desired.revision, 0, at(now));
                    (view.ready, view.phase, view.created) = (false, Phase::Ended, at(now));
                    view.troubles.ended = Some("OutOfpods: Node didn't have enough resource: pods".into());
                    seen.pods.insert(PodName(new.metadata.name.unwrap()), view);
                }
                Action::DeletePod { pod, .. } => drop(seen.pods.remove(&pod)),
                _ => {}
            }
        }
        seen.status = Some(planned.status);
    }
    made
}

#[test]
fn pods_that_end_as_soon_as_they_are_made_are_made_ever_more_seldom_and_it_is_told() {
    let made = refused_by_its_node(1200, &desired(&json!({"replicas": 1})));
    let waits: Vec<_> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [3, 5, 9, 17, 33, 65, 129, 257, 301, 301]);
    // A round is of all pods at once.
    let made = refused_by_its_node(20, &desired(&json!({"replicas": 3})));
    assert_eq!(made, [0, 0, 0, 3, 3, 3, 8, 8, 8, 17, 17, 17]);
}

#[test]
fn a_pod_that_ends_after_it_lived_is_replaced_at_once_and_one_that_never_lived_says_why() {
    let (desired, mut seen) = complete();
    let view = pod(&mut seen, 0);
    (view.ready, view.phase) = (false, Phase::Ended);
    view.troubles.ended = Some("Evicted: The node was low on resource: memory".into());
    let planned = plan(&desired, &seen, at(0));
    assert_eq!((created(&planned), planned.status.reason.as_str()), (1, "WaitingForPods"));
    pod(&mut seen, 0).created = at(-1);
    let planned = plan(&desired, &seen, at(0));
    assert_eq!((created(&planned), planned.status.reason.as_str()), (0, "PodsEnd"));
    let told =
        "pods end as soon as they are made (rounds so far: 1): Evicted: The node was low on resource: memory";
    assert_eq!(condition(&planned.status, "ReplicaFailure").message, told);
    // Once all are ready it is over.
    let healed = Observed { memory: planned.memory, ..complete().1 };
    let healed = plan(&desired, &healed, at(1));
    assert_eq!((healed.memory.ends, healed.status.reason.as_str()), (None, "Ready"));
}

#[test]
fn what_keeps_clients_away_weighs_more_than_what_keeps_pods_away_and_that_more_than_a_note() {
    let (desired, mut seen) = complete();
    taken(&mut seen, &ObjectKey { kind: ObjectKind::Service, name: "chat".into() }, Holder::Nobody);
    seen.aside = aside(&desired, 1);
    let key = ObjectKey { kind: ObjectKind::Pod, name: "chat-1".into() };
    seen.refusals.insert(key, Refusal { cause: RefusalCause::Quota, message: "no".into() });
    let names: Vec<_> = plan(&desired, &seen, at(0)).reasons.iter().map(|reason| reason.name()).collect();
    assert_eq!(names, ["NameTaken", "QuotaExceeded", "PodsSetAside"]);
}
