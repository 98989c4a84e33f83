//! The cluster's size from its live connections, with the behaviour of HorizontalPodAutoscaler v2 (KEP-853, KEP-4951).

mod behavior;

use super::Reason;
use super::fleet::{Fleet, Member};
use crate::desired::{Desired, Scaling, Size};
use crate::names::PodName;
use crate::observed::{Memory, Observed, Recommendation, SizeChange};
use jiff::Timestamp;

/// The size decided, and what stood in the way.
pub(super) struct Target {
    /// Serving pods.
    pub size: u32,
    /// What the connections ask for was not granted.
    pub limit: Option<Reason>,
    /// Pods whose load is unknown.
    pub silent: Vec<PodName>,
}

/// Decides the size, and remembers why.
pub(super) fn target(
    desired: &Desired,
    fleet: &Fleet<'_>,
    observed: &Observed,
    memory: &mut Memory,
    now: Timestamp,
) -> Target {
    let silent = fleet.silent();
    match &desired.size {
        Size::Fixed(size) => {
            *memory = Memory {
                target: Some(*size),
                grants: std::mem::take(&mut memory.grants),
                ends: memory.ends.take(),
                ..Memory::default()
            };
            Target { size: *size, limit: None, silent }
        }
        Size::Scaled(scaling) => {
            let current = current(scaling, fleet, observed, memory);
            let (size, limit) = scaled(scaling, fleet, silent.len(), current, memory, now);
            memory.target = Some(size);
            Target { size, limit, silent }
        }
    }
}

/// The size decided last: remembered, or recorded in the status by a predecessor, or what serves now.
fn current(scaling: &Scaling, fleet: &Fleet<'_>, observed: &Observed, memory: &Memory) -> u32 {
    let recorded = observed.status.as_ref().and_then(|status| u32::try_from(status.desired_replicas).ok());
    let serving = || u32::try_from(fleet.count(Member::serving)).unwrap_or(u32::MAX);
    let size = memory.target.or(recorded.filter(|size| *size > 0)).unwrap_or_else(serving);
    size.clamp(scaling.min, scaling.max)
}

fn scaled(
    scaling: &Scaling,
    fleet: &Fleet<'_>,
    silent: usize,
    current: u32,
    memory: &mut Memory,
    now: Timestamp,
) -> (u32, Option<Reason>) {
    if memory.recommendations.is_empty() {
        // A new operator does not know what was recommended before: it starts with what it found, as the HPA does.
        memory.recommendations.push(Recommendation { at: now, size: current });
    }
    let wanted = wanted(scaling, fleet, silent, current);
    let bounded = wanted.clamp(scaling.min, scaling.max);
    let stable = behavior::stabilized(scaling, current, bounded, memory, now);
    let size = behavior::limited(scaling, current, stable, &memory.changes, now);
    behavior::forget(scaling, memory, now);
    if size != current {
        memory.changes.push(SizeChange { at: now, by: i64::from(size) - i64::from(current) });
    }
    let limit = if wanted > scaling.max && size == scaling.max {
        Some(Reason::TooManyConnections { wanted, max: scaling.max })
    } else if bounded > size {
        Some(Reason::ScaleUpHeld { wanted: bounded, kept: size })
    } else if bounded < size {
        Some(Reason::ScaleDownHeld { wanted: bounded, kept: size })
    } else {
        None
    };
    (size, limit)
}

/// Pods that the connections ask for. What is unknown asks for no new pod, and lets none go.
fn wanted(scaling: &Scaling, fleet: &Fleet<'_>, silent: usize, current: u32) -> u32 {
    let known =
        |m: Member<'_>| m.view.report.last().map_or(0, |(report, _)| u64::from(report.connections.total()));
    let connections: u64 = fleet.all().filter(|m| !m.ended() && !m.not_running()).map(known).sum();
    let load = connections * u64::from(100 + scaling.headroom_percent);
    let per_pod = u64::from(scaling.connections_per_pod) * 100;
    let fits = u32::try_from(load.div_ceil(per_pod)).unwrap_or(u32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
    let ratio = load as f64 / (per_pod * u64::from(current.max(1))) as f64;
    let more = ratio > 1.0 + scaling.up.tolerance;
    let less = ratio < 1.0 - scaling.down.tolerance && silent == 0;
    if more || less { fits } else { current }
}
