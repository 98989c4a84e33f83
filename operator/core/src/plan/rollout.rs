//! Which pods come, which go, and which come back.
//!
//! A rollout moves each client once. New pods come first, as many as `maxSurge` allows. When they are ready and have room, *all* old
//! pods leave the endpoints together, and only then are their clients moved: whoever leaves an old pod finds new ones only. Where
//! the surge is smaller than the cluster, the old pods that wait for their turn keep their clients, and each one that is empty
//! makes room for a further new pod.

use super::action::DeleteCause;
use super::fleet::{Fleet, Member};
use crate::desired::Desired;
use crate::names::PodName;
use crate::observed::DrainCause;
use jiff::Timestamp;

/// Pods that come and go.
#[derive(Default)]
pub(super) struct Moves {
    /// Pods to make.
    pub create: u32,
    /// Pods to take out of the endpoints.
    pub retire: Vec<(PodName, DrainCause)>,
    /// Draining pods to put back into the endpoints.
    pub back: Vec<PodName>,
    /// Pods without clients to delete.
    pub delete: Vec<(PodName, DeleteCause)>,
    /// No client may be moved yet, but by drains that have begun.
    pub hold: bool,
}

impl Moves {
    /// The pod goes, or begins to.
    pub fn takes_away(&self, name: &PodName) -> bool {
        self.retire.iter().any(|(pod, _)| pod == name) || self.delete.iter().any(|(pod, _)| pod == name)
    }
}

/// Who goes first: member order is the policy, the name makes it deterministic.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct VictimRank<'a> {
    runs: bool,
    ready: bool,
    connections: u32,
    name: &'a PodName,
}

/// Who comes back first: the pod that has moved the smallest part of its clients.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ReturnRank<'a> {
    moved_permille: u64,
    name: &'a PodName,
}

pub(super) fn moves(desired: &Desired, fleet: &Fleet<'_>, size: u32, now: Timestamp) -> Moves {
    let mut moves = Moves::default();
    moves.delete.extend(fleet.all().filter(|m| m.ended()).map(|m| (m.name.clone(), DeleteCause::Ended)));
    let idle = fleet.all().filter(|m| (!m.updated && m.not_running()) || m.pulls_in_vain(desired));
    moves.delete.extend(idle.map(|m| (m.name.clone(), DeleteCause::NotRunning)));

    let updated = u32_of(fleet.count(|m| m.updated && m.serving()));
    let takeover = Takeover::new(desired, fleet, size);
    let slots = slots(desired, fleet, size, &takeover);
    if updated < size {
        grow(fleet, size - updated, slots, now, &mut moves);
    } else if updated > size && fleet.silent().is_empty() {
        shrink(fleet, updated - size, &mut moves);
    }
    replace(fleet, size, slots, &takeover, &mut moves);
    rescue(fleet, size, now, &mut moves);
    moves
}

fn u32_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An old pod that still holds a place.
fn old(m: Member<'_>) -> bool {
    !m.updated && (m.serving() || m.leaving().is_some()) && !m.not_running()
}

/// How far the new pods can take over.
struct Takeover {
    /// New pods that serve, or will.
    new: u32,
    /// Those of them that are ready, with a report.
    ready: u32,
    /// New pods that come before the first old one goes.
    first_wave: u32,
    /// Clients that the new pods can still take.
    room: u64,
    /// Clients of the smallest old pod that is still to leave the endpoints.
    smallest: u64,
}

impl Takeover {
    fn new(desired: &Desired, fleet: &Fleet<'_>, size: u32) -> Self {
        let waiting = fleet.all().filter(|m| old(*m) && m.serving());
        Self {
            new: u32_of(fleet.count(|m| m.updated && m.serving())),
            ready: u32_of(fleet.count(|m| m.updated && m.ready_serving() && m.connections().is_some())),
            first_wave: size.min(desired.max_surge.pods(size)),
            room: fleet.room(desired, |m| m.updated),
            smallest: waiting.filter_map(Member::connections).min().unwrap_or(0).into(),
        }
    }

    fn can_begin(&self) -> bool {
        self.ready >= self.first_wave && self.room >= self.smallest
    }
}

/// Pods that may be made now: without old ones as many as are wanted, else up to the surge.
fn slots(desired: &Desired, fleet: &Fleet<'_>, size: u32, takeover: &Takeover) -> u32 {
    let old_pods = u32_of(fleet.count(old));
    if old_pods == 0 {
        return u32::MAX;
    }
    let updated = u32_of(fleet.count(|m| m.updated && (m.serving() || m.leaving().is_some())));
    let within =
        size.saturating_add(desired.max_surge.pods(size)).saturating_sub(old_pods.saturating_add(updated));
    within.max(indispensable(desired, fleet, takeover))
}

/// New pods without which the rollout would wait for ever, where old pods use up the size and the surge: the first wave, then one
/// at a time as those that are ready fill up, or have no room for any old pod's clients.
fn indispensable(desired: &Desired, fleet: &Fleet<'_>, takeover: &Takeover) -> u32 {
    let first = takeover.first_wave.saturating_sub(takeover.new);
    if first > 0 && fleet.count(|m| old(m) && m.leaving().is_some()) == 0 {
        return first;
    }
    let full = fleet.room(desired, |_| true) == 0;
    let crowded = takeover.new > 0 && takeover.room < takeover.smallest;
    u32::from(takeover.ready == takeover.new && (full || crowded))
}

fn grow(fleet: &Fleet<'_>, missing: u32, slots: u32, now: Timestamp, moves: &mut Moves) {
    let mut candidates: Vec<_> =
        fleet.all().filter(|m| m.updated && can_return(*m, now)).map(return_rank).collect();
    candidates.sort();
    moves.back.extend(candidates.into_iter().take(missing as usize).map(|rank| rank.name.clone()));
    moves.create = (missing - u32_of(moves.back.len())).min(slots);
}

fn can_return(m: Member<'_>, now: Timestamp) -> bool {
    let in_time = |deadline: Option<Timestamp>| deadline.is_none_or(|deadline| now < deadline);
    m.leaving().is_some_and(|leaving| in_time(leaving.deadline)) && !m.not_running()
}

fn return_rank(m: Member<'_>) -> ReturnRank<'_> {
    let moved_permille = m.drain().map_or(0, |drain| {
        let remaining = u64::from(drain.remaining);
        drain.moved.saturating_mul(1000) / drain.moved.saturating_add(remaining).max(1)
    });
    ReturnRank { moved_permille, name: m.name }
}

fn victim_rank(m: Member<'_>) -> VictimRank<'_> {
    let connections = m.connections().unwrap_or(u32::MAX);
    VictimRank { runs: !m.not_running(), ready: m.view.ready, connections, name: m.name }
}

fn shrink(fleet: &Fleet<'_>, surplus: u32, moves: &mut Moves) {
    let mut victims: Vec<_> = fleet.all().filter(|m| m.updated && m.serving()).collect();
    victims.sort_by(|a, b| victim_rank(*a).cmp(&victim_rank(*b)));
    for victim in victims.into_iter().take(surplus as usize) {
        if victim.not_running() {
            moves.delete.push((victim.name.clone(), DeleteCause::NotRunning));
        } else {
            moves.retire.push((victim.name.clone(), DrainCause::ScaleDown));
        }
    }
}

/// Takes all old pods out of the endpoints once the new ones can do without them.
fn replace(fleet: &Fleet<'_>, size: u32, slots: u32, takeover: &Takeover, moves: &mut Moves) {
    let mut waiting = fleet.all().filter(|m| old(*m) && m.serving()).map(|m| m.name.clone()).peekable();
    if waiting.peek().is_none() {
        return;
    }
    if size == 0 || takeover.can_begin() {
        moves.retire.extend(waiting.map(|name| (name, DrainCause::Rollout)));
    }
    // Clients moved now could come to a pod that is about to go. Only where old pods that already left the endpoints take up the
    // places of new ones must they go on, or the rollout would wait for ever.
    moves.hold = !(slots == 0 && takeover.new < takeover.first_wave);
}

/// Never without endpoints: when no serving pod is ready, old ones that are ready come back.
fn rescue(fleet: &Fleet<'_>, size: u32, now: Timestamp, moves: &mut Moves) {
    if size == 0 || fleet.count(Member::ready_serving) > 0 || !moves.back.is_empty() {
        return;
    }
    let ready = fleet.all().filter(|m| m.view.ready && can_return(*m, now));
    moves.back.extend(ready.map(|m| m.name.clone()));
}
