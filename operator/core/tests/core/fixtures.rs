//! The only place where test values are built.

use gateway_core::control::{self, Connections, DrainProgress, DrainTrigger};
use jiff::{SignedDuration, Timestamp};
use operator_core::crd::{WebSocketCluster, WebSocketClusterSpec};
use operator_core::desired::{Defaults, Desired};
use operator_core::names::{PodName, Revision};
use operator_core::observed::{ObjectKey, ObjectKind, Observed, Phase, PodView, Report, Traffic, Troubles};
use operator_core::resources::{self, generated_secrets};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn defaults() -> Defaults {
    Defaults {
        gateway_image: "mooring.dev/gateway:dev".into(),
        redis_image: "redis:8".into(),
        image_pull_secrets: BTreeSet::new(),
    }
}

/// Open to everybody, unless the spec says who may come in.
pub fn cluster(spec: &Value) -> WebSocketCluster {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().entry("auth").or_insert_with(|| json!({"anonymous": true}));
    serde_json::from_value(json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "WebSocketCluster",
        "metadata": {"name": "chat", "namespace": "demo", "uid": "0b5e", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

pub fn desired(spec: &Value) -> Desired {
    Desired::parse(&cluster(spec), &defaults()).unwrap()
}

/// The spec as the API server stores it: every default filled in.
pub fn spec(given: &Value) -> WebSocketClusterSpec {
    serde_json::from_value(given.clone()).unwrap()
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}

pub fn report(connections: u32) -> control::Report {
    control::Report {
        connections: Connections { centrifuge: connections, raw: 0 },
        ..control::Report::default()
    }
}

pub fn draining_report(rate: f64, moved: u64, remaining: u32) -> control::Report {
    let trigger = DrainTrigger::Requested;
    let drain = DrainProgress { trigger, connections_per_second: rate, moved, remaining, seconds_left: 60 };
    control::Report { drain: Some(drain), ..report(remaining) }
}

/// Of a gateway that got SIGTERM.
pub fn terminated_report(rate: f64, remaining: u32) -> control::Report {
    let trigger = DrainTrigger::Terminated;
    let drain =
        DrainProgress { trigger, connections_per_second: rate, moved: 0, remaining, seconds_left: 600 };
    control::Report { drain: Some(drain), ..report(remaining) }
}

pub fn fresh(report: control::Report, now: Timestamp) -> Report {
    Report::Fresh { report, at: now }
}

/// A ready pod that serves.
pub fn serving(revision: &Revision, connections: u32, now: Timestamp) -> PodView {
    PodView {
        uid: "1".into(),
        resource_version: "1".into(),
        phase: Phase::Running,
        ready: true,
        ready_since: at(-1000),
        traffic: Traffic::Serving,
        revision: revision.clone(),
        pulls: None,
        created: at(-1000),
        deletion: None,
        waiting: None,
        troubles: Troubles::default(),
        report: fresh(report(connections), now),
    }
}

/// Serving pods a, b, c, ... of the desired revision with these connections.
pub fn observed(desired: &Desired, connections: &[u32], now: Timestamp) -> Observed {
    let pods = connections
        .iter()
        .enumerate()
        .map(|(i, connections)| (name(i), serving(&desired.revision, *connections, now)));
    Observed { pods: pods.collect(), ..Observed::default() }
}

/// Every object around the pods of a cluster of this size, as applied, and a Redis that is ready.
pub fn around(desired: &Desired, size: u32) -> BTreeMap<ObjectKey, Value> {
    let objects = resources::objects(desired, size).into_iter().map(|mut object| {
        object.manifest["status"] = json!({"readyReplicas": 1});
        (object.key, object.manifest)
    });
    let secrets = generated_secrets(desired).into_iter().map(|which| which.name(desired));
    let secrets = secrets.map(|name| (ObjectKey { kind: ObjectKind::Secret, name }, json!({})));
    objects.chain(secrets).collect()
}

pub fn name(index: usize) -> PodName {
    PodName(char::from(b'a' + u8::try_from(index).unwrap()).to_string())
}
