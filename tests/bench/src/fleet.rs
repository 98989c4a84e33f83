//! The clients: how many there are, and how fast their number changes.

use std::{cell::RefCell, cmp::Ordering, collections::BTreeMap, rc::Rc, time::Duration};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_local},
    time::{MissedTickBehavior, interval},
};

use crate::{
    channel::Channel,
    client,
    context::Context,
    stats::{ClientsRequest, Protocol},
};

/// The clients of a process.
pub struct Fleet {
    context: Rc<Context>,
    groups: RefCell<BTreeMap<Protocol, Group>>,
}

/// The clients of one protocol.
#[derive(Default)]
struct Group {
    wanted: usize,
    /// A stop signal for each.
    members: Rc<RefCell<Vec<oneshot::Sender<()>>>>,
    change: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Nobody yet.
    #[must_use]
    pub fn new(context: Rc<Context>) -> Self {
        Self { context, groups: RefCell::default() }
    }

    /// Clients asked for.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.groups.borrow().values().map(|group| group.wanted as u64).sum()
    }

    /// Changes the number of one protocol's clients from now on, at the pace asked for.
    pub fn set(&self, request: &ClientsRequest) {
        let mut groups = self.groups.borrow_mut();
        let group = groups.entry(request.protocol).or_default();
        group.wanted = request.count;
        let change = change(self.context.clone(), group.members.clone(), request.clone());
        if let Some(before) = group.change.replace(spawn_local(change)) {
            before.abort();
        }
    }
}

async fn change(
    context: Rc<Context>,
    members: Rc<RefCell<Vec<oneshot::Sender<()>>>>,
    request: ClientsRequest,
) {
    let ClientsRequest { protocol, count, channels, per_second } = request;
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second.clamp(0.1, 100_000.0)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        let live = members.borrow().len();
        match live.cmp(&count) {
            Ordering::Equal => break,
            Ordering::Greater => drop(members.borrow_mut().swap_remove(rand::random_range(0..live))),
            Ordering::Less => {
                let (stop, stopped) = oneshot::channel();
                members.borrow_mut().push(stop);
                let channel = Channel { protocol, number: live % channels.max(1) };
                spawn_local(client::run(context.clone(), channel, stopped));
            }
        }
        ticks.tick().await;
    }
}
