//! The drain of one gateway: who started it, how fast it goes, and which shard moves how many.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    control::{DrainProgress, DrainRequest, DrainTrigger},
    drain::Pacer,
};
use tokio::sync::mpsc;

use crate::{node::Node, shard::Order};

/// After the deadline, for the last close frames to be answered.
const FAREWELL: Duration = Duration::from_secs(3);
/// Between looks at the drain, at least and at most.
const TICK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Part of the granted pace that is used: a close that reaches its client late comes together with the next ones, and the grant must
/// hold as the clients see it.
const USED: f64 = 0.9;

/// Decides about the drain and gives the shards their orders.
pub struct Drain {
    node: Arc<Node>,
    orders: Vec<mpsc::Sender<Order>>,
    pacer: Pacer,
    /// What the shards had moved and declined when the pacer was told.
    settled: (u64, u64),
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    trigger: DrainTrigger,
    /// Connections per second that were granted.
    granted: f64,
    /// Until then clients are served as ever: load balancers have yet to hear that this gateway is going.
    settled_at: Duration,
    deadline: Duration,
    moved_before: u64,
}

/// A drain that SIGTERM started ends with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the drain cannot be cancelled: this gateway was told to terminate")]
pub struct NotCancellable;

impl Drain {
    /// No drain yet. `orders` go to the shards, by index.
    #[must_use]
    pub fn new(node: Arc<Node>, orders: Vec<mpsc::Sender<Order>>) -> Self {
        Self { node, orders, pacer: Pacer::default(), settled: (0, 0), running: None }
    }

    /// Starts a drain, or steers the one under way.
    pub fn request(&mut self, request: &DrainRequest) {
        let now = self.node.clock.elapsed();
        let rate = request.connections_per_second;
        let deadline = now.saturating_add(Duration::from_secs(request.deadline_seconds));
        let trigger = self.running.as_ref().map_or(DrainTrigger::Requested, |running| running.trigger);
        self.steer(trigger, rate, now, deadline);
        self.node.admission.set_draining(true);
        tracing::info!(rate, seconds = request.deadline_seconds, "drain requested");
    }

    /// Takes a requested drain back; clients that were not moved yet stay.
    pub fn cancel(&mut self) -> Result<(), NotCancellable> {
        match &self.running {
            Some(Running { trigger: DrainTrigger::Terminated, .. }) => return Err(NotCancellable),
            Some(_) => tracing::info!("drain cancelled"),
            None => {}
        }
        self.running = None;
        self.node.admission.set_draining(false);
        Ok(())
    }

    /// The process is to end. A requested drain goes on as it was steered.
    pub fn terminate(&mut self) {
        let now = self.node.clock.elapsed();
        if let Some(running) = &mut self.running {
            running.trigger = DrainTrigger::Terminated;
            return;
        }
        let config = &self.node.settings.config.drain;
        let rate = config.max_reconnects_per_second.into();
        let deadline = now + Duration::from_secs(config.timeout_seconds.into());
        let settled_at = (now + self.node.settings.settle).min(deadline);
        tracing::info!(connections = self.node.connections().total(), rate, "told to terminate; draining");
        self.steer(DrainTrigger::Terminated, rate, settled_at, deadline);
    }

    /// Moves the clients that are due; returns the time until there is more to do.
    pub fn tick(&mut self) -> Duration {
        let now = self.node.clock.elapsed();
        let declined = self.node.shards.iter().map(|shard| shard.declined()).sum();
        let settled = (self.moved(), declined);
        let before = std::mem::replace(&mut self.settled, settled);
        // A connection that waits for the backplane before it goes is due until it is closed.
        self.pacer.closed(u32::try_from(settled.0 - before.0).unwrap_or(u32::MAX), now);
        self.pacer.withdraw(u32::try_from(settled.1 - before.1).unwrap_or(u32::MAX));
        let Some(running) = &mut self.running else { return TICK.1 };
        if now < running.settled_at {
            return (running.settled_at - now).clamp(TICK.0, TICK.1);
        }
        self.node.admission.set_draining(true);
        let evictable: Vec<u32> = self.node.shards.iter().map(|shard| shard.evictable()).collect();
        let due = self.pacer.due(now, evictable.iter().sum());
        for (orders, share) in self.orders.iter().zip(shares(due, &evictable)) {
            // A shard that is too busy for an order keeps its clients, which are due again with the next tick.
            if share > 0 && orders.try_send(Order::Evict(share)).is_err() {
                self.pacer.withdraw(share);
                tracing::debug!("a shard is too busy to move clients");
            }
        }
        // The sooner a close is seen, the sooner its second is over.
        let longest = if self.pacer.pending() > 0 { TICK.0 } else { TICK.1 };
        self.pacer.next(now).clamp(TICK.0, longest)
    }

    /// How far the drain is, while there is one.
    #[must_use]
    pub fn progress(&self) -> Option<DrainProgress> {
        let running = self.running.as_ref()?;
        Some(DrainProgress {
            trigger: running.trigger,
            connections_per_second: running.granted,
            moved: self.moved() - running.moved_before,
            remaining: self.node.connections().total(),
            seconds_left: running.deadline.saturating_sub(self.node.clock.elapsed()).as_secs(),
        })
    }

    /// Whether the process may end: it was told to, and every client is gone or had its time.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let Some(Running { trigger: DrainTrigger::Terminated, deadline, .. }) = &self.running else {
            return false;
        };
        self.node.admission.open() == 0 || self.node.clock.elapsed() >= deadline.saturating_add(FAREWELL)
    }

    fn steer(&mut self, trigger: DrainTrigger, rate: f64, settled_at: Duration, deadline: Duration) {
        self.pacer.steer(rate * USED, deadline, self.node.clock.elapsed());
        let moved_before = self.running.as_ref().map_or_else(|| self.moved(), |running| running.moved_before);
        self.running = Some(Running { trigger, granted: rate, settled_at, deadline, moved_before });
    }

    fn moved(&self) -> u64 {
        self.node.shards.iter().map(|shard| shard.tally().moved).sum()
    }
}

/// Splits `due` in proportion to what each shard has; the rest of the division goes to the first shards that have more.
fn shares(due: u32, evictable: &[u32]) -> Vec<u32> {
    let total: u64 = evictable.iter().map(|&n| u64::from(n)).sum();
    let share = |n: u32| u32::try_from(u64::from(due) * u64::from(n) / total.max(1)).unwrap_or(due).min(n);
    let mut shares: Vec<u32> = evictable.iter().map(|&n| share(n)).collect();
    let mut rest = due.saturating_sub(shares.iter().sum());
    for (share, &n) in shares.iter_mut().zip(evictable) {
        let more = rest.min(n - *share);
        *share += more;
        rest -= more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_move_clients_in_proportion_to_what_they_have() {
        assert_eq!(shares(10, &[600, 400]), [6, 4]);
        assert_eq!(shares(1, &[600, 400]), [1, 0]);
        assert_eq!(shares(10, &[3, 0, 2]), [3, 0, 2]);
        assert_eq!(shares(0, &[5, 5]), [0, 0]);
        assert_eq!(shares(5, &[]), Vec::<u32>::new());
        assert_eq!(
            shares(u32::MAX, &[u32::MAX, 1]).iter().map(|&n| u64::from(n)).sum::<u64>(),
            u64::from(u32::MAX)
        );
    }
}
