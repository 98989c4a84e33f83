//! TCP connections of a shard that have not brought a request yet. When there are too many, the one that has waited longest makes
//! room: whoever opens connections and says nothing keeps nobody else out.
//!
//! One that has said nothing is an entry of the shard's poll, like one that has nothing to say later: it gets a task with its first
//! bytes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use mio::{Interest, Registry, net::TcpStream};
use prometheus::IntGauge;
use tokio::task::AbortHandle;

use crate::poll_token;

/// HTTP connections of a shard that are kept open between requests; further ones are closed after each answer.
const MAX_KEPT: usize = 256;

/// The waiting connections of one shard.
#[derive(Clone, Debug)]
pub struct Handshakes(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// Ids are given in the order in which connections come.
    next: u64,
    /// Those without a byte of a request.
    silent: BTreeMap<u64, Silent>,
    /// The tasks of those without a whole request.
    talking: BTreeMap<u64, AbortHandle>,
    /// Connections that had their first request and are still HTTP.
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

/// One TCP connection's place; given back when it is dropped.
#[derive(Debug)]
pub struct Handshake {
    id: u64,
    arrived: Cell<bool>,
    of: Handshakes,
}

impl Handshakes {
    /// Nobody waits. At most `limit` may.
    #[must_use]
    pub fn new(limit: usize, gauge: IntGauge) -> Self {
        let inner = Inner {
            limit: limit.max(1),
            next: 0,
            silent: BTreeMap::new(),
            talking: BTreeMap::new(),
            kept: 0,
            gauge,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Takes a new connection, which has until `deadline` to say something; ends the one that has waited longest when there are too
    /// many.
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
        if inner.silent.len() + inner.talking.len() > inner.limit {
            inner.make_room();
        }
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
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, id: u64, serve: impl FnOnce(Rc<Handshake>) -> F) {
        let handshake = Handshake { id, arrived: Cell::new(false), of: self.clone() };
        let task = tokio::task::spawn_local(serve(Rc::new(handshake))).abort_handle();
        let mut inner = self.0.borrow_mut();
        inner.talking.insert(id, task);
        inner.gauge.inc();
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

    /// When [`Handshakes::expire`] has something to do, as monotonic time.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.0.borrow().silent.first_key_value().map(|(_, silent)| silent.deadline)
    }

    fn leave(&self, id: u64) -> bool {
        let mut inner = self.0.borrow_mut();
        let waited = inner.talking.remove(&id).is_some();
        if waited {
            inner.gauge.dec();
        }
        waited
    }
}

impl Inner {
    fn make_room(&mut self) {
        let silent = self.silent.first_entry();
        let talking = self.talking.first_entry();
        match (silent, talking) {
            (Some(silent), Some(talking)) if talking.key() < silent.key() => talking.remove().abort(),
            (Some(silent), _) => drop(silent.remove()),
            (None, Some(talking)) => talking.remove().abort(),
            (None, None) => return,
        }
        self.gauge.dec();
    }
}

impl Handshake {
    /// A request arrived. Whether there are so many HTTP connections that this one is to be closed after its answer.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        if self.of.leave(self.id) {
            self.arrived.set(true);
            self.of.0.borrow_mut().kept += 1;
        }
        self.of.0.borrow().kept > MAX_KEPT
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if self.arrived.get() {
            self.of.0.borrow_mut().kept -= 1;
        } else {
            self.of.leave(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use mio::{Poll, net::TcpListener};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// Connections of a shard, and who makes them.
    struct Arrivals {
        handshakes: Handshakes,
        listener: TcpListener,
        poll: Poll,
        clients: Vec<std::net::TcpStream>,
    }

    impl Arrivals {
        fn new(limit: usize) -> Self {
            let handshakes = Handshakes::new(limit, IntGauge::new("g", "g").unwrap());
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            Self { handshakes, listener, poll: Poll::new().unwrap(), clients: Vec::new() }
        }

        fn arrive(&mut self, deadline: Duration) {
            self.clients.push(std::net::TcpStream::connect(self.listener.local_addr().unwrap()).unwrap());
            let (stream, peer) = self.listener.accept().unwrap();
            self.handshakes.arrive(stream, peer, deadline, self.poll.registry()).unwrap();
        }

        /// A connection speaks, and what becomes of it is up to `serve`.
        fn speak<F: Future<Output = ()> + 'static>(&self, id: u64, serve: impl FnOnce(Rc<Handshake>) -> F) {
            assert!(self.handshakes.speak(id).is_some());
            self.handshakes.spawn(id, serve);
        }

        /// Ids of the silent ones, of the talking ones, and what the gauge says.
        fn waiting(&self) -> (Vec<u64>, Vec<u64>, i64) {
            let inner = self.handshakes.0.borrow();
            (
                inner.silent.keys().copied().collect(),
                inner.talking.keys().copied().collect(),
                inner.gauge.get(),
            )
        }
    }

    #[tokio::test(flavor = "local")]
    async fn the_one_that_has_waited_longest_makes_room_whether_it_said_something_or_not() {
        let mut arrivals = Arrivals::new(2);
        let served: Rc<RefCell<Vec<Rc<Handshake>>>> = Rc::default();
        arrivals.arrive(DEADLINE);
        arrivals.arrive(DEADLINE);
        let places = served.clone();
        arrivals.speak(0, |handshake| async move {
            places.borrow_mut().push(handshake);
            future::pending().await
        });
        tokio::task::yield_now().await;
        assert_eq!(arrivals.waiting(), (vec![1], vec![0], 2));
        arrivals.arrive(DEADLINE);
        assert_eq!(arrivals.waiting(), (vec![1, 2], vec![], 2));
        arrivals.arrive(DEADLINE);
        assert_eq!(arrivals.waiting(), (vec![2, 3], vec![], 2));
        assert!(arrivals.handshakes.speak(1).is_none());
    }

    #[test]
    fn one_that_says_nothing_in_time_is_ended() {
        let mut arrivals = Arrivals::new(9);
        arrivals.arrive(DEADLINE);
        arrivals.arrive(DEADLINE * 2);
        assert_eq!(arrivals.handshakes.next_timeout(), Some(DEADLINE));
        arrivals.handshakes.expire(DEADLINE);
        assert_eq!(arrivals.waiting(), (vec![1], vec![], 1));
        assert_eq!(arrivals.handshakes.next_timeout(), Some(DEADLINE * 2));
        let end = io::Read::read(&mut arrivals.clients[0], &mut [0]).unwrap();
        assert_eq!(end, 0);
    }

    #[tokio::test(flavor = "local")]
    async fn a_connection_that_has_brought_a_request_is_not_ended_for_others() {
        let mut arrivals = Arrivals::new(1);
        for id in 0..2 {
            arrivals.arrive(DEADLINE);
            arrivals.speak(id, |handshake| async move {
                assert!(!handshake.has_arrived());
                future::pending().await
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(arrivals.waiting(), (vec![], vec![], 0));
        assert_eq!(arrivals.handshakes.0.borrow().kept, 2);
    }
}
