//! Conditions and counts. Equal to the previous status when nothing changed: no time in here moves by itself.

use super::Reason;
use super::drain::Steering;
use super::fleet::{Fleet, Member};
use crate::crd::WebSocketClusterStatus;
use crate::desired::{Backplane, Desired, Size};
use crate::observed::{ObjectKey, ObjectKind, Observed, Report};
use crate::plan::backplane;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub(super) fn status(
    desired: &Desired,
    observed: &Observed,
    fleet: &Fleet<'_>,
    size: u32,
    steering: &Steering,
    reasons: &[Reason],
    now: Timestamp,
) -> WebSocketClusterStatus {
    let previous = observed.status.clone().unwrap_or_default();
    let count = |filter: fn(Member<'_>) -> bool| i32::try_from(fleet.count(filter)).unwrap_or(i32::MAX);
    let ready = count(|m| m.ready_serving());
    let wanted = i32::try_from(size).unwrap_or(i32::MAX);
    let updated = desired.revision.to_string();
    let complete = count(|m| m.updated && m.ready_serving()) >= wanted
        && fleet.count(|m| !m.updated) == 0
        && !reasons.iter().any(|r| r.refused().is_some() || matches!(r, Reason::Reconciling { .. }));
    let mut conditions =
        Conditions { previous: &previous.conditions, generation: desired.generation, now, list: vec![] };
    ready_condition(&mut conditions, reasons);
    available(&mut conditions, ready, wanted, without_service(desired, observed, reasons), reasons);
    progressing(&mut conditions, complete, reasons);
    backplane_ready(&mut conditions, desired, fleet, reasons);
    scaling(&mut conditions, desired, reasons);
    draining(&mut conditions, reasons);
    replica_failure(&mut conditions, reasons);
    WebSocketClusterStatus {
        observed_generation: desired.generation,
        replicas: i32::try_from(fleet.all().count()).unwrap_or(i32::MAX),
        desired_replicas: wanted,
        ready_replicas: ready,
        ready: format!("{ready}/{wanted}"),
        draining_replicas: i32::try_from(steering.draining).unwrap_or(i32::MAX),
        updated_replicas: count(|m| m.updated && m.serving()),
        connections: connections(fleet, &previous),
        selector: desired.name.selector(),
        current_revision: if complete || previous.current_revision.is_empty() {
            updated.clone()
        } else {
            previous.current_revision.clone()
        },
        updated_revision: updated,
        reason: headline(reasons),
        drain: steering.status.clone(),
        conditions: conditions.list,
    }
}

/// As reported last; where a pod has not reported yet, at least as many as before.
fn connections(fleet: &Fleet<'_>, previous: &WebSocketClusterStatus) -> i64 {
    let reported = fleet.all().filter_map(|m| m.view.report.last());
    let known = reported.map(|(report, _)| i64::from(report.connections.total())).sum();
    let unknown = fleet.count(|m| m.view.ready && m.view.report == Report::Never) > 0;
    if unknown { previous.connections.max(known) } else { known }
}

/// The status for a spec that can't work: what runs is left as it was last seen.
pub(super) fn refused(
    previous: WebSocketClusterStatus,
    generation: i64,
    reason: &Reason,
    now: Timestamp,
) -> WebSocketClusterStatus {
    let kind = match reason {
        Reason::InvalidSpec { kind, .. } => kind,
        other => other.name(),
    };
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, list: vec![] };
    for type_ in ["Ready", "Progressing"] {
        conditions.set(type_, "False", kind, reason.to_string());
    }
    let mut list = conditions.list;
    let is_said = |type_: &str| list.iter().any(|said| said.type_ == type_);
    let others: Vec<_> = previous.conditions.iter().filter(|one| !is_said(&one.type_)).cloned().collect();
    list.extend(others);
    WebSocketClusterStatus {
        observed_generation: generation,
        reason: reason.name().into(),
        conditions: list,
        ..previous
    }
}

/// What the Reason column shows: the weightiest that is more than a note.
fn headline(reasons: &[Reason]) -> String {
    reasons.iter().find(|reason| !reason.is_note()).map_or("Ready", Reason::name).into()
}

/// Why the cluster has no client Service, if it can't be made: nobody gets to its pods.
fn without_service<'a>(desired: &Desired, observed: &Observed, reasons: &'a [Reason]) -> Option<&'a Reason> {
    let is_missing = |key: &ObjectKey| {
        key.kind == ObjectKind::Service
            && key.name == desired.name.as_str()
            && !observed.owned.contains_key(key)
    };
    reasons.iter().find(|reason| reason.refused().is_some_and(is_missing))
}

struct Conditions<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
}

impl Conditions<'_> {
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let before = self.previous.iter().find(|before| before.type_ == type_ && before.status == status);
        self.list.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message,
            observed_generation: Some(self.generation),
            last_transition_time: before.map_or(Time(self.now), |before| before.last_transition_time.clone()),
        });
    }

    fn set_by(&mut self, type_: &str, status: &str, reason: &Reason) {
        self.set(type_, status, reason.name(), reason.to_string());
    }
}

/// For tools that wait: everything that the spec asks for is there, as it asks for it.
fn ready_condition(conditions: &mut Conditions<'_>, reasons: &[Reason]) {
    match reasons.iter().find(|reason| reason.is_in_the_way()) {
        Some(reason) => conditions.set_by("Ready", "False", reason),
        None => conditions.set("Ready", "True", "AsDesired", "the cluster is as the spec asks".into()),
    }
}

fn available(
    conditions: &mut Conditions<'_>,
    ready: i32,
    wanted: i32,
    without_service: Option<&Reason>,
    reasons: &[Reason],
) {
    if let Some(reason) = without_service {
        conditions.set_by("Available", "False", reason);
        return;
    }
    if ready > 0 || wanted == 0 {
        conditions.set(
            "Available",
            "True",
            "PodsReady",
            format!("{ready} of {wanted} serving pods are ready"),
        );
        return;
    }
    match reasons.first() {
        Some(reason) => conditions.set_by("Available", "False", reason),
        None => conditions.set("Available", "False", "WaitingForPods", "no serving pod is ready".into()),
    }
}

fn progressing(conditions: &mut Conditions<'_>, complete: bool, reasons: &[Reason]) {
    let blocker = |reason: &&Reason| {
        matches!(
            reason,
            Reason::SecretMissing { .. }
                | Reason::NameTaken { .. }
                | Reason::Refused { .. }
                | Reason::PodsEnd { .. }
                | Reason::ImagePullFailed { .. }
                | Reason::ProgressDeadlineExceeded { .. }
        )
    };
    if reasons.contains(&Reason::Paused) {
        conditions.set_by("Progressing", "Unknown", &Reason::Paused);
    } else if complete {
        conditions.set(
            "Progressing",
            "True",
            "Complete",
            "every pod has the updated revision and is ready".into(),
        );
    } else if let Some(reason) = reasons.iter().find(blocker) {
        conditions.set_by("Progressing", "False", reason);
    } else {
        let under_way = reasons.iter().find(|r| {
            matches!(
                r,
                Reason::RollingOut { .. } | Reason::WaitingForPods { .. } | Reason::Reconciling { .. }
            )
        });
        match under_way {
            Some(reason) => conditions.set_by("Progressing", "True", reason),
            None => conditions.set("Progressing", "True", "Scaling", "pods are coming or going".into()),
        }
    }
}

fn backplane_ready(
    conditions: &mut Conditions<'_>,
    desired: &Desired,
    fleet: &Fleet<'_>,
    reasons: &[Reason],
) {
    let ill = |reason: &&Reason| {
        matches!(reason, Reason::BackplaneUnreachable { .. } | Reason::BackplaneNotReady { .. })
    };
    let type_ = "BackplaneReady";
    if let Some(reason) = reasons.iter().find(ill) {
        conditions.set_by(type_, "False", reason);
    } else if desired.backplane == Backplane::Memory {
        conditions.set(type_, "True", "Memory", "the only pod keeps it in its memory".into());
    } else if backplane::seen(fleet) {
        conditions.set(type_, "True", "Reachable", "every gateway that answers reaches it".into());
    } else {
        conditions.set(type_, "Unknown", "WaitingForReports", "no gateway has answered yet".into());
    }
}

fn scaling(conditions: &mut Conditions<'_>, desired: &Desired, reasons: &[Reason]) {
    if matches!(desired.size, Size::Fixed(_)) {
        conditions.set("ScalingActive", "False", "FixedSize", "spec.replicas gives the size".into());
        conditions.set("ScalingLimited", "False", "FixedSize", "spec.replicas gives the size".into());
        return;
    }
    match reasons.iter().find(|reason| matches!(reason, Reason::WaitingForReports { .. })) {
        Some(reason) => conditions.set_by("ScalingActive", "False", reason),
        None => conditions.set(
            "ScalingActive",
            "True",
            "ConnectionsKnown",
            "the connections give the size".into(),
        ),
    }
    let limit = |reason: &&Reason| {
        matches!(
            reason,
            Reason::TooManyConnections { .. } | Reason::ScaleUpHeld { .. } | Reason::ScaleDownHeld { .. }
        )
    };
    match reasons.iter().find(limit) {
        Some(reason) => conditions.set_by("ScalingLimited", "True", reason),
        None => conditions.set(
            "ScalingLimited",
            "False",
            "WithinRange",
            "the size is what the connections ask for".into(),
        ),
    }
}

fn draining(conditions: &mut Conditions<'_>, reasons: &[Reason]) {
    let drains = |reason: &&Reason| matches!(reason, Reason::DrainBlocked { .. } | Reason::Draining { .. });
    match reasons.iter().find(drains) {
        Some(reason) => conditions.set_by("Draining", "True", reason),
        None => {
            conditions.set("Draining", "False", "NothingToMove", "no pod's clients are being moved".into())
        }
    }
}

/// Named as in apps/v1; said also where there is none, with what is only worth to know.
fn replica_failure(conditions: &mut Conditions<'_>, reasons: &[Reason]) {
    let fails = |reason: &&Reason| {
        matches!(
            reason,
            Reason::NameTaken { .. }
                | Reason::Refused { .. }
                | Reason::PodsEnd { .. }
                | Reason::ImagePullFailed { .. }
                | Reason::ContainerFailed { .. }
                | Reason::SidecarFailed { .. }
                | Reason::Unschedulable { .. }
                | Reason::PodsSetAside { too_many: true, .. }
        )
    };
    let tells =
        |reason: &&Reason| matches!(reason, Reason::PodsSetAside { .. } | Reason::ObjectRewritten { .. });
    let type_ = "ReplicaFailure";
    if let Some(reason) = reasons.iter().find(fails) {
        conditions.set_by(type_, "True", reason);
    } else if let Some(reason) = reasons.iter().find(tells) {
        conditions.set_by(type_, "False", reason);
    } else {
        conditions.set(type_, "False", "NothingInTheWay", "pods and objects are made and run".into());
    }
}
