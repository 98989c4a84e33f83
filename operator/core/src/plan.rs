//! The only place that decides.

mod action;
mod backplane;
mod drain;
mod ends;
mod failure;
mod fleet;
mod objects;
mod reason;
mod record;
mod rollout;
mod scale;
mod status;

pub use action::{Action, DeleteCause, Plan};
pub use drain::{OVERTIME, SETTLE};
pub use reason::Reason;
pub use record::is_due;

use crate::desired::{Desired, Invalid, Stored};
use crate::names::PodName;
use crate::observed::{Memory, Observed};
use crate::resources;
use drain::Steering;
use fleet::Fleet;
use jiff::{SignedDuration, Timestamp};
use kube::Resource as _;
use objects::Outstanding;
use rollout::Moves;
use scale::Target;
use std::time::Duration;

pub(crate) use resources::MARGIN_SECONDS;

/// How often gateways are asked for their reports.
pub const REPORT_PERIOD: Duration = Duration::from_secs(2);

/// What to do about one cluster now. Total, deterministic and without side effects: the same arguments give the same plan.
///
/// 1. The objects around the pods: made, or put right where they drifted.
/// 2. The size, from the live connections (`scale`).
/// 3. Which pods come, go and come back (`rollout`).
/// 4. How fast the clients of those that go are moved, within one budget (`drain`).
/// 5. What to say about it (`status`).
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let fleet = Fleet::new(desired, observed);
    let mut memory = observed.memory.clone();
    let Target { size, limit, silent } = scale::target(desired, &fleet, observed, &mut memory, now);
    let mut moves = rollout::moves(desired, &fleet, size, now);
    let missing = objects::missing_secrets(desired, observed);
    let failures = failure::reasons(observed, &fleet, size);
    let ended = ends::remember(&fleet, size, &mut memory, now);
    if !missing.is_empty() || failure::holds(observed, size) || ends::holds(&memory, now) {
        moves.create = 0;
    }
    if desired.paused {
        moves = Moves { hold: true, ..Moves::default() };
    }
    let steering = drain::steer(desired, &fleet, &moves, size, &mut memory, now);
    let outstanding = Outstanding::new(desired, observed, &fleet, size, now);

    let mut reasons = missing;
    reasons.extend(failures);
    reasons.extend(ended);
    reasons.extend(pod_troubles(desired, &fleet, now));
    reasons.extend(backplane::trouble(desired, observed, &fleet, now));
    reasons.extend(limit);
    reasons.extend(steering.blocked.clone());
    reasons.extend(outstanding.reason(desired, observed));
    reasons.extend(unmet(&fleet, size, steering.draining, silent));
    if desired.paused {
        reasons.push(Reason::Paused);
    }
    reasons.sort();
    let status = status::status(desired, observed, &fleet, size, &steering, &reasons, now);
    let wake = wake(&fleet, size, &steering, &reasons, now);
    let actions = if desired.paused {
        // Whatever is paused, clients are moved within the budget: pods that somebody deletes share it.
        steering.actions.into_iter().filter(|action| matches!(action, Action::Drain { .. })).collect()
    } else {
        actions(desired, observed, &fleet, outstanding, moves, steering, now)
    };
    Plan { actions, status, memory, wake, reasons }
}

/// The plan for a spec that can't work: what runs goes on, and the status says what to mend.
pub fn refuse(cluster: &Stored, invalid: &Invalid, now: Timestamp) -> Plan {
    let reason = Reason::InvalidSpec { kind: invalid.reason(), message: invalid.to_string() };
    let generation = cluster.meta().generation.unwrap_or_default();
    let status = status::refused(cluster.status().cloned().unwrap_or_default(), generation, &reason, now);
    Plan { actions: Vec::new(), status, memory: Memory::default(), wake: None, reasons: vec![reason] }
}

/// In the order in which they are carried out: what pods need, pods that come, pods that go.
fn actions(
    desired: &Desired,
    observed: &Observed,
    fleet: &Fleet<'_>,
    outstanding: Outstanding,
    moves: Moves,
    steering: Steering,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = outstanding.actions(desired, observed);
    actions.extend(fleet.all().filter_map(relabel));
    let needless = fleet.all().filter(|m| m.drains_needlessly() && !moves.takes_away(m.name)).map(|m| m.name);
    actions.extend(moves.back.iter().chain(needless).map(|pod| Action::CancelDrain { pod: pod.clone() }));
    let created = resources::pod_names(desired, observed, moves.create);
    actions.extend(created.iter().map(|name| Action::CreatePod(Box::new(resources::pod(desired, name)))));
    actions.extend(moves.retire.into_iter().map(|(pod, cause)| Action::MarkDraining {
        pod,
        cause,
        since: now,
        deadline: None,
    }));
    actions.extend(steering.actions);
    let delete = |(pod, why): (PodName, DeleteCause)| {
        let view = observed.pods.get(&pod)?;
        let (uid, resource_version) = (view.uid.clone(), view.resource_version.clone());
        Some(Action::DeletePod { pod, uid, resource_version, why })
    };
    actions.extend(moves.delete.into_iter().chain(steering.delete).filter_map(delete));
    actions
}

/// Labels decide where clients come; whoever wants a pod set aside takes the one by which it is found.
fn relabel(member: fleet::Member<'_>) -> Option<Action> {
    let labels = &member.view.troubles.lost_labels;
    (member.active() && !labels.is_empty())
        .then(|| Action::Relabel { pod: member.name.clone(), labels: labels.clone() })
}

/// What keeps pods from serving.
fn pod_troubles(desired: &Desired, fleet: &Fleet<'_>, now: Timestamp) -> Vec<Reason> {
    let mut troubles = Vec::new();
    for member in fleet.all().filter(|m| m.updated && !m.terminating()) {
        let Some(waiting) = &member.view.waiting else { continue };
        let pod = member.name.clone();
        troubles.push(if waiting.is_for_image() {
            Reason::ImagePullFailed { pod, image: desired.image.clone() }
        } else {
            Reason::ContainerFailed { pod, message: waiting.to_string() }
        });
    }
    let deadline = SignedDuration::try_from(desired.progress_deadline).unwrap_or(SignedDuration::MAX);
    let late = |m: fleet::Member<'_>| {
        m.updated && m.serving() && !m.view.ready && now.duration_since(m.view.ready_since) >= deadline
    };
    let waiting = fleet.count(late);
    troubles.extend((waiting > 0).then_some(Reason::ProgressDeadlineExceeded { waiting }));
    troubles
}

/// Goals not reached yet.
fn unmet(fleet: &Fleet<'_>, size: u32, draining: usize, silent: Vec<PodName>) -> Vec<Reason> {
    let ready = fleet.count(fleet::Member::ready_serving);
    let pods = (size as usize).saturating_sub(ready);
    let left = fleet.count(|m| !m.updated && !m.terminating());
    [
        (pods > 0).then_some(Reason::WaitingForPods { pods }),
        (left > 0).then_some(Reason::RollingOut { left }),
        (draining > 0).then_some(Reason::Draining { pods: draining }),
        (!silent.is_empty()).then_some(Reason::WaitingForReports { pods: silent }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// With the gateways' reports, while there are any or should be, or anything else is missing; earlier if something is due by then.
fn wake(
    fleet: &Fleet<'_>,
    size: u32,
    steering: &Steering,
    reasons: &[Reason],
    now: Timestamp,
) -> Option<Duration> {
    let deadlines = fleet.all().filter_map(fleet::Member::leaving).filter_map(|leaving| leaving.deadline);
    let due = deadlines.map(|deadline| deadline + OVERTIME).chain(steering.next).filter(|at| *at > now).min();
    let due = due.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    let waits = size > 0 || fleet.all().count() > 0 || reasons.iter().any(Reason::is_in_the_way);
    let reports = waits.then_some(REPORT_PERIOD);
    [due, reports].into_iter().flatten().min()
}
