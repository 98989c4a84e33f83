//! The thread of one shard: its listening socket, its connections, its timer.

use std::{cell::RefCell, io, rc::Rc, sync::Arc, time::Duration};

use gateway_core::{backplane::Inbound, shard};
use mio::{Events, Poll};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpListener,
    sync::mpsc,
    task::LocalSet,
    time::Instant,
};

use crate::{
    backplane::BackplaneHandle,
    handshakes::Handshakes,
    listener,
    node::Node,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
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
    pub settings: Arc<shard::Settings>,
    /// Where its connections come from.
    pub listener: std::net::TcpListener,
    /// Where its operations go.
    pub backplane: BackplaneHandle,
    /// What comes back.
    pub inbound: mpsc::Receiver<Inbound>,
    /// What it is asked to do.
    pub orders: mpsc::Receiver<Order>,
    /// TCP connections that may wait for their first request.
    pub handshakes: usize,
}

/// Runs a shard on this thread until it is told to stop; `ready` is called once it listens.
pub fn run(start: Start, ready: impl FnOnce()) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let Start { node, settings, listener, backplane, inbound, orders, handshakes } = start;
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let reactor = Reactor::new(node.clone(), settings.shard, settings, registry, backplane.clone());
        let reactor = Rc::new(RefCell::new(reactor));
        let handshakes = Handshakes::new(handshakes, node.metrics.handshakes().clone());
        let listener = TcpListener::from_std(listener)?;
        let accepting = tokio::task::spawn_local(listener::accept(
            listener,
            node.clone(),
            backplane,
            reactor.clone(),
            handshakes,
        ));
        ready();
        let turns = Turns { node, reactor, poll, inbound, orders }.run();
        tokio::select! {
            biased;
            result = turns => result,
            _ = accepting => Err(io::Error::other("it accepts no more connections")),
        }
    })
}

struct Turns {
    node: Arc<Node>,
    reactor: ReactorRef,
    poll: Poll,
    inbound: mpsc::Receiver<Inbound>,
    orders: mpsc::Receiver<Order>,
}

impl Turns {
    /// One turn after the other, whatever there is to do; sockets, the backplane and timers get theirs by chance when all have work.
    async fn run(self) -> io::Result<()> {
        let Self { node, reactor, poll, mut inbound, mut orders } = self;
        let mut poll = readiness(poll)?;
        let rearm = reactor.borrow().rearm();
        let timer = tokio::time::sleep(IDLE);
        tokio::pin!(timer);
        let mut events = Events::with_capacity(EVENTS);
        let mut items = Vec::with_capacity(INBOUND);
        loop {
            let due = reactor.borrow().next_timeout();
            let due = due.map_or_else(|| Instant::now() + IDLE, |due| node.clock.instant(due));
            if due != timer.deadline() {
                timer.as_mut().reset(due);
            }
            let unread = reactor.borrow().has_unread();
            tokio::select! {
                guard = poll.readable_mut() => {
                    let mut guard = guard?;
                    poll_now(guard.get_inner_mut(), &mut events)?;
                    if events.iter().count() < EVENTS {
                        guard.clear_ready();
                    }
                    reactor.borrow_mut().sockets_ready(&events);
                }
                () = std::future::ready(()), if unread => {
                    poll_now(poll.get_mut(), &mut events)?;
                    reactor.borrow_mut().sockets_ready(&events);
                }
                taken = inbound.recv_many(&mut items, INBOUND) => {
                    if taken == 0 {
                        return Err(io::Error::other("the backplane is gone"));
                    }
                    reactor.borrow_mut().inbound(&mut items);
                }
                order = orders.recv() => match order {
                    Some(Order::Evict(count)) => reactor.borrow_mut().evict(count),
                    Some(Order::Stop) | None => return Ok(()),
                },
                () = &mut timer => {
                    read_arrived(poll.get_mut(), &mut events, &reactor)?;
                    reactor.borrow_mut().handle_timeout();
                }
                () = rearm.notified() => {}
            }
            // The HTTP tasks of this thread get their turn, however much there is to do here.
            tokio::task::yield_now().await;
        }
    }
}

/// The poll is itself a file that is ready when one of its sockets is.
#[expect(unsafe_code, reason = "tokio cannot know that a poll keeps its file")]
fn readiness(poll: Poll) -> io::Result<AsyncFd<Poll>> {
    // SAFETY: a poll owns its file and keeps it open for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(poll, Interest::READABLE) }?)
}

/// Reads what has arrived by now, so that no client is taken for silent because its shard is late: a pong that is here was in time.
fn read_arrived(poll: &mut Poll, events: &mut Events, reactor: &ReactorRef) -> io::Result<()> {
    for _ in 0..POLLS {
        poll_now(poll, events)?;
        reactor.borrow_mut().sockets_ready(events);
        if events.iter().count() < EVENTS {
            break;
        }
    }
    Ok(())
}

fn poll_now(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, Some(Duration::ZERO)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result,
    }
}
