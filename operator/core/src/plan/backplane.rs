//! How the backplane looks.

use super::Reason;
use super::fleet::{Fleet, Member};
use crate::desired::{Backplane, Desired};
use crate::observed::{ObjectKey, ObjectKind, Observed};
use gateway_core::control::BackplaneHealth;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A gateway that is not ready for so long is no longer just starting.
const STARTING: SignedDuration = SignedDuration::from_secs(15);

/// What is wrong with it.
pub(super) fn trouble(
    desired: &Desired,
    observed: &Observed,
    fleet: &Fleet<'_>,
    now: Timestamp,
) -> Option<Reason> {
    let is_starting = |m: Member<'_>| !m.view.ready && now.duration_since(m.view.created) < STARTING;
    let managed = matches!(desired.backplane, Backplane::Managed(_));
    let down = (managed && !redis_ready(desired, observed)).then(|| desired.name.redis());
    let ill: Vec<_> = fleet
        .all()
        .filter(|m| m.serving() && !is_starting(*m))
        .filter_map(|m| m.view.report.fresh())
        .filter_map(|report| match &report.backplane {
            BackplaneHealth::Unhealthy { message, trouble, .. } => Some((message, *trouble)),
            BackplaneHealth::Healthy => None,
        })
        .collect();
    if let Some(&(message, trouble)) = ill.first() {
        return Some(Reason::BackplaneUnreachable {
            pods: ill.len(),
            trouble,
            message: message.clone(),
            down,
        });
    }
    down.map(|set| Reason::BackplaneNotReady { set })
}

/// Some gateway says how it looks.
pub(super) fn seen(fleet: &Fleet<'_>) -> bool {
    fleet.all().any(|m| m.serving() && m.view.report.fresh().is_some())
}

fn redis_ready(desired: &Desired, observed: &Observed) -> bool {
    let key = ObjectKey { kind: ObjectKind::StatefulSet, name: desired.name.redis() };
    let ready =
        observed.owned.get(&key).and_then(|set| set.pointer("/status/readyReplicas")).and_then(Value::as_i64);
    ready.is_some_and(|ready| ready > 0)
}
