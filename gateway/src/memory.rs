//! What the process holds in memory for its clients, all of it together, and what follows from its getting near to the limit.
//!
//! Counted is what grows with what clients do or leave undone, where it waits: operations and reads that the backplane has not
//! completed, what it holds back itself, what waits for a shard, bodies and answers of HTTP, and of each shard's clients what waits for
//! them and what they have sent in part. Each kind has a counter on a cache line of its own; they are summed only when something large
//! begins, or when a shard holds much.
//!
//! Not counted are the process itself, idle connections, subscriptions and presence, and what the allocator has not given back: the
//! limit is to leave room for them and for the kernel's socket buffers.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use gateway_core::{
    backplane::{BusOp, LogOp, Op, PresenceOp},
    key::ConnectionKey,
    policy::LEAST_MEMORY,
};

use crate::budget::{Budget, Charge};

/// A request of so many bytes is no large one: it is served however much is held.
pub const SMALL: usize = 4096;

/// Bytes of the operations that are not completed at most: those that bring a message or ask for an answer are refused beyond it. The
/// others are small, and as many as the connections and their channels.
const OPERATIONS: usize = 64 * 1024 * 1024;
/// Bytes of HTTP bodies and answers: four of the largest that a configuration allows.
const BODIES: usize = 64 * 1024 * 1024;
/// Bytes that wait for one shard at most, and one item more.
const INBOUND: usize = 16 * 1024 * 1024;

/// What one process holds, by kind.
#[derive(Debug)]
pub struct Memory {
    /// `usize::MAX` for none.
    limit: usize,
    operations: Arc<Budget>,
    bodies: Arc<Budget>,
    /// By shard.
    inbound: Vec<Arc<Budget>>,
    /// By shard.
    clients: Vec<Gauge>,
    backplane: Gauge,
}

/// Written by one thread.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Gauge(AtomicUsize);

/// A client and what is held for it.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// Its connection.
    pub key: ConnectionKey,
    /// How much.
    pub bytes: usize,
    /// For how long nothing of it went on.
    pub stalled: Duration,
}

/// The limit that is in force: half of what the process may have, unless the configuration says otherwise (0 for none). The other half is
/// for what is not counted.
#[must_use]
pub fn limit(configured: Option<u64>, process: Option<u64>) -> Option<u64> {
    match configured {
        Some(0) => None,
        Some(limit) => Some(limit),
        None => process.map(|limit| (limit / 2).max(LEAST_MEMORY)),
    }
}

/// Who is closed to free so many bytes: first those for whom most is held for longest, in bytes times seconds. Who keeps up has nothing
/// waiting, and is never among them.
#[must_use]
pub fn slowest(mut holders: Vec<Holder>, bytes: usize) -> Vec<ConnectionKey> {
    holders.sort_by_key(|holder| Reverse(holder.bytes as u64 * (holder.stalled.as_secs() + 1)));
    let mut freed = 0;
    let going = holders.iter().take_while(|holder| {
        let goes = freed < bytes;
        freed += holder.bytes;
        goes
    });
    going.map(|holder| holder.key).collect()
}

impl Memory {
    /// Nothing held. Of a limit no kind with a budget of its own gets all: operations a quarter, bodies an eighth, and the shards' queues
    /// together an eighth.
    #[must_use]
    pub fn new(limit: Option<u64>, shards: u16) -> Arc<Self> {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let inbound = INBOUND.min(limit / 8 / usize::from(shards.max(1)));
        Arc::new(Self {
            limit,
            operations: Budget::new(OPERATIONS.min(limit / 4)),
            bodies: Budget::new(BODIES.min(limit / 8)),
            inbound: (0..shards).map(|_| Budget::new(inbound)).collect(),
            clients: (0..shards).map(|_| Gauge::default()).collect(),
            backplane: Gauge::default(),
        })
    }

    /// The limit, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        (self.limit != usize::MAX).then_some(self.limit)
    }

    /// Everything that is counted.
    #[must_use]
    pub fn held(&self) -> usize {
        let budgets = [&self.operations, &self.bodies].into_iter().chain(&self.inbound);
        budgets.map(|budget| budget.held()).sum::<usize>() + self.backplane.get() + self.held_by_clients()
    }

    /// What part of the limit is held, if there is one.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        self.limit().map(|limit| self.held() as f64 / limit as f64)
    }

    /// Whether nothing large is to begin, and nobody new to come: three quarters of the limit are held. What has begun already may still
    /// grow to its own bounds, and has the rest for that.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.limit != usize::MAX && self.held() > self.limit / 4 * 3
    }

    /// What a shard is to free by closing clients: with more than seven eighths held it frees its share of what leads back to thirteen
    /// sixteenths, so that the next little thing does not close the next client. The last eighth is for what arrives until they are gone.
    #[must_use]
    pub fn excess(&self, shard: u16) -> usize {
        if self.limit == usize::MAX {
            return 0;
        }
        let held = self.held();
        if held <= self.limit / 8 * 7 {
            return 0;
        }
        let of_shard = self.clients.get(usize::from(shard)).map_or(0, Gauge::get);
        let share = of_shard as f64 / self.held_by_clients().max(1) as f64;
        ((held - self.limit / 16 * 13) as f64 * share) as usize
    }

    /// Takes what an operation holds until it is completed, if there is enough: the last quarter is for small ones, so that nobody keeps them
    /// out with large ones, and what nobody could be told of is given its share in any case.
    #[must_use]
    pub fn admit(&self, op: &Op) -> Option<Charge> {
        let bytes = op.bytes();
        let is_large = match op {
            Op::Bus(BusOp::Publish(publish)) | Op::Log(LogOp::Append { publish, .. }) => {
                publish.payload.len() > SMALL
            }
            Op::Log(LogOp::Follow { since: Some(_), .. } | LogOp::Read { .. })
            | Op::Presence(PresenceOp::List { .. }) => true,
            Op::Presence(PresenceOp::Count { .. }) => false,
            Op::Bus(BusOp::Subscribe { .. } | BusOp::Release { .. })
            | Op::Log(LogOp::Follow { since: None, .. })
            | Op::Presence(PresenceOp::Enter { .. } | PresenceOp::Leave { .. }) => {
                return Some(self.operations.take(bytes));
            }
        };
        if is_large && (self.is_tight() || self.operations.is_scarce(bytes)) {
            return None;
        }
        self.operations.try_take(bytes)
    }

    /// For bodies of requests that arrive, and of answers that are being sent.
    #[must_use]
    pub fn bodies(&self) -> &Arc<Budget> {
        &self.bodies
    }

    /// For what waits for a shard.
    #[must_use]
    pub fn inbound(&self, shard: u16) -> Arc<Budget> {
        self.inbound[usize::from(shard)].clone()
    }

    /// What a shard's clients hold by now.
    pub fn clients_hold(&self, shard: u16, bytes: usize) {
        self.clients[usize::from(shard)].0.store(bytes, Relaxed);
    }

    /// What the backplane's thread holds by now, operations aside.
    pub fn backplane_holds(&self, bytes: usize) {
        self.backplane.0.store(bytes, Relaxed);
    }

    fn held_by_clients(&self) -> usize {
        self.clients.iter().map(Gauge::get).sum()
    }
}

impl Gauge {
    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gateway_core::backplane::{Payload, Publish};

    use super::*;

    const LIMIT: usize = 64 * 1024 * 1024;

    fn publish(bytes: usize) -> Op {
        let payload = Payload::Binary(Bytes::from(vec![0; bytes]));
        let channel = "c".into();
        BusOp::Publish(Publish { channel, payload, info: None, sender: None, idempotency_key: None }).into()
    }

    fn subscribe() -> Op {
        BusOp::Subscribe { channel: "c".into() }.into()
    }

    #[test]
    fn near_the_limit_large_requests_are_refused_and_small_ones_and_what_nobody_could_be_told_of_are_not() {
        let memory = Memory::new(Some(LIMIT as u64), 2);
        memory.clients_hold(0, LIMIT / 2);
        memory.clients_hold(1, LIMIT / 4);
        assert!(!memory.is_tight() && memory.admit(&publish(60_000)).is_some());
        memory.clients_hold(1, LIMIT / 4 + 1);
        assert!(memory.is_tight() && memory.admit(&publish(60_000)).is_none());
        assert!(memory.admit(&PresenceOp::List { channel: "c".into(), limit: 0 }.into()).is_none());
        assert!(memory.admit(&publish(100)).is_some() && memory.admit(&subscribe()).is_some());
        assert_eq!(memory.held(), LIMIT / 4 * 3 + 1, "what was refused or given back is not held");
    }

    #[test]
    fn operations_alone_never_take_more_than_their_quarter_of_which_large_ones_leave_a_part_to_small_ones() {
        let memory = Memory::new(Some(LIMIT as u64), 1);
        let large: Vec<_> = std::iter::from_fn(|| memory.admit(&publish(65_536))).collect();
        let quarter = LIMIT / 4;
        assert!((quarter / 4 * 3 - 70_000..=quarter / 4 * 3).contains(&memory.held()), "{}", memory.held());
        let small: Vec<_> = std::iter::from_fn(|| memory.admit(&publish(4_000))).collect();
        assert!((quarter - 5_000..=quarter).contains(&memory.held()), "{}", memory.held());
        assert!(memory.admit(&subscribe()).is_some(), "and what nobody could be told of is taken");
        drop((large, small));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn beyond_seven_eighths_each_shard_is_to_free_its_share_of_the_way_back_and_below_none_is() {
        let memory = Memory::new(Some(LIMIT as u64), 2);
        memory.clients_hold(0, LIMIT / 8 * 4);
        memory.clients_hold(1, LIMIT / 8 * 2);
        memory.backplane_holds(LIMIT / 8);
        assert_eq!([memory.excess(0), memory.excess(1)], [0, 0]);
        memory.backplane_holds(LIMIT / 4);
        let sixteenth = LIMIT / 16;
        assert_eq!(
            [memory.excess(0), memory.excess(1)].map(|bytes| bytes.div_ceil(1024)),
            [sixteenth * 2, sixteenth].map(|bytes| bytes / 1024)
        );
    }

    #[test]
    fn as_few_go_as_free_enough_and_those_first_that_hold_much_for_long() {
        let holder = |slot, bytes, seconds| Holder {
            key: ConnectionKey { slot, generation: 0 },
            bytes,
            stalled: Duration::from_secs(seconds),
        };
        let holders = vec![
            holder(0, 500_000, 0),
            holder(1, 100_000, 10),
            holder(2, 1_000_000, 10),
            holder(3, 20_000, 1),
            holder(4, 100_000, 9),
        ];
        let going = |bytes| slowest(holders.clone(), bytes).iter().map(|key| key.slot).collect::<Vec<_>>();
        assert_eq!([going(0), going(1), going(1_000_001)], [vec![], vec![2], vec![2, 1]]);
        assert_eq!(going(usize::MAX), [2, 1, 4, 0, 3]);
    }

    #[test]
    fn the_limit_is_what_is_configured_or_half_of_what_the_process_may_have() {
        assert_eq!([limit(None, None), limit(Some(0), Some(1 << 30))], [None, None]);
        assert_eq!(
            [limit(Some(1 << 25), Some(1 << 30)), limit(None, Some(1 << 30))],
            [Some(1 << 25), Some(1 << 29)]
        );
        assert_eq!(limit(None, Some(1 << 20)), Some(LEAST_MEMORY));
    }

    #[test]
    fn without_a_limit_nothing_is_refused_that_its_own_budget_allows() {
        let memory = Memory::new(None, 1);
        memory.clients_hold(0, usize::MAX / 2);
        assert_eq!((memory.limit(), memory.is_tight(), memory.excess(0)), (None, false, 0));
        assert!(memory.admit(&publish(60_000)).is_some());
    }
}
