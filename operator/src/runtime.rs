//! Wiring: client, lease, watches, admin server, end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{FutureExt, Shared};
use futures::stream::FuturesUnordered;
use kube::runtime::Controller;
use kube::runtime::controller;
use kube::runtime::reflector::Store;
use kube::{Client, Config, ResourceExt};
use operator_core::desired::{Defaults, Stored};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::admin::Admin;
use crate::args::RunArgs;
use crate::context::Context;
use crate::controller::{reconcile, retry};
use crate::gateways::Gateways;
use crate::lease::{Election, Lost};
use crate::memory::Memories;
use crate::metrics::{ClusterCondition, Metrics, Totals};
use crate::rights;
use crate::watches::{Scope, Stores, watch};

/// Passes under way may take this long to finish when the process is told to end.
const FINISH: Duration = Duration::from_secs(15);

/// Why the process ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// No way to the API server.
    #[error("the API server cannot be reached: {0}; see --help for where the operator looks")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The admin address is taken.
    #[error("--metrics-listen {0}: {1}; free the address, or give another")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The admin server ended.
    #[error("the admin server ended: {0}")]
    Admin(#[source] std::io::Error),
    /// A metric cannot be registered.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The signal handler cannot be set up.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
    /// Another operator acts, or may.
    #[error("{0}; this process ends, so that no two act")]
    Lost(Lost),
    /// The controller stopped by itself.
    #[error("the controller ended by itself")]
    Controller,
}

/// Runs the operator until it is told to end.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(args: RunArgs) -> Result<(), Ended> {
    let stop = stop_signal().map_err(Ended::Signals)?.shared();
    let metrics = Metrics::new()?;
    let client = client().await?;
    let scopes = scopes(&args.namespaces);
    let watches = watch(&client, &scopes);
    let clusters: Vec<_> = watches.iter().map(|(stores, _)| stores.clusters.clone()).collect();
    let admin = Admin::new(metrics.clone(), move || totals(&clusters));
    let listener = TcpListener::bind(args.metrics_listen).await;
    let listener = listener.map_err(|error| Ended::Listen(args.metrics_listen, error))?;
    let needed = rights::needed(&scopes, &args.lease_namespace, &args.lease_name);
    let rights = rights::tell(admin.clone(), client.clone(), needed);
    info!(version = env!("CARGO_PKG_VERSION"), admin = %args.metrics_listen, ?scopes, "started");
    tokio::select! {
        ended = admin.clone().serve(listener) => {
            let Err(error): Result<Infallible, _> = ended;
            Err(Ended::Admin(error))
        }
        never = rights => match never {},
        ended = lead(args, client, watches, metrics, stop) => {
            admin.set_ready(Err("this operator is ending".into()));
            ended
        }
    }
}

/// A namespace that is named twice is watched once: no two passes may share a cluster.
fn scopes(namespaces: &[String]) -> Vec<Scope> {
    let named: BTreeSet<_> = namespaces.iter().cloned().collect();
    if named.is_empty() {
        vec![Scope::AllNamespaces]
    } else {
        named.into_iter().map(Scope::Namespace).collect()
    }
}

/// Waits for the lease, acts while it is held, and gives it back.
async fn lead(
    args: RunArgs,
    client: Client,
    watches: Vec<(Stores, Controller<Stored>)>,
    metrics: Metrics,
    stop: Shared<impl Future<Output = ()> + Send + Sync + 'static>,
) -> Result<(), Ended> {
    let mut election = Election::new(client.clone(), &args.lease_namespace, &args.lease_name, &args.identity);
    let defaults = Defaults {
        gateway_image: args.gateway_image,
        redis_image: args.redis_image,
        image_pull_secrets: args.image_pull_secrets.into_iter().collect(),
    };
    let with_context = |(stores, controller)| {
        let context = Context {
            client: client.clone(),
            stores,
            gateways: Gateways::default(),
            leadership: election.leadership(),
            defaults: defaults.clone(),
            memories: Memories::default(),
            metrics: metrics.clone(),
            identity: args.identity.clone(),
        };
        (controller, Arc::new(context))
    };
    let controllers: Vec<_> = watches.into_iter().map(with_context).collect();
    tokio::select! {
        () = election.acquire() => {}
        () = stop.clone() => return Ok(()),
    }
    metrics.leads(true);
    let ended = tokio::select! {
        lost = election.hold() => return Err(Ended::Lost(lost)),
        ended = act(controllers, stop) => ended,
    };
    metrics.leads(false);
    election.release().await;
    ended
}

/// Passes over clusters until told to stop; those under way are finished.
async fn act(
    controllers: Vec<(Controller<Stored>, Arc<Context>)>,
    stop: Shared<impl Future<Output = ()> + Send + Sync + 'static>,
) -> Result<(), Ended> {
    let passes = controllers
        .into_iter()
        .map(|(controller, context)| reconcile_scope(controller, context, stop.clone()));
    let mut passes: FuturesUnordered<_> = passes.collect();
    // Told to end, all of them end; one that ends untold leaves its clusters alone, which a new process will not.
    let all = async { while passes.next().await.is_some() && stop.clone().now_or_never().is_some() {} };
    let finish = async {
        stop.clone().await;
        // `timeout` of nothing: whatever is still running then is cut off.
        let _ = timeout(FINISH, futures::future::pending::<()>()).await;
        warn!("passes under way did not finish in time");
    };
    tokio::select! {
        () = all => {}
        () = finish => {}
    }
    if stop.now_or_never().is_some() { Ok(()) } else { Err(Ended::Controller) }
}

/// Passes over the clusters of one scope.
async fn reconcile_scope(
    controller: Controller<Stored>,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let log = |result| {
        match result {
            Err(controller::Error::ObjectNotFound(gone)) => {
                context.memories.forget(&(*gone).into_kind_unchecked(()));
            }
            Err(controller::Error::ReconcilerFailed(..)) | Ok(_) => {}
            Err(controller::Error::QueueError(error)) => {
                context.metrics.watch_failed();
                warn!(%error, "a watch failed; it is tried again");
            }
            Err(controller::Error::RunnerError(error)) => error!(%error, "the controller failed"),
        }
        futures::future::ready(())
    };
    controller.graceful_shutdown_on(stop).run(reconcile, retry, context.clone()).for_each(log).await;
}

async fn client() -> Result<Client, Ended> {
    let config = Config::infer().await.map_err(|error| Ended::Client(error.into()))?;
    let client = Client::try_from(config).map_err(|error| Ended::Client(error.into()))?;
    let version = client.apiserver_version().await.map_err(|error| Ended::Client(error.into()))?;
    info!(version = version.git_version, "the API server answers");
    Ok(client)
}

/// Completes on SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("told to end; passes under way are finished");
    })
}

fn totals(clusters: &[Store<Stored>]) -> Totals {
    let mut totals = Totals::default();
    for cluster in clusters.iter().flat_map(Store::state) {
        totals.clusters += 1;
        let Some(status) = cluster.status() else { continue };
        totals.refused += u32::from(status.reason == "InvalidSpec");
        totals.pods = totals.pods.saturating_add(u32::try_from(status.replicas).unwrap_or_default());
        totals.draining =
            totals.draining.saturating_add(u32::try_from(status.draining_replicas).unwrap_or_default());
        totals.connections =
            totals.connections.saturating_add(u64::try_from(status.connections).unwrap_or_default());
        totals.conditions.extend(status.conditions.iter().map(|condition| ClusterCondition {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
            condition: condition.type_.clone(),
            is_true: condition.status == "True",
        }));
    }
    totals
}
