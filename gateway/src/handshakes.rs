//! TCP connections of a shard that have not brought a request yet. When there are too many, the one that has waited longest makes
//! room: whoever opens connections and says nothing keeps nobody else out.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    rc::Rc,
};

use prometheus::IntGauge;
use tokio::task::AbortHandle;

/// HTTP connections of a shard that are kept open between requests; further ones are closed after each answer.
const MAX_KEPT: usize = 256;

/// The waiting connections of one shard.
#[derive(Clone, Debug)]
pub struct Handshakes(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    next: u64,
    /// In the order they came; a connection is here until its first request.
    waiting: BTreeMap<u64, AbortHandle>,
    /// Connections that had their first request and are still HTTP.
    kept: usize,
    gauge: IntGauge,
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
        let inner = Inner { limit: limit.max(1), next: 0, waiting: BTreeMap::new(), kept: 0, gauge };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Starts the task of a new connection on this thread; ends the one that has waited longest when there are too many.
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, serve: impl FnOnce(Rc<Handshake>) -> F) {
        let id = self.0.borrow().next;
        let handshake = Handshake { id, arrived: Cell::new(false), of: self.clone() };
        let task = tokio::task::spawn_local(serve(Rc::new(handshake))).abort_handle();
        let mut inner = self.0.borrow_mut();
        inner.next += 1;
        inner.waiting.insert(id, task);
        inner.gauge.inc();
        if inner.waiting.len() > inner.limit
            && let Some((_, oldest)) = inner.waiting.pop_first()
        {
            inner.gauge.dec();
            oldest.abort();
        }
    }

    fn leave(&self, id: u64) -> bool {
        let mut inner = self.0.borrow_mut();
        let waited = inner.waiting.remove(&id).is_some();
        if waited {
            inner.gauge.dec();
        }
        waited
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

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn the_one_that_has_waited_longest_makes_room() {
        let handshakes = Handshakes::new(2, IntGauge::new("g", "g").unwrap());
        let served: Rc<RefCell<Vec<Rc<Handshake>>>> = Rc::default();
        for _ in 0..3 {
            let served = served.clone();
            handshakes.spawn(|handshake| async move {
                served.borrow_mut().push(handshake);
                future::pending().await
            });
        }
        tokio::task::yield_now().await;
        let waiting: Vec<u64> = handshakes.0.borrow().waiting.keys().copied().collect();
        assert_eq!((waiting, handshakes.0.borrow().gauge.get()), (vec![1, 2], 2));
    }

    #[tokio::test(flavor = "local")]
    async fn a_connection_that_has_brought_a_request_is_not_ended_for_others() {
        let handshakes = Handshakes::new(1, IntGauge::new("g", "g").unwrap());
        for _ in 0..2 {
            handshakes.spawn(|handshake| async move {
                assert!(!handshake.has_arrived());
                future::pending().await
            });
            tokio::task::yield_now().await;
        }
        assert_eq!((handshakes.0.borrow().waiting.len(), handshakes.0.borrow().kept), (0, 2));
    }
}
