//! One shard at work: the core's decisions, its sockets, its way to the backplane, and the turns that join them.
//!
//! Each input is a turn: the core handles it, and what it puts out is written when the turn ends. Whatever the turn leads to (a
//! socket that turns out broken, a queue that overflows, a refused operation) is handled within it.

use std::{
    cell::RefCell,
    io,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    address::Site,
    backplane::{Inbound, Op},
    key::{ConnectionKey, RequestId},
    outbox::Outbox,
    policy::Policy,
    shard::{self, Opening, Shard},
    time::Now,
    token::{CheckedToken, Verifier},
    transport::Transport,
};
use mio::{Events, Registry, net::TcpStream};
use tokio::{sync::Notify, task::spawn_local};

use crate::{
    admission::Permit,
    backplane::BackplaneHandle,
    memory::{Holder, slowest},
    metrics::ShardNumbers,
    node::Node,
    ops::Ops,
    sockets::{Fault, Received, Sockets},
};

/// Read at once; shared by all connections of a shard, so that none needs a buffer of its own.
const SCRATCH: usize = 64 * 1024;
/// Reads for one event at most, so that one busy client does not hold up the others.
const READS: usize = 4;
/// With less a shard has nothing to free that would be worth the look.
const MUCH: usize = 64 * 1024;
/// Until refused operations are submitted again.
const RETRY: Duration = Duration::from_millis(10);

/// A reactor is used by its shard's loop and by the HTTP tasks of the same thread, never across an await.
pub type ReactorRef = Rc<RefCell<Reactor>>;

/// One shard.
pub struct Reactor {
    index: u16,
    core: Shard,
    io: Io,
    scratch: Box<[u8]>,
    faults: Vec<Fault>,
    numbers: Arc<ShardNumbers>,
    node: Arc<Node>,
    /// What the loop's timer is set to at the latest, as monotonic time.
    armed: Option<Duration>,
    /// Tells the loop that a timer is due earlier.
    rearm: Rc<Notify>,
    exchanges: u32,
}

/// Where the core's effects go.
struct Io {
    sockets: Sockets,
    ops: Ops,
    node: Arc<Node>,
    reactor: Weak<RefCell<Reactor>>,
    /// Whose token was handed on to be checked last.
    checking: Option<ConnectionKey>,
}

impl Outbox for Io {
    fn send(&mut self, connection: ConnectionKey, bytes: &Bytes) {
        self.sockets.send(connection, bytes);
    }

    fn waiting(&self, connection: ConnectionKey) -> usize {
        self.sockets.waiting(connection)
    }

    fn wrong_token(&self, connection: ConnectionKey) {
        if let Some(site) = self.sockets.site(connection) {
            self.node.admission.wrong_token(site, self.node.clock.elapsed());
        }
    }

    fn check(&mut self, connection: ConnectionKey, verifier: &Arc<Verifier>, token: &str) -> bool {
        let Some(site) = self.sockets.site(connection) else { return false };
        let Some(check) = self.node.checks.submit(site, verifier, token) else { return false };
        let reactor = self.reactor.clone();
        spawn_local(async move {
            // Without an answer the gateway is ending.
            if let (Ok(checked), Some(reactor)) = (check.await, reactor.upgrade()) {
                reactor.borrow_mut().checked(connection, site, checked);
            }
        });
        self.checking = Some(connection);
        true
    }

    fn unknown_key(&self) {
        self.node.unknown_keys.notify_one();
    }

    fn close(&mut self, connection: ConnectionKey) {
        self.sockets.close(connection);
    }

    fn pause(&mut self, connection: ConnectionKey) {
        self.sockets.pause(connection);
        // Whoever only waits for a token to be checked asks for nothing too much.
        if self.checking.take() != Some(connection) {
            self.node.metrics.pauses.inc();
        }
    }

    fn resume(&mut self, connection: ConnectionKey) {
        self.sockets.resume(connection);
    }

    fn submit(&mut self, waiter: Option<(ConnectionKey, RequestId)>, op: Op) {
        self.ops.submit(waiter, op);
    }
}

/// What an opening handshake was for.
#[derive(Debug)]
pub struct Upgraded {
    /// What the connection speaks.
    pub opening: Opening,
    /// What carries it.
    pub transport: Transport,
    /// Its place among the connections.
    pub permit: Permit,
    /// [`Reactor::exchanges`] when it was let in.
    pub exchanges: u32,
}

impl Reactor {
    /// A shard without connections.
    pub fn new(
        node: Arc<Node>,
        settings: shard::ShardSettings,
        policy: Arc<Policy>,
        registry: Registry,
        backplane: BackplaneHandle,
    ) -> ReactorRef {
        let index = settings.shard;
        let queue_limit = policy.limits().outbound_queue_bytes as usize;
        let numbers = node.shards[usize::from(index)].clone();
        let reactor = |reactor: &Weak<RefCell<Self>>| Self {
            index,
            core: Shard::new(settings, policy),
            io: Io {
                sockets: Sockets::new(registry, queue_limit, node.metrics.clone()),
                ops: Ops::new(backplane, index, node.metrics.clone()),
                node: node.clone(),
                reactor: reactor.clone(),
                checking: None,
            },
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            faults: Vec::new(),
            numbers,
            node,
            armed: None,
            rearm: Rc::default(),
            exchanges: 0,
        };
        Rc::new_cyclic(|this| RefCell::new(reactor(this)))
    }

    /// What the shard goes by.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        self.core.policy()
    }

    /// How often the policy has been exchanged.
    #[must_use]
    pub fn exchanges(&self) -> u32 {
        self.exchanges
    }

    /// Goes by another policy from now on.
    pub fn exchange(&mut self, policy: Arc<Policy>) {
        let now = self.node.clock.now();
        self.exchanges = self.exchanges.wrapping_add(1);
        self.io.sockets.set_queue_limit(policy.limits().outbound_queue_bytes as usize);
        self.core.exchange(policy, now);
    }

    /// Is notified when a timer is due before the time that [`Reactor::arm`] gave.
    #[must_use]
    pub fn rearm(&self) -> Rc<Notify> {
        self.rearm.clone()
    }

    /// Takes a socket whose opening handshake is done, and what was read ahead of it.
    pub fn open(
        &mut self,
        upgraded: Upgraded,
        stream: TcpStream,
        mut read_ahead: BytesMut,
    ) -> io::Result<()> {
        let now = self.node.clock.now();
        let key = self.core.open(upgraded.opening, upgraded.transport, now, &mut self.io);
        let inserted = self.io.sockets.insert(key, stream, upgraded.permit);
        if inserted.is_err() {
            self.core.hang_up(key, now, &mut self.io);
        } else {
            if upgraded.exchanges != self.exchanges {
                self.core.adapt(key, now, &mut self.io);
            }
            if !read_ahead.is_empty() {
                self.core.receive(key, &mut read_ahead, now, &mut self.io);
            }
        }
        self.finish(now);
        self.numbers.opened();
        self.rearm_if_earlier();
        inserted
    }

    /// Takes a token that was checked elsewhere. Who has gone away from a wrong one brought it all the same.
    fn checked(&mut self, key: ConnectionKey, site: Site, token: CheckedToken) {
        let (now, is_wrong) = (self.node.clock.now(), token.is_wrong());
        if !self.core.checked(key, token, now, &mut self.io) && is_wrong {
            self.node.admission.wrong_token(site, now.monotonic);
        }
        self.finish(now);
        self.rearm_if_earlier();
    }

    fn rearm_if_earlier(&self) {
        let earlier = |due| self.armed.is_none_or(|armed| due < armed);
        if self.next_timeout().is_some_and(earlier) {
            self.rearm.notify_one();
        }
    }

    /// Handles what the poll reported, and what an earlier turn left unread.
    pub fn sockets_ready(&mut self, events: &Events) {
        let now = self.node.clock.now();
        for key in self.io.sockets.take_unread() {
            // If it has ended, it has already said so.
            self.read(key, true, now);
        }
        for event in events {
            let Some(key) = self.io.sockets.key(event.token()) else { continue };
            if event.is_writable()
                && let Some(fault) = self.io.sockets.writable(key, now.monotonic)
            {
                self.faults.push(fault);
            }
            if event.is_readable() || event.is_error() {
                self.read(key, event.is_read_closed() || event.is_error(), now);
            }
            if self.io.sockets.is_full() {
                self.finish(now);
            }
        }
        self.finish(now);
    }

    /// Whether a turn is due although the poll reports nothing.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.io.sockets.has_unread()
    }

    /// Handles items from the backplane.
    pub fn inbound(&mut self, items: &mut Vec<Inbound>) {
        let now = self.node.clock.now();
        self.node.metrics.inbound.inc_by(items.len() as u64);
        for item in items.drain(..) {
            self.core.inbound(item, now, &mut self.io);
            if self.io.sockets.is_full() {
                self.finish(now);
            }
        }
        self.finish(now);
    }

    /// Sends so many clients elsewhere.
    pub fn evict(&mut self, count: u32) {
        let now = self.node.clock.now();
        let evicted = self.core.evict(count, now, &mut self.io);
        self.finish(now);
        self.numbers.evicted(evicted, count);
    }

    /// Handles what is due by now.
    pub fn handle_timeout(&mut self) {
        let now = self.node.clock.now();
        self.core.handle_timeout(now, &mut self.io);
        while let Some(key) = self.io.sockets.expired(now.monotonic) {
            self.gone(key, now);
        }
        self.finish(now);
    }

    /// When [`Reactor::handle_timeout`] has something to do, as monotonic time; the loop sets its timer to that.
    pub fn arm(&mut self) -> Option<Duration> {
        self.armed = self.next_timeout();
        self.armed
    }

    fn next_timeout(&self) -> Option<Duration> {
        let retry = self.io.ops.is_behind().then(|| self.node.clock.elapsed() + RETRY);
        [self.core.next_timeout(), self.io.sockets.next_timeout(), retry].into_iter().flatten().min()
    }

    fn read(&mut self, key: ConnectionKey, to_the_end: bool, now: Now) {
        for _ in 0..READS {
            let (length, more) = match self.io.sockets.read(key, &mut self.scratch) {
                Received::Some(length) => (length, true),
                Received::Last(length) => (length, to_the_end && length > 0),
                Received::Gone => return self.gone(key, now),
            };
            if length > 0 {
                self.core.receive(key, &mut self.scratch[..length], now, &mut self.io);
            }
            if !more {
                return;
            }
        }
        self.io.sockets.read_later(key);
    }

    fn gone(&mut self, key: ConnectionKey, now: Now) {
        self.io.sockets.remove(key);
        self.core.hang_up(key, now, &mut self.io);
    }

    /// Writes what the turn put out, handles what comes of that, and publishes the shard's numbers.
    fn finish(&mut self, now: Now) {
        self.io.ops.retry();
        let mut has_shed = false;
        loop {
            self.io.sockets.flush(now.monotonic, &mut self.faults);
            let refused = self.io.ops.take_refused();
            if self.faults.is_empty() && refused.is_empty() {
                if has_shed || !self.shed(now) {
                    break;
                }
                has_shed = true;
            }
            for fault in std::mem::take(&mut self.faults) {
                match fault {
                    Fault::Gone(key) => self.gone(key, now),
                    Fault::Overflow(key) => {
                        self.node.metrics.slow_consumers.inc();
                        self.io.sockets.discard(key);
                        self.core.overflow(key, now, &mut self.io);
                    }
                }
            }
            for item in refused {
                self.core.inbound(item, now, &mut self.io);
            }
        }
        let tally = self.core.tally();
        let moved = tally.moved - self.numbers.tally().moved;
        if moved > 0 {
            // One line per turn: its time is when these clients were told to go, whatever the network does then.
            tracing::debug!(count = moved, "moved clients");
        }
        let traffic = self.io.sockets.traffic();
        self.numbers.store(self.core.connections(), self.core.accepted(), tally, traffic);
    }

    /// Closes the slowest clients where the process holds too much. Whether it did, so that something is to be written again.
    fn shed(&mut self, now: Now) -> bool {
        let held = self.io.sockets.held() + self.core.held();
        self.node.memory.clients_hold(self.index, held);
        let excess = if held < MUCH { 0 } else { self.node.memory.excess(self.index) };
        if excess == 0 {
            return false;
        }
        let stalled = |since| now.monotonic.saturating_sub(since);
        let waiting = self.io.sockets.slow();
        let holders = waiting.chain(self.core.unhandled(now)).map(|(key, bytes, since)| Holder {
            key,
            bytes,
            stalled: stalled(since),
        });
        for key in slowest(holders.collect(), excess) {
            self.node.metrics.shed.inc();
            self.io.sockets.discard(key);
            self.core.overflow(key, now, &mut self.io);
        }
        true
    }
}
