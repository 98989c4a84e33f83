//! Moves clients within one budget of the whole cluster, whatever the reason they are moved for.
//!
//! A rate counts as spent while a gateway reports it, and from the moment it is granted until a later report says less; so a rate
//! is raised only by what no other gateway can still be using. A pod that was set aside goes on as it was told, and counts as before.

use super::action::DeleteCause;
use super::fleet::{Fleet, Leaving, Member};
use super::rollout::Moves;
use super::{Action, Reason};
use crate::crd::DrainStatus;
use crate::desired::Desired;
use crate::names::PodName;
use crate::observed::{Grant, Memory};
use jiff::{SignedDuration, Timestamp};

/// Time for the endpoints to reach every node before the first client of a pod is moved.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(5);
/// Time after the deadline for a gateway to report that it has closed the rest.
pub const OVERTIME: SignedDuration = SignedDuration::from_secs(5);

/// Who is served first: member order is the policy, the name makes it deterministic.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DrainRank<'a> {
    not_terminating: bool,
    not_begun: bool,
    connections: u32,
    name: &'a PodName,
}

/// A pod whose clients are being moved, or will be.
struct Drain<'a> {
    member: Member<'a>,
    /// Absent for a terminating pod.
    leaving: Option<Leaving>,
    /// Connections per second that it may be using up.
    in_force: f64,
    /// Its clients may be moved.
    turn: bool,
    /// What it is to get.
    granted: f64,
}

/// What draining asks for now.
#[derive(Default)]
pub(super) struct Steering {
    pub actions: Vec<Action>,
    pub delete: Vec<(PodName, DeleteCause)>,
    pub status: Option<DrainStatus>,
    pub draining: usize,
    pub blocked: Option<Reason>,
    /// When something here changes by time alone.
    pub next: Option<Timestamp>,
}

pub(super) fn steer(
    desired: &Desired,
    fleet: &Fleet<'_>,
    moves: &Moves,
    size: u32,
    memory: &mut Memory,
    now: Timestamp,
) -> Steering {
    memory.grants.retain(|name, grant| {
        fleet
            .with_aside()
            .any(|m| m.name == name && m.view.report.last().is_none_or(|(_, at)| at <= grant.at))
    });
    let mut steering = Steering::default();
    let mut drains = drains(desired, fleet, moves, memory, &mut steering, now);
    let spent: f64 = fleet.with_aside().map(|m| in_force(desired, m, memory, now)).sum();
    let room = if size == 0 { u64::MAX } else { fleet.room(desired, |m| !moves.takes_away(m.name)) };
    grant(desired, moves, room, spent, &mut drains, &mut steering, now);
    for drain in &drains {
        carry_out(desired, drain, memory, &mut steering, now);
    }
    steering.draining = drains.len();
    steering.status = status(&drains);
    steering
}

/// The pods to drain, first come first; those that are done go to `steering.delete`.
fn drains<'a>(
    desired: &Desired,
    fleet: &Fleet<'a>,
    moves: &Moves,
    memory: &Memory,
    steering: &mut Steering,
    now: Timestamp,
) -> Vec<Drain<'a>> {
    let mut drains = Vec::new();
    for member in fleet.all() {
        let leaving = member.leaving();
        let stays = leaving.is_none() && !member.terminating();
        let elsewhere =
            moves.back.contains(member.name) || moves.delete.iter().any(|(name, _)| name == member.name);
        if stays || elsewhere {
            continue;
        }
        match leaving.and_then(|leaving| done(member, leaving, now)) {
            Some(cause) => steering.delete.push((member.name.clone(), cause)),
            None => {
                drains.push(Drain {
                    member,
                    leaving,
                    in_force: in_force(desired, member, memory, now),
                    turn: false,
                    granted: 0.0,
                });
            }
        }
    }
    drains.sort_by(|a, b| rank(a).cmp(&rank(b)));
    drains
}

fn rank<'a>(drain: &Drain<'a>) -> DrainRank<'a> {
    let begun = drain.leaving.is_none_or(|leaving| leaving.deadline.is_some());
    DrainRank {
        not_terminating: drain.leaving.is_some(),
        not_begun: !begun,
        connections: drain.member.connections().unwrap_or(u32::MAX),
        name: drain.member.name,
    }
}

fn done(member: Member<'_>, leaving: Leaving, now: Timestamp) -> Option<DeleteCause> {
    if member.not_running() {
        Some(DeleteCause::NotRunning)
    } else if member.drained() {
        Some(DeleteCause::Drained)
    } else {
        leaving.deadline.filter(|deadline| now >= *deadline + OVERTIME).map(|_| DeleteCause::DeadlinePassed)
    }
}

/// The rate that a gateway may be using: the highest that nothing rules out.
fn in_force(desired: &Desired, member: Member<'_>, memory: &Memory, now: Timestamp) -> f64 {
    if member.connections() == Some(0) || is_through(member, memory, now) {
        return 0.0;
    }
    let budget = f64::from(desired.max_reconnects_per_second);
    let reported = match (member.view.report.last(), member.drain()) {
        (Some(_), Some(drain)) => drain.connections_per_second,
        // On SIGTERM a gateway starts by itself, at the pace of its configuration.
        (Some(_) | None, None) if member.terminating() => budget,
        (Some(_), None) => 0.0,
        // A predecessor may have told it to drain, once it had marked the pod with a deadline.
        (None, _) if member.leaving().is_some_and(|leaving| leaving.deadline.is_some()) => budget,
        (None, _) => 0.0,
    };
    let granted = memory.grants.get(member.name).map_or(0.0, |grant| grant.rate);
    reported.max(granted)
}

/// It does not answer, and can't have a connection left to close. Until then its rate counts: it may be out of the operator's reach
/// alone. A gateway that drains takes nobody, so it is through after as long as it needs, allowed for twice; and a kubelet that knows
/// of a pod's deletion kills it at the deletion timestamp, while one that does not know has not sent SIGTERM either.
fn is_through(member: Member<'_>, memory: &Memory, now: Timestamp) -> bool {
    if member.view.report.fresh().is_some() {
        return false;
    }
    let killed = member.view.deletion.is_some_and(|deletion| now >= deletion + OVERTIME);
    let told = member.view.report.last().and_then(|(report, at)| Some((report.drain?, at)));
    killed
        || told.is_some_and(|(drain, at)| {
            let grant = memory.grants.get(member.name);
            let since = grant.map_or(at, |grant| grant.at.max(at));
            // The order may not have reached it, so the slower of both.
            let rates = [Some(drain.connections_per_second), grant.map(|grant| grant.rate)];
            let slowest = rates.into_iter().flatten().fold(f64::INFINITY, f64::min);
            let needed = 2.0 * f64::from(drain.remaining) / slowest;
            (now.duration_since(since) - OVERTIME).as_secs_f64() >= needed
        })
}

/// Shares the budget out: in rank order, each as much as it can use, raised only by what is free.
fn grant(
    desired: &Desired,
    moves: &Moves,
    room: u64,
    spent: f64,
    drains: &mut [Drain<'_>],
    steering: &mut Steering,
    now: Timestamp,
) {
    let budget = f64::from(desired.max_reconnects_per_second);
    let mut free = (budget - spent).max(0.0);
    let mut left = budget;
    #[expect(clippy::cast_precision_loss, reason = "a count of connections, far below 2^52")]
    let room = room as f64;
    for drain in drains {
        let silent = drain.member.view.report.fresh().is_none();
        let useful = drain.member.connections().map_or(budget, f64::from);
        let want = match drain.leaving {
            None => useful.min(left),
            Some(leaving) => match ready_at(leaving, moves.hold) {
                None => 0.0,
                Some(at) if at > now => {
                    steering.next = Some(steering.next.map_or(at, |next| next.min(at)));
                    0.0
                }
                Some(_) if room < 1.0 && useful > 0.0 => {
                    steering
                        .blocked
                        .get_or_insert_with(|| Reason::DrainBlocked { pod: drain.member.name.clone() });
                    0.0
                }
                // An empty gateway is told to drain too, so that it accepts nobody before it is deleted.
                Some(_) => {
                    drain.turn = true;
                    useful.max(1.0).min(left).min(room.max(1.0))
                }
            },
        };
        drain.granted = if silent {
            // It can't be told anything: what it may be using is what it has.
            drain.in_force
        } else if want <= drain.in_force {
            want
        } else {
            let more = (want - drain.in_force).min(free);
            free -= more;
            drain.in_force + more
        };
        left = (left - if silent { drain.granted } else { drain.granted.max(want) }).max(0.0);
    }
}

/// When a pod's clients may be moved, if ever.
fn ready_at(leaving: Leaving, hold: bool) -> Option<Timestamp> {
    match leaving.deadline {
        Some(_) => Some(leaving.since),
        None if hold => None,
        None => Some(leaving.since + SETTLE),
    }
}

/// Tells the gateway, if what it does differs from what it should.
fn carry_out(
    desired: &Desired,
    drain: &Drain<'_>,
    memory: &mut Memory,
    steering: &mut Steering,
    now: Timestamp,
) {
    let Some(report) = drain.member.view.report.fresh() else {
        // One that can't be asked has no more time than the others.
        if let Some(leaving @ Leaving { deadline: None, .. }) = drain.leaving.filter(|_| drain.turn) {
            begin(desired, drain.member.name, leaving, steering, now);
        }
        return;
    };
    let begins = report.drain.is_none() && drain.granted > 0.0;
    let known = memory.grants.get(drain.member.name).map_or_else(
        || report.drain.map(|progress| progress.connections_per_second),
        |grant| Some(grant.rate),
    );
    let settled = known.is_some_and(|rate| (rate - drain.granted).abs() < 0.5);
    if settled || (report.drain.is_none() && !begins && known.is_none()) {
        return;
    }
    let pod = drain.member.name.clone();
    let deadline = match (drain.leaving, drain.member.view.deletion) {
        (Some(Leaving { deadline: Some(deadline), .. }), _) => deadline,
        (Some(leaving), _) => begin(desired, &pod, leaving, steering, now),
        // Terminating: some time before the kubelet kills it.
        (None, deletion) => deletion.map_or(now, |deletion| deletion - margin(deletion.duration_since(now))),
    };
    memory.grants.insert(pod.clone(), Grant { at: now, rate: drain.granted });
    steering.actions.push(Action::Drain { pod, rate: drain.granted, deadline });
}

/// Time for the last connections to be closed before the kubelet kills a pod, when so much is left until then: somebody may have
/// deleted it with less than its own grace, and its clients are to be moved in what there is.
fn margin(left: SignedDuration) -> SignedDuration {
    (left / 4).clamp(OVERTIME, SignedDuration::from_secs(super::MARGIN_SECONDS))
}

/// Records until when the pod may drain.
fn begin(
    desired: &Desired,
    pod: &PodName,
    leaving: Leaving,
    steering: &mut Steering,
    now: Timestamp,
) -> Timestamp {
    let timeout = SignedDuration::try_from(desired.drain_timeout).unwrap_or(SignedDuration::MAX);
    let deadline = now.saturating_add(timeout).unwrap_or(Timestamp::MAX);
    let Leaving { cause, since, .. } = leaving;
    let mark = Action::MarkDraining { pod: pod.clone(), cause, since, deadline: Some(deadline) };
    steering.actions.push(mark);
    deadline
}

#[expect(clippy::cast_possible_truncation, reason = "rates are at most 100,000")]
fn status(drains: &[Drain<'_>]) -> Option<DrainStatus> {
    if drains.is_empty() {
        return None;
    }
    let to_move: i64 = drains.iter().filter_map(|drain| drain.member.connections()).map(i64::from).sum();
    let moved = |drain: &Drain<'_>| drain.member.drain().map_or(0, |progress| progress.moved);
    let moved: u64 = drains.iter().map(moved).sum();
    let per_second = drains.iter().map(|drain| drain.granted).sum::<f64>() as i64;
    Some(DrainStatus {
        to_move,
        moved: i64::try_from(moved).unwrap_or(i64::MAX),
        per_second,
        eta_seconds: (per_second > 0).then(|| (to_move + per_second - 1) / per_second),
    })
}
