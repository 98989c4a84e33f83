//! When a status is worth a write to the API server.

use crate::crd::{DrainStatus, WebSocketClusterStatus};
use jiff::{SignedDuration, Timestamp};

/// Counts that move by themselves are written this long after the last write at the earliest: in a large cluster they never rest.
const COUNTS_PERIOD: SignedDuration = SignedDuration::from_secs(10);

/// Whether to write `status` now, where `last` is what was written last, at `written` if that is known: any change at once, but for
/// one of the counts alone, those in words included.
#[must_use]
pub fn is_due(
    last: Option<&WebSocketClusterStatus>,
    written: Option<Timestamp>,
    status: &WebSocketClusterStatus,
    now: Timestamp,
) -> bool {
    let Some(last) = last else { return true };
    let rested = written.is_none_or(|written| now.duration_since(written) >= COUNTS_PERIOD);
    last != status && (rested || without_counts(last) != without_counts(status))
}

/// Without the connections, how many of them a drain has moved, and the numbers that messages tell: pods that the connections ask
/// for, say.
fn without_counts(status: &WebSocketClusterStatus) -> WebSocketClusterStatus {
    let pace = |drain: &DrainStatus| DrainStatus { per_second: drain.per_second, ..DrainStatus::default() };
    let mut conditions = status.conditions.clone();
    for condition in &mut conditions {
        condition.message.retain(|character| !character.is_ascii_digit());
    }
    WebSocketClusterStatus {
        connections: 0,
        drain: status.drain.as_ref().map(pace),
        conditions,
        ..status.clone()
    }
}
