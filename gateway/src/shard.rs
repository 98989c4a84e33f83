//! The thread of one shard: its listening socket, its connections, its timer.

use std::{
    future::{Future, poll_fn},
    io,
    ops::ControlFlow,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use gateway_core::{policy::Policy, shard};
use mio::{Events, Poll};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    task::LocalSet,
    time::Instant,
};

use crate::{
    backplane::{BackplaneHandle, Inbox},
    listener::Listener,
    node::Node,
    places::Places,
    reactor::{Reactor, ReactorRef},
};

/// Socket events taken at once.
const EVENTS: usize = 1024;
/// Times that so many are taken before timers are handled, at most: each socket has one event.
const POLLS: usize = 64;
/// Items from the backplane taken at once, so that sockets are read in between.
const INBOUND: usize = 256;
/// What a timer is set to when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What the rest of the process asks of a shard.
pub enum Order {
    /// Go by another policy from now on. The sender is dropped once that is so.
    Exchange(Arc<Policy>, mpsc::Sender<()>),
    /// Send so many clients elsewhere.
    Evict(u32),
    /// End.
    Stop,
}

/// What a shard is started with.
pub struct Start {
    /// What the threads share.
    pub node: Arc<Node>,
    /// The core's settings, which name the shard.
    pub settings: shard::ShardSettings,
    /// What it goes by at first.
    pub policy: Arc<Policy>,
    /// Where its connections come from.
    pub listener: std::net::TcpListener,
    /// Where its operations go.
    pub backplane: BackplaneHandle,
    /// What comes back.
    pub inbound: Inbox,
    /// What it is asked to do.
    pub orders: mpsc::Receiver<Order>,
    /// TCP connections that it may have besides its WebSockets.
    pub places: usize,
}

/// Runs a shard on this thread until it is told to stop; `ready` is called once it listens.
pub fn run(start: Start, ready: impl FnOnce()) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let Start { node, settings, policy, listener, backplane, inbound, orders, places } = start;
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let reactor = Reactor::new(node.clone(), settings, policy, registry, backplane.clone());
        let places = Places::new(places, node.metrics.http_connections.clone());
        let registry = poll.registry().try_clone()?;
        let listener = Listener::new(listener, registry, places, node.clone(), backplane, reactor.clone())?;
        ready();
        Turns { node, reactor, listener, poll, inbound, orders }.run().await
    })
}

struct Turns {
    node: Arc<Node>,
    reactor: ReactorRef,
    listener: Listener,
    poll: Poll,
    inbound: Inbox,
    orders: mpsc::Receiver<Order>,
}

impl Turns {
    /// One turn after the other, whatever there is to do; sockets, the backplane and timers get theirs by chance when all have work.
    async fn run(self) -> io::Result<()> {
        let Self { node, reactor, mut listener, poll, mut inbound, mut orders } = self;
        let mut poll = readiness(poll)?;
        let rearm = reactor.borrow().rearm();
        let timer = tokio::time::sleep(IDLE);
        tokio::pin!(timer);
        let mut events = Events::with_capacity(EVENTS);
        let mut items = Vec::with_capacity(INBOUND);
        loop {
            let due = [reactor.borrow_mut().arm(), listener.next_timeout()].into_iter().flatten().min();
            let due = due.map_or_else(|| Instant::now() + IDLE, |due| node.clock.instant(due));
            if due != timer.deadline() {
                timer.as_mut().reset(due);
            }
            let unread = reactor.borrow().has_unread() || listener.has_unaccepted();
            let turn = async {
                tokio::select! {
                    guard = poll.readable_mut() => {
                        let mut guard = guard?;
                        if take_events(guard.get_inner_mut(), &mut events, &reactor, &mut listener)? {
                            guard.clear_ready();
                        }
                    }
                    () = std::future::ready(()), if unread => {
                        take_events(poll.get_mut(), &mut events, &reactor, &mut listener)?;
                    }
                    taken = inbound.recv_many(&mut items, INBOUND) => {
                        if taken == 0 {
                            return Err(io::Error::other("the backplane is gone"));
                        }
                        reactor.borrow_mut().inbound(&mut items);
                    }
                    order = orders.recv() => match order {
                        Some(Order::Exchange(policy, _told)) => reactor.borrow_mut().exchange(policy),
                        Some(Order::Evict(count)) => reactor.borrow_mut().evict(count),
                        Some(Order::Stop) | None => return Ok(ControlFlow::Break(())),
                    },
                    () = &mut timer => {
                        read_arrived(poll.get_mut(), &mut events, &reactor, &mut listener)?;
                        reactor.borrow_mut().handle_timeout();
                        listener.handle_timeout();
                    }
                    () = rearm.notified() => {}
                }
                Ok(ControlFlow::Continue(()))
            };
            let (flow, waited) = with_wait(turn).await;
            if flow?.is_break() {
                return Ok(());
            }
            // While this waits, the HTTP tasks of the thread get their turn; they get it however much there is to do here.
            if !waited {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What a future yields, and whether it had to be waited for.
async fn with_wait<F: Future>(future: F) -> (F::Output, bool) {
    let mut future = pin!(future);
    let mut waited = false;
    let output = poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        waited |= poll.is_pending();
        poll
    });
    (output.await, waited)
}

/// The poll is itself a file that is ready when one of its sockets is.
#[expect(unsafe_code, reason = "tokio cannot know that a poll keeps its file")]
fn readiness(poll: Poll) -> io::Result<AsyncFd<Poll>> {
    // SAFETY: a poll owns its file and keeps it open for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(poll, Interest::READABLE) }?)
}

/// Reads what has arrived by now, so that no client is taken for silent because its shard is late: a pong that is here was in time.
fn read_arrived(
    poll: &mut Poll,
    events: &mut Events,
    reactor: &ReactorRef,
    listener: &mut Listener,
) -> io::Result<()> {
    for _ in 0..POLLS {
        if take_events(poll, events, reactor, listener)? {
            break;
        }
    }
    Ok(())
}

/// Handles what the poll reports without waiting; whether that was all.
fn take_events(
    poll: &mut Poll,
    events: &mut Events,
    reactor: &ReactorRef,
    listener: &mut Listener,
) -> io::Result<bool> {
    match poll.poll(events, Some(Duration::ZERO)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        result => result?,
    }
    reactor.borrow_mut().sockets_ready(events);
    listener.handle_events(events);
    Ok(events.iter().count() < EVENTS)
}
