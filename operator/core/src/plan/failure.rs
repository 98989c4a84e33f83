//! What keeps the pods and the objects around them from being made, or from running: told apart, since each has another remedy.

use super::Reason;
use super::fleet::Fleet;
use crate::names::PodName;
use crate::observed::{ObjectKey, ObjectKind, Observed};
use crate::ownership::Standing;

/// This many pods may be set aside in the smallest cluster; in a larger one as many as it has.
const MOST_ASIDE: usize = 3;

/// Bytes of a difference that are told: it may be as long as an object.
const LONGEST_DIFFERENCE: usize = 300;

/// Everything that is in the way, as far as it was seen.
pub(super) fn reasons(observed: &Observed, fleet: &Fleet<'_>, size: u32) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (key, standing) in observed.others.iter().filter(|(key, _)| key.kind != ObjectKind::Pod) {
        let Standing::Taken(holder) = standing else { continue };
        reasons.push(Reason::NameTaken { key: key.clone(), holder: holder.clone() });
    }
    reasons.extend(observed.refusals.iter().map(|(key, refusal)| Reason::Refused {
        cause: refusal.cause,
        key: key.clone(),
        message: refusal.message.clone(),
    }));
    reasons.extend(observed.rewritten.iter().filter_map(|(key, rewritten)| {
        let mut first = rewritten.differences.first()?.clone();
        first.truncate(first.floor_char_boundary(LONGEST_DIFFERENCE));
        let differs = (first, rewritten.differences.len());
        Some(Reason::ObjectRewritten { key: key.clone(), differs })
    }));
    reasons.extend(set_aside(observed, size));
    reasons.extend(besides_gateways(fleet));
    reasons.extend(unschedulable(fleet));
    reasons
}

/// No pod is made: it could not run as it should, or would be one of too many.
pub(super) fn holds(observed: &Observed, size: u32) -> bool {
    let runs_on = |key: &ObjectKey| matches!(key.kind, ObjectKind::Secret | ObjectKind::ServiceAccount);
    observed.others.keys().any(runs_on) || too_many_aside(observed, size)
}

fn too_many_aside(observed: &Observed, size: u32) -> bool {
    left_aside(observed).count() >= MOST_ASIDE.max(size as usize)
}

/// Those that nobody has deleted yet.
fn left_aside(observed: &Observed) -> impl Iterator<Item = &PodName> {
    observed.aside.iter().filter(|(_, view)| view.deletion.is_none()).map(|(name, _)| name)
}

fn set_aside(observed: &Observed, size: u32) -> Option<Reason> {
    let pods: Vec<_> = left_aside(observed).cloned().collect();
    let too_many = too_many_aside(observed, size);
    (!pods.is_empty()).then_some(Reason::PodsSetAside { pods, too_many })
}

fn besides_gateways(fleet: &Fleet<'_>) -> Option<Reason> {
    fleet.all().filter(|m| m.active()).find_map(|member| {
        let (container, waiting) = member.view.troubles.beside.clone()?;
        Some(Reason::SidecarFailed { pod: member.name.clone(), container, message: waiting.to_string() })
    })
}

fn unschedulable(fleet: &Fleet<'_>) -> Option<Reason> {
    let mut waiting = fleet.all().filter(|m| !m.terminating()).filter_map(|member| {
        member.view.troubles.unschedulable.as_ref().map(|message| (member.name.clone(), message.clone()))
    });
    let (pod, message) = waiting.next()?;
    Some(Reason::Unschedulable { pods: 1 + waiting.count(), pod, message })
}
