//! Places for TCP connections that speak HTTP, or have not said anything yet. When there are too many, those make room that wait for
//! their client, of whatever address has most of them, the longest waiting first: whoever opens connections and does not go on keeps
//! nobody else out. Where there are hardly any, those make room likewise that wait in a queue of this server's.
//!
//! One that has said nothing is an entry of the shard's poll, like one that has nothing to say later: it gets a task with its first
//! bytes.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use gateway_core::address::Site;
use mio::{Interest, Registry, net::TcpStream};
use prometheus::IntGauge;
use tokio::task::AbortHandle;

use crate::poll_token;

/// Of the places, the part that is kept between requests; connections beyond are closed after each answer.
const KEPT: usize = 4;
/// Of the places, the part that is made free at once when there is none left, so that the search is worth its time.
const ROOM: usize = 16;

/// The HTTP connections of one thread.
#[derive(Clone, Debug)]
pub struct Places(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// Ids are given in the order in which connections come.
    next: u64,
    /// Those without a byte of a request.
    silent: BTreeMap<u64, Silent>,
    served: BTreeMap<u64, Served>,
    /// Those of `served` that have had a request.
    kept: usize,
    gauge: IntGauge,
}

/// A connection that has said nothing.
#[derive(Debug)]
pub struct Silent {
    /// Its socket, in the shard's poll.
    pub stream: TcpStream,
    /// Who it is.
    pub peer: SocketAddr,
    /// When it is given up, as monotonic time.
    deadline: Duration,
}

/// A connection that has a task.
#[derive(Debug)]
struct Served {
    peer: IpAddr,
    task: AbortHandle,
    waits: Waits,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    ForClient,
    /// This server has a queue, which whoever fills it is not to use for keeping others out.
    InQueue,
    ForServer,
}

/// One TCP connection's place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    id: u64,
    arrived: Cell<bool>,
    of: Places,
}

/// The client is not waited for while this lives.
#[derive(Debug)]
pub struct Busy<'a>(&'a Place);

impl Places {
    /// Nobody is there. At most `limit` may be.
    #[must_use]
    pub fn new(limit: usize, gauge: IntGauge) -> Self {
        let inner = Inner {
            limit: limit.max(1),
            next: 0,
            silent: BTreeMap::new(),
            served: BTreeMap::new(),
            kept: 0,
            gauge,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Takes a new connection, which has until `deadline` to say something.
    pub fn arrive(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        deadline: Duration,
        registry: &Registry,
    ) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let id = inner.next;
        registry.register(&mut stream, poll_token::of_silent(id), Interest::READABLE)?;
        inner.next += 1;
        inner.silent.insert(id, Silent { stream, peer, deadline });
        inner.gauge.inc();
        inner.make_room();
        Ok(())
    }

    /// A connection that says something, if it is still there.
    pub fn speak(&self, id: u64) -> Option<Silent> {
        let mut inner = self.0.borrow_mut();
        let silent = inner.silent.remove(&id)?;
        inner.gauge.dec();
        Some(silent)
    }

    /// Starts the task of a connection that spoke, on this thread.
    pub fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        id: u64,
        peer: IpAddr,
        serve: impl FnOnce(Rc<Place>) -> F,
    ) {
        let place = Place { id, arrived: Cell::new(false), of: self.clone() };
        // The runtime copies what it is given several times, and this is kilobytes.
        let task = tokio::task::spawn_local(Box::pin(serve(Rc::new(place)))).abort_handle();
        let mut inner = self.0.borrow_mut();
        inner.served.insert(id, Served { peer, task, waits: Waits::ForClient });
        inner.gauge.inc();
    }

    /// Takes a new connection and starts its task at once.
    pub fn admit<F: Future<Output = ()> + 'static>(&self, peer: IpAddr, serve: impl FnOnce(Rc<Place>) -> F) {
        let id = self.0.borrow().next;
        self.spawn(id, peer, serve);
        let mut inner = self.0.borrow_mut();
        inner.next += 1;
        inner.make_room();
    }

    /// Ends those whose time to say something is over.
    pub fn expire(&self, now: Duration) {
        let mut inner = self.0.borrow_mut();
        while let Some(oldest) = inner.silent.first_entry()
            && oldest.get().deadline <= now
        {
            oldest.remove();
            inner.gauge.dec();
        }
    }

    /// When [`Places::expire`] has something to do, as monotonic time.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.0.borrow().silent.first_key_value().map(|(_, silent)| silent.deadline)
    }
}

impl Inner {
    fn make_room(&mut self) {
        if self.silent.len() + self.served.len() <= self.limit {
            return;
        }
        let count = (self.limit / ROOM).max(1);
        let silent = self.silent.iter().map(|(id, silent)| (*id, silent.peer.ip()));
        let served = |waits| {
            let served = self.served.iter().filter(move |(_, served)| served.waits == waits);
            served.map(|(id, served)| (*id, served.peer))
        };
        let site = |(id, address)| (id, Site::of(address));
        let mut waiting: BTreeMap<u64, Site> = silent.chain(served(Waits::ForClient)).map(site).collect();
        if waiting.len() <= count {
            waiting.extend(served(Waits::InQueue).map(site));
        }
        for id in those_who_go(&waiting, count) {
            let gone = self.silent.remove(&id).is_some();
            let ended = self.served.remove(&id).map(|served| served.task.abort()).is_some();
            if gone || ended {
                self.gauge.dec();
            }
        }
    }

    fn leave(&mut self, id: u64) {
        if self.served.remove(&id).is_some() {
            self.gauge.dec();
        }
    }
}

/// Which of those that wait, by their ids and whence they come, make room for `count`: as if each time the oldest went of whose address
/// there are most.
fn those_who_go(waiting: &BTreeMap<u64, Site>, count: usize) -> BTreeSet<u64> {
    let mut numbers: HashMap<Site, usize> = HashMap::new();
    waiting.values().for_each(|address| *numbers.entry(*address).or_default() += 1);
    let above = |level: usize| numbers.values().map(|number| number.saturating_sub(level)).sum::<usize>();
    let levels: Vec<usize> = (0..waiting.len()).collect();
    let level = levels.partition_point(|level| above(*level) >= count).saturating_sub(1);
    let mut going = BTreeSet::new();
    for level in [level + 1, level] {
        for (id, address) in waiting {
            let number = numbers.entry(*address).or_default();
            if *number > level && going.len() < count && !going.contains(id) {
                *number -= 1;
                going.insert(*id);
            }
        }
    }
    going
}

impl Place {
    /// A request arrived. Whether there are so many HTTP connections that this one is to be closed after its answer.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        let mut inner = self.of.0.borrow_mut();
        if !self.arrived.replace(true) {
            inner.kept += 1;
        }
        inner.kept > inner.limit / KEPT
    }

    /// The request is there, and this server's answer is what is waited for.
    #[must_use]
    pub fn work(&self) -> Busy<'_> {
        self.set_waits(Waits::ForServer);
        Busy(self)
    }

    /// The request waits in a queue of this server's. It makes room only where hardly anybody waits for a client.
    #[must_use]
    pub fn queue(&self) -> Busy<'_> {
        self.set_waits(Waits::InQueue);
        Busy(self)
    }

    fn set_waits(&self, waits: Waits) {
        if let Some(served) = self.of.0.borrow_mut().served.get_mut(&self.id) {
            served.waits = waits;
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set_waits(Waits::ForClient);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.of.0.borrow_mut();
        if self.arrived.get() {
            inner.kept -= 1;
        }
        inner.leave(self.id);
    }
}

#[cfg(test)]
mod tests;
