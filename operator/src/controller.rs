//! One pass over a cluster: parse, observe, plan, execute, report. One direction, and nothing is decided here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use operator_core::crd::WebSocketClusterStatus;
use operator_core::desired::{Desired, Stored};
use operator_core::plan::Action::Drain;
use operator_core::plan::{Plan, Reason, plan, refuse};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::context::Context;
use crate::error::Error;
use crate::execute::{Executor, write_status};
use crate::memory::Memory;
use crate::observe::{newest, observe};
use crate::report::{Outcome, report};

/// Passes over a cluster once.
///
/// # Errors
/// When no plan could be made, or its status not be written. Actions that fail wait by themselves.
pub async fn reconcile(cluster: Arc<Stored>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    context.stores.synced().await?;
    let mut memory = context.memories.take(&cluster);
    let known = memory.namespace_ends;
    let outcome = pass(&cluster, &context, &mut memory).await;
    memory.failures = if outcome.is_ok() { 0 } else { memory.failures.saturating_add(1) };
    if memory.namespace_ends && !known {
        info!(
            cluster = cluster.name_any(),
            namespace = cluster.namespace(),
            "the namespace is being deleted: nothing is made any more"
        );
    }
    context.memories.put(&cluster, memory);
    context.metrics.reconciled(started.elapsed().as_secs_f64(), outcome.as_ref().err());
    Ok(outcome?.map_or_else(Action::await_change, Action::requeue))
}

/// When to try again after a failed pass: no later than its cluster wanted to be looked at anyway.
pub fn retry(cluster: Arc<Stored>, error: &Error, context: Arc<Context>) -> Action {
    warn!(cluster = cluster.name_any(), namespace = cluster.namespace(), %error, "the pass failed");
    let (failures, wake) = context.memories.retry(&cluster);
    let after = error.class().retry_after(failures);
    Action::requeue(wake.map_or(after, |wake| wake.max(Duration::from_secs(1)).min(after)))
}

/// The steps, and when to pass again if nothing happens before.
async fn pass(cluster: &Stored, context: &Context, memory: &mut Memory) -> Result<Option<Duration>, Error> {
    // What it owns goes with it, by owner references; making it anew would hold the deletion up.
    if cluster.meta().deletion_timestamp.is_some() || memory.namespace_ends {
        return Ok(None);
    }
    // 1. Parse: pure.
    let desired = match cluster.parse(&context.defaults) {
        Ok(desired) => desired,
        Err(invalid) => {
            let seen = newest(cluster, memory);
            let refusal = refuse(&seen, &invalid, Timestamp::now());
            let status_changed =
                write_status(context, cluster, seen.status(), &refusal.status, memory).await?;
            if status_changed {
                warn!(cluster = cluster.name_any(), namespace = cluster.namespace(), %invalid, "the spec is refused; what runs goes on");
            }
            let outcome = Outcome { reasons: &refusal.reasons, status_changed, done: &[], failed: &[] };
            report(context, cluster, &outcome, memory).await;
            return Ok(refusal.wake);
        }
    };
    // 2. Observe: reads.
    let seen = observe(cluster, &desired, context, memory).await?;
    // 3. Plan: pure.
    let plan = plan(&desired, &seen.observed, Timestamp::now());
    debug!(cluster = %desired.name, namespace = desired.namespace, actions = ?plan.actions, reasons = ?plan.reasons, wake = ?plan.wake, "planned");
    memory.plan = plan.memory;
    memory.wake = plan.wake;
    // 4. Execute: writes. A new size is recorded first; where that alone fails, clients are still to be moved.
    let last = seen.observed.status.as_ref();
    let recorded = if last.map_or(0, |last| last.desired_replicas) != plan.status.desired_replicas {
        write_status(context, cluster, last, &plan.status, memory).await
    } else {
        Ok(false)
    };
    let executor = Executor { context, desired: &desired, seen: &seen };
    let (done, failed) = executor.carry_out(plan.actions, memory).await;
    // 5. Report: the status and events, of what is so after that.
    let mut tried = done.iter().chain(failed.iter().map(|failure| &failure.action));
    // What a gateway is told, it tells itself in time.
    let (status, reasons) = if tried.all(|action| matches!(action, Drain { .. })) {
        (plan.status, plan.reasons)
    } else {
        outcome(cluster, &desired, context, memory).await?
    };
    let last = newest(cluster, memory);
    let written = write_status(context, cluster, last.status(), &status, memory).await;
    let status_changed = [&recorded, &written].into_iter().any(|written| matches!(written, Ok(true)));
    let outcome = Outcome { reasons: &reasons, status_changed, done: &done, failed: &failed };
    report(context, cluster, &outcome, memory).await;
    written?;
    Ok([plan.wake, memory.backoff.soonest()].into_iter().flatten().min())
}

/// Status and reasons once a plan was carried out. Nothing else is decided anew: the next pass does that.
async fn outcome(
    cluster: &Stored,
    desired: &Desired,
    context: &Context,
    memory: &mut Memory,
) -> Result<(WebSocketClusterStatus, Vec<Reason>), Error> {
    let seen = observe(cluster, desired, context, memory).await?;
    let Plan { status, reasons, .. } = plan(desired, &seen.observed, Timestamp::now());
    Ok((status, reasons))
}
