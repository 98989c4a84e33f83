//! A running gateway: its threads, started in order, watched, and ended together.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use gateway_core::{policy::Policy, shard, token::Key};
use tokio::{sync::mpsc, task::LocalSet};

use crate::{
    backplane::{self, BackplaneHandle, BackplaneThread, InboxSender, RedisConfig},
    checks::Checks,
    control::{AcceptRate, ControlPort},
    drain::Drain,
    files::{self, Files},
    jwks::{self, KeySetStatus},
    listener,
    node::Node,
    policies::Policies,
    settings::{Settings, SettingsError},
    shard::{Order, Start},
    token_keys,
    watched::{self, Exit},
};

/// Items from the backplane that wait for a shard at most.
const INBOUND: usize = 16_384;
/// The size of the publications that one answer of the backplane brings at most, however long the queue to a client may be.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Orders that wait for a shard at most.
const ORDERS: usize = 16;
/// For the shards to start listening.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    client: SocketAddr,
    control: SocketAddr,
    stopper: Stopper,
    thread: thread::JoinHandle<Result<(), GatewayError>>,
}

/// Asks a gateway to end.
#[derive(Clone, Debug)]
pub struct Stopper(mpsc::Sender<()>);

/// Why a gateway did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its settings cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Two metrics of one name.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// An address is taken, or not of this machine.
    #[error("{flag}: cannot listen on {address}: {error}")]
    Listen {
        /// The flag that names it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The backplane did not start.
    #[error(transparent)]
    Backplane(#[from] backplane::StartError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// A shard ended by itself.
    #[error("{thread} failed: {reason}")]
    Died {
        /// Which thread.
        thread: String,
        /// Why.
        reason: String,
    },
    /// A second signal came before the clients were moved.
    #[error("ended by a second signal with {connections} connections left")]
    Aborted {
        /// Those that broke.
        connections: u32,
    },
}

impl Gateway {
    /// Starts everything and returns once it serves.
    pub fn start(settings: Settings) -> Result<Self, GatewayError> {
        Self::start_with(settings, start_backplane)
    }

    fn start_with(
        settings: Settings,
        backplane: impl FnOnce(&Node, Vec<InboxSender>) -> StartedBackplane,
    ) -> Result<Self, GatewayError> {
        let keys = settings.secrets.token_keys.parse()?;
        let policy = Arc::new(settings.policy()?);
        let files = Files::share(files::raise_open_files()?, policy.limits().max_connections);
        let checks = Checks::start(settings.shard_count())?;
        let node = Arc::new(Node::new(settings, &policy, checks, files.connections)?);
        let shards = node.settings.shard_count();
        let listen = |flag, address, result: io::Result<_>| {
            result.map_err(|error| GatewayError::Listen { flag, address, error })
        };
        let address = node.settings.listen;
        let listeners = listen("--listen", address, listener::bind(address, shards))?;
        let address = node.settings.control;
        let control = listen("--control", address, listener::bind(address, 1))?.remove(0);
        let client = listeners[0].local_addr()?;
        let control_address = control.local_addr()?;

        let (queues, inbound): (Vec<_>, Vec<_>) =
            (0..shards).map(|shard| backplane::inbox(INBOUND, node.memory.inbound(shard))).unzip();
        let (handle, backplane) = backplane(&node, queues)?;
        let (exits, exited) = mpsc::channel(usize::from(shards));
        let (ready, started) = std::sync::mpsc::channel();
        let mut orders = Vec::new();
        let places = files.http / usize::from(shards);
        for ((index, listener), inbound) in (0..shards).zip(listeners).zip(inbound) {
            let (sender, receiver) = mpsc::channel(ORDERS);
            orders.push(sender);
            let start = Start {
                node: node.clone(),
                settings: core_settings(&node, index),
                policy: policy.clone(),
                listener,
                backplane: handle.clone(),
                inbound,
                orders: receiver,
                places,
            };
            let ready = ready.clone();
            // The receiver waits for every shard.
            let ready = move || _ = ready.send(());
            watched::spawn(format!("shard-{index}"), exits.clone(), || crate::shard::run(start, ready))?;
        }
        drop(ready);
        for _ in 0..shards {
            started.recv_timeout(START_WITHIN).map_err(|_| died("a shard", "it did not start"))?;
        }
        node.started.store(true, Relaxed);
        let memory_bytes = node.memory.limit();
        let (stop, stops) = mpsc::channel(2);
        let supervisor = Supervisor { node, policy, keys, handle, backplane, orders, exited, stops };
        let thread =
            thread::Builder::new().name("control".to_owned()).spawn(move || supervisor.run(control))?;
        tracing::info!(%client, control = %control_address, shards, memory_bytes, "serving");
        Ok(Self { client, control: control_address, stopper: Stopper(stop), thread })
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client
    }

    /// Where the control port is.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// Asks this gateway to end.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the gateway has ended: well after it was asked to, and with the reason otherwise.
    pub fn wait(self) -> Result<(), GatewayError> {
        self.thread.join().unwrap_or_else(|_| Err(died("control", "it panicked")))
    }
}

impl Stopper {
    /// As SIGTERM does: moves the clients away and ends. The second time, ends at once.
    pub fn stop(&self) {
        // A full queue holds two requests already, and two are all that matter.
        let _ = self.0.try_send(());
    }
}

/// The thread that watches the others and runs the control port.
struct Supervisor {
    node: Arc<Node>,
    policy: Arc<Policy>,
    keys: Vec<Key>,
    handle: BackplaneHandle,
    backplane: BackplaneThread,
    orders: Vec<mpsc::Sender<Order>>,
    exited: mpsc::Receiver<Exit>,
    stops: mpsc::Receiver<()>,
}

impl Supervisor {
    fn run(self, control: TcpListener) -> Result<(), GatewayError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let Self { node, policy, keys, handle, mut backplane, orders, mut exited, stops } = self;
            let drain = Rc::new(RefCell::new(Drain::new(node.clone(), orders.clone())));
            let policies = Policies::new(node.clone(), orders.clone(), policy, keys);
            let is_closed = !policies.in_force().auth().anonymous;
            let key_set = KeySetStatus::new(is_closed && node.settings.secrets.token_keys.is_empty());
            let rate = Rc::new(RefCell::new(AcceptRate::default()));
            let listener = tokio::net::TcpListener::from_std(control)?;
            let port = ControlPort {
                node: node.clone(),
                backplane: handle,
                drain: drain.clone(),
                policies: policies.clone(),
                key_set: key_set.clone(),
                rate: rate.clone(),
            };
            let mut serving = tokio::task::spawn_local(port.serve(listener));
            // A gateway that lacks a part ends: its clients and its kubelet find another one, instead of half of this one.
            let result = tokio::select! {
                result = drain_when_told(&node, &policies, &drain, stops) => result,
                () = sample(&node, &rate) => Ok(()),
                () = follow_token_keys(&node, &policies) => Ok(()),
                () = jwks::follow(&node, &policies, &key_set) => Ok(()),
                Some(exit) = exited.recv() => {
                    let reason = exit.result.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
                    Err(died(&exit.thread, &reason))
                }
                reason = backplane.failed() => Err(died("backplane", reason)),
                _ = &mut serving => Err(died("control", "its port is served no more")),
            };
            for orders in &orders {
                // A shard that is gone needs no order.
                let _ = orders.try_send(Order::Stop);
            }
            // The control port answers to the end.
            backplane.stop().await;
            serving.abort();
            result
        })
    }
}

/// Keeps the drain going; returns when the process is to end.
async fn drain_when_told(
    node: &Node,
    policies: &Policies,
    drain: &RefCell<Drain>,
    mut stops: mpsc::Receiver<()>,
) -> Result<(), GatewayError> {
    let mut told = false;
    loop {
        let wait = drain.borrow_mut().tick();
        if drain.borrow().is_over() {
            return Ok(());
        }
        tokio::select! {
            Some(()) = stops.recv() => {
                if told {
                    return Err(GatewayError::Aborted { connections: node.admission.open() });
                }
                told = true;
                drain.borrow_mut().terminate(policies.in_force().drain());
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// For ever, also where there is nothing to follow.
async fn follow_token_keys(node: &Node, policies: &Rc<Policies>) {
    let files = node.settings.token_key_files.clone();
    if files.paths().next().is_none() {
        return std::future::pending().await;
    }
    token_keys::follow(files, node.settings.secrets.token_keys.clone(), policies.clone()).await;
}

async fn sample(node: &Node, rate: &RefCell<AcceptRate>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let accepted = node.accepted();
        rate.borrow_mut().sample(node.clock.elapsed(), accepted.new + accepted.resumed);
    }
}

type StartedBackplane = Result<(BackplaneHandle, BackplaneThread), backplane::StartError>;

fn start_backplane(node: &Node, queues: Vec<InboxSender>) -> StartedBackplane {
    // What is read for a client has to fit the queue to it, beside what comes live, and what is read for many at once the memory.
    let page_bytes = (node.settings.config.limits.outbound_queue_bytes as usize / 2).min(MAX_PAGE_BYTES);
    match &node.settings.redis_url {
        None => backplane::spawn_memory(page_bytes, node.memory.clone(), queues),
        Some(url) => {
            let config = RedisConfig::new(url, node.settings.redis_access.clone(), node.id)?
                .with_prefix(&node.settings.redis_prefix)?
                .with_page_bytes(page_bytes);
            backplane::spawn_redis(config, node.memory.clone(), queues)
        }
    }
}

fn core_settings(node: &Node, shard: u16) -> shard::ShardSettings {
    shard::ShardSettings {
        node_name: node.settings.node_name.clone(),
        node_id: node.id,
        shard,
        shards: node.settings.shard_count(),
        version: crate::VERSION.to_owned(),
    }
}

fn died(thread: &str, reason: &str) -> GatewayError {
    GatewayError::Died { thread: thread.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpStream, sync::mpsc::channel};

    use super::*;
    use crate::backplane::{Failure, spawn_failing};

    /// Far longer than an end takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// How a gateway ends whose backplane fails like this; a client publishes to it.
    fn end_with(failure: Failure) -> String {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = Settings { listen: any, control: any, shards: 2, ..Settings::default() };
        let gateway = Gateway::start_with(settings, |_, queues| spawn_failing(failure, queues)).unwrap();
        let mut client = TcpStream::connect(gateway.client_address()).unwrap();
        client.write_all(b"POST /raw/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").unwrap();
        let (ended, end) = channel();
        thread::spawn(move || ended.send(gateway.wait()));
        end.recv_timeout(PATIENCE).unwrap().unwrap_err().to_string()
    }

    #[test]
    fn a_gateway_whose_backplane_panics_ends() {
        let end = end_with(Failure::Panic);
        // The shards lose it at the same moment, and may be the first to say so.
        assert!(
            end == "backplane failed: it panicked" || end.ends_with("failed: the backplane is gone"),
            "{end}"
        );
    }

    #[test]
    fn a_gateway_of_which_a_shard_fails_ends() {
        let end = end_with(Failure::Silence);
        assert!(end.starts_with("shard-") && end.ends_with(" failed: the backplane is gone"), "{end}");
    }
}
