//! What is seen of one cluster: stores, Secrets, and the reports of its gateways. Reads, and writes nothing.

pub(crate) mod names;
mod pod;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DynamicObject;
use operator_core::desired::{Desired, Stored};
use operator_core::names::{CLUSTER, CONTROL_PORT, PodName};
use operator_core::observed::{FRESH_SECONDS, ObjectKey, Observed, Report};
use operator_core::ownership::is_ours;
use operator_core::resources::GeneratedSecret;
use operator_core::resources::generated_secrets;
use serde_json::{Value, json};
use tracing::debug;

use crate::context::Context;
use crate::error::Error;
use crate::gateways::Gateway;
use crate::memory::Memory;
use names::Names;

/// Gateways of one cluster asked at once.
const ASKED_AT_ONCE: usize = 64;
/// A report younger than this is not asked for again: bursts of changes make bursts of passes.
const YOUNG_MILLIS: i64 = 500;

/// What was seen, and whom to talk to.
pub struct Observation {
    /// For the plan.
    pub observed: Observed,
    /// The control ports of the pods that can be reached.
    pub gateways: BTreeMap<PodName, Gateway>,
}

/// Looks at everything that a plan for the cluster needs.
///
/// # Errors
/// When the API server does not give a Secret. A gateway that does not answer is an observation.
pub async fn observe(
    cluster: &Stored,
    desired: &Desired,
    context: &Context,
    memory: &mut Memory,
) -> Result<Observation, Error> {
    let generated = generated_secrets(desired);
    let referenced = desired.referenced_secrets();
    let names = generated.iter().map(|which| which.name(desired));
    let names: BTreeSet<_> = names.chain(referenced.iter().map(|key| key.name.clone())).collect();
    memory.secrets.refresh(&context.client, &desired.namespace, &names).await?;

    let pods = pods(desired, context, memory);
    memory.unseen_pods.retain(|name| !pods.contains_key(name));
    memory.unseen_pods.extend(memory.live_pods.iter().filter(|name| !pods.contains_key(*name)).cloned());
    memory.live_pods = pods.iter().filter(|(_, pod)| is_live(pod)).map(|(name, _)| name.clone()).collect();
    let names = names::names(desired, context, memory).await;
    let all: BTreeMap<_, _> =
        pods.iter().chain(&names.aside).map(|(name, pod)| (name.clone(), pod.clone())).collect();
    let uids: BTreeSet<_> = all.values().filter_map(|pod| pod.uid()).collect();
    memory.reports.retain(|uid, _| uids.contains(uid));
    let gateways = gateways(desired, &all, &names, memory);
    ask(&gateways, &all, context, memory).await;

    let now = Timestamp::now();
    let view =
        |(name, pod): (&PodName, &Arc<Pod>)| Some((name.clone(), pod::view(pod, report(pod, memory, now))?));
    let (views, aside) =
        (pods.iter().filter_map(view).collect(), names.aside.iter().filter_map(view).collect());
    let owned = owned(desired, &names);
    let observed = Observed {
        pods: views,
        aside,
        rewritten: memory.rewrites.of(&owned),
        owned,
        others: names.others,
        refusals: memory.backoff.refusals().chain(names.refusals).collect(),
        secrets: referenced
            .into_iter()
            .filter(|key| memory.secrets.value(&key.name, &key.key).is_some())
            .collect(),
        status: newest(cluster, memory).status().cloned(),
        memory: memory.plan.clone(),
    };
    Ok(Observation { observed, gateways })
}

/// The cluster as last seen or as last written, whichever is newer.
pub fn newest(cluster: &Stored, memory: &mut Memory) -> Arc<Stored> {
    let seen = Arc::new(cluster.clone());
    let newest = memory.cluster.newest(BTreeMap::from([((), seen.clone())]));
    newest.into_values().next().unwrap_or(seen)
}

fn pods(desired: &Desired, context: &Context, memory: &mut Memory) -> BTreeMap<PodName, Arc<Pod>> {
    let seen = context.stores.pods.state_filter(|pod| {
        pod.metadata.namespace.as_deref() == Some(&desired.namespace)
            && pod.labels().get(CLUSTER).map(String::as_str) == Some(desired.name.as_str())
            && is_ours(&pod.metadata, desired)
    });
    memory.pods.newest(seen.into_iter().map(|pod| (PodName(pod.name_any()), pod)).collect())
}

fn is_live(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

/// The pods whose gateway can be asked: it runs, has an address, and there is a token.
fn gateways(
    desired: &Desired,
    pods: &BTreeMap<PodName, Arc<Pod>>,
    names: &Names,
    memory: &Memory,
) -> BTreeMap<PodName, Gateway> {
    if !names.secrets.contains(&GeneratedSecret::ControlToken) {
        return BTreeMap::new();
    }
    let (secret, key) = (GeneratedSecret::ControlToken.name(desired), GeneratedSecret::ControlToken.key());
    let Some(token) = memory.secrets.value(&secret, key).and_then(|token| std::str::from_utf8(token).ok())
    else {
        return BTreeMap::new();
    };
    let Ok(port) = u16::try_from(CONTROL_PORT) else { return BTreeMap::new() };
    let reachable = pods.iter().filter_map(|(name, pod)| {
        let ip = pod::address(pod)?;
        Some((name.clone(), Gateway::new(&name.0, ip, port, token)))
    });
    reachable.collect()
}

/// Asks all gateways at once, those excepted that answered a moment ago, and remembers the answers.
async fn ask(
    gateways: &BTreeMap<PodName, Gateway>,
    pods: &BTreeMap<PodName, Arc<Pod>>,
    context: &Context,
    memory: &mut Memory,
) {
    let now = Timestamp::now();
    let due = gateways.iter().filter_map(|(name, gateway)| {
        let uid = pods.get(name)?.uid()?;
        let age = memory.reports.get(&uid).map(|(_, at)| now.duration_since(*at).as_millis());
        age.is_none_or(|age| age >= i128::from(YOUNG_MILLIS)).then(|| (uid, gateway.clone()))
    });
    let questions: Vec<_> = due.collect();
    let answers = stream::iter(questions).map(|(uid, gateway)| async move {
        let answer = context.gateways.report(&gateway).await;
        (uid, gateway, answer)
    });
    let answers: Vec<_> = answers.buffer_unordered(ASKED_AT_ONCE).collect().await;
    for (uid, gateway, answer) in answers {
        context.metrics.reported(answer.is_ok());
        match answer {
            Ok(report) => {
                memory.reports.insert(uid, (report, Timestamp::now()));
            }
            Err(error) => debug!(pod = gateway.name, %error, "no report"),
        }
    }
}

fn report(pod: &Pod, memory: &Memory, now: Timestamp) -> Report {
    match pod.metadata.uid.as_ref().and_then(|uid| memory.reports.get(uid)) {
        None => Report::Never,
        Some((report, at)) if now.duration_since(*at).as_secs() < FRESH_SECONDS => {
            Report::Fresh { report: report.clone(), at: *at }
        }
        Some((report, at)) => Report::Stale { last: report.clone(), since: *at },
    }
}

/// As JSON. That a Secret exists is all a plan may know of it.
fn owned(desired: &Desired, names: &Names) -> BTreeMap<ObjectKey, Value> {
    let json = |(key, object): (&ObjectKey, &Arc<DynamicObject>)| {
        Some((key.clone(), serde_json::to_value(&**object).ok()?))
    };
    let secrets = names.secrets.iter().map(|which| (which.object(desired), json!({})));
    names.owned.iter().filter_map(json).chain(secrets).collect()
}
