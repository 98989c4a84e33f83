//! When gateways moved their clients, by their own clocks: read from the pods' logs while they run, so that the pace is known
//! however late this machine lets the clients see it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tokio::task::JoinSet;

use crate::{gateways::Gateways, wait::eventually};

/// What the gateways log at level debug; see `evict` in gateway/src/reactor.rs.
const MOVED: &str = "moved clients count=";
/// The filter with which they do.
pub const LOG_FILTER: &str = "info,mooring_gateway::reactor=debug";
/// Between looks for new pods; shorter than a pod lives.
const PERIOD: Duration = Duration::from_millis(250);
/// How long the last lines may take to get here.
const COMPLETE: Duration = Duration::from_secs(20);

/// Follows the logs of a cluster's gateways from its creation until it is dropped.
pub struct Journal {
    moved: Arc<Mutex<Vec<(Timestamp, u64)>>>,
    _follower: JoinSet<()>,
}

/// The moves within some time, in order.
#[derive(Clone, Debug)]
pub struct Moves(Vec<(Timestamp, u64)>);

impl Journal {
    /// Counts from now on.
    #[must_use]
    pub fn follow(gateways: &Gateways) -> Self {
        let moved = Arc::new(Mutex::new(Vec::new()));
        let mut follower = JoinSet::new();
        follower.spawn(follow_all(gateways.clone(), Timestamp::now(), moved.clone()));
        Self { moved, _follower: follower }
    }

    /// Waits until the journal tells of `clients` moves, as many as the clients have seen, and gives them. A journal that has fewer
    /// shows nothing, and one with more saw moves that no client did.
    pub async fn moves(&self, clients: u64) -> Moves {
        eventually("the gateways' logs tell of every move", COMPLETE, async || {
            let mut moves = self.moved.lock().unwrap().clone();
            moves.sort_unstable();
            let moves = Moves(moves);
            if moves.count() == clients { Ok(moves) } else { Err(format!("{} of {clients}", moves.count())) }
        })
        .await
    }
}

impl Moves {
    /// The most within any window of that length.
    #[must_use]
    pub fn peak(&self, window: Duration) -> u64 {
        self.windows(window).max().unwrap_or(0)
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Those before the first window of that length that has the most, and those since its start.
    #[must_use]
    pub fn split_at_peak(&self, window: Duration) -> (Self, Self) {
        let peak = self.peak(window);
        let start = self.windows(window).position(|count| count == peak).unwrap_or(0);
        let (before, since) = self.0.split_at(start);
        (Self(before.to_vec()), Self(since.to_vec()))
    }

    /// How many are in the window that begins with each of them.
    fn windows(&self, length: Duration) -> impl Iterator<Item = u64> {
        self.0.iter().enumerate().map(move |(index, (start, _))| {
            let within = |at: &Timestamp| at.duration_since(*start).unsigned_abs() < length;
            self.0[index..].iter().take_while(|(at, _)| within(at)).map(|(_, count)| count).sum()
        })
    }
}

/// Finds containers as they come, and follows the log of each.
async fn follow_all(gateways: Gateways, since: Timestamp, moved: Arc<Mutex<Vec<(Timestamp, u64)>>>) {
    let mut known = BTreeSet::new();
    let mut followers = JoinSet::new();
    let pods = gateways.scope.api::<Pod>();
    loop {
        for (name, pod) in gateways.pods().await {
            let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
            let Some(container) = statuses.into_iter().find_map(|status| status.container_id) else {
                continue;
            };
            if known.insert(container) {
                followers.spawn(follow(pods.clone(), name, since, moved.clone()));
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Reads one container's log to its end, which is the container's.
async fn follow(pods: Api<Pod>, name: String, since: Timestamp, moved: Arc<Mutex<Vec<(Timestamp, u64)>>>) {
    let parameters = LogParams { follow: true, ..LogParams::default() };
    let mut lines = match pods.log_stream(&name, &parameters).await {
        Ok(log) => log.lines(),
        Err(error) => return eprintln!("the log of {name} can't be followed: {error}"),
    };
    while let Ok(Some(line)) = lines.try_next().await {
        if let Some((at, count)) = parse(&line)
            && at >= since
        {
            moved.lock().unwrap().push((at, count));
        }
    }
}

/// The time and number of a line that tells of moves: `2026-01-31T12:00:00.123456Z DEBUG moved clients count=3`.
fn parse(line: &str) -> Option<(Timestamp, u64)> {
    let (_, count) = line.split_once(MOVED)?;
    let time = line.split_whitespace().next()?;
    Some((time.parse().ok()?, count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(millis_and_counts: &[(i64, u64)]) -> Moves {
        let at = |millis: &i64| Timestamp::from_millisecond(*millis).unwrap();
        Moves(millis_and_counts.iter().map(|(millis, count)| (at(millis), *count)).collect())
    }

    #[test]
    fn a_line_of_the_log_gives_its_time_and_number() {
        let line = "2026-01-31T12:00:00.250000Z DEBUG moved clients count=3";
        assert_eq!(parse(line), Some(("2026-01-31T12:00:00.25Z".parse().unwrap(), 3)));
        assert_eq!(parse("2026-01-31T12:00:00.250000Z  INFO drain requested rate=30"), None);
    }

    #[test]
    fn the_peak_is_that_of_any_window_and_a_window_ends_before_its_length() {
        let moves = moves(&[(0, 1), (900, 2), (1000, 4), (1899, 1), (1900, 8)]);
        assert_eq!(moves.peak(Duration::from_secs(1)), 13, "from 1,000 ms on");
        assert_eq!(moves.peak(Duration::from_millis(100)), 9, "1,899 and 1,900 ms");
    }

    #[test]
    fn moves_are_split_where_the_first_of_the_fullest_windows_begins() {
        let counts = |moves: Moves| {
            let (before, since) = moves.split_at_peak(Duration::from_secs(1));
            (before.count(), since.count())
        };
        assert_eq!(counts(moves(&[(0, 3), (1_500, 2), (2_000, 7), (2_500, 1), (9_000, 9)])), (3, 19));
        assert_eq!(counts(moves(&[])), (0, 0));
    }
}
