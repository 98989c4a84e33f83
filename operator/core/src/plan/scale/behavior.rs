//! Stabilization windows and policies.

use crate::crd::SelectPolicy;
use crate::desired::{Change, Policy, Rules, Scaling};
use crate::observed::{Memory, Recommendation, SizeChange};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// True while `at` lies less than `window` before `now`.
fn within(at: Timestamp, window: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(window).is_ok_and(|window| now.duration_since(at) < window)
}

/// Records `wanted`, and gives the size that every recommendation of the windows agrees to.
pub(super) fn stabilized(
    scaling: &Scaling,
    current: u32,
    wanted: u32,
    memory: &mut Memory,
    now: Timestamp,
) -> u32 {
    match memory.recommendations.last_mut() {
        // Of a run of equal recommendations only the last one matters.
        Some(last) if last.size == wanted => last.at = now,
        _ => memory.recommendations.push(Recommendation { at: now, size: wanted }),
    }
    let recent = |rules: &Rules| {
        let window = rules.stabilization;
        let recent = memory.recommendations.iter().filter(move |r| within(r.at, window, now)).map(|r| r.size);
        recent.chain([wanted])
    };
    let up = recent(&scaling.up).min().unwrap_or(wanted);
    let down = recent(&scaling.down).max().unwrap_or(wanted);
    current.max(up).min(down)
}

/// `stable`, as far as the policies allow to go there from `current`.
pub(super) fn limited(
    scaling: &Scaling,
    current: u32,
    stable: u32,
    changes: &[SizeChange],
    now: Timestamp,
) -> u32 {
    if stable > current {
        stable.min(most(&scaling.up, current, changes, now).max(current))
    } else if stable < current {
        stable.max(least(&scaling.down, current, changes, now).min(current))
    } else {
        current
    }
}

fn most(rules: &Rules, current: u32, changes: &[SizeChange], now: Timestamp) -> u32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = start(policy, current, changes, now);
        let by = match policy.change {
            Change::Pods(pods) => u64::from(pods),
            Change::Percent(percent) => (start * u64::from(percent)).div_ceil(100),
        };
        u32::try_from(start + by).unwrap_or(u32::MAX)
    });
    let chosen = match rules.select {
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
        SelectPolicy::Disabled => None,
    };
    chosen.unwrap_or(current)
}

fn least(rules: &Rules, current: u32, changes: &[SizeChange], now: Timestamp) -> u32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = start(policy, current, changes, now);
        let by = match policy.change {
            Change::Pods(pods) => u64::from(pods),
            Change::Percent(percent) => (start * u64::from(percent)).div_ceil(100),
        };
        u32::try_from(start.saturating_sub(by)).unwrap_or(u32::MAX)
    });
    let chosen = match rules.select {
        SelectPolicy::Max => limits.min(),
        SelectPolicy::Min => limits.max(),
        SelectPolicy::Disabled => None,
    };
    chosen.unwrap_or(current)
}

/// The size at the start of the policy's period.
fn start(policy: &Policy, current: u32, changes: &[SizeChange], now: Timestamp) -> u64 {
    let since: i64 =
        changes.iter().filter(|change| within(change.at, policy.period, now)).map(|change| change.by).sum();
    u64::try_from(i64::from(current) - since).unwrap_or(0)
}

/// Drops what no window and no period looks back to.
pub(super) fn forget(scaling: &Scaling, memory: &mut Memory, now: Timestamp) {
    let window = scaling.up.stabilization.max(scaling.down.stabilization);
    let policies = scaling.up.policies.iter().chain(&scaling.down.policies);
    let period = policies.map(|policy| policy.period).max().unwrap_or_default();
    let newest = memory.recommendations.pop();
    memory.recommendations.retain(|recommendation| within(recommendation.at, window, now));
    memory.recommendations.extend(newest);
    memory.changes.retain(|change| within(change.at, period, now));
}
