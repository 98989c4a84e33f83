//! The only writer: carries out a plan as it stands.

mod fields;
mod objects;
mod pods;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use operator_core::crd::WebSocketClusterStatus;
use operator_core::desired::{Desired, Stored};
use operator_core::names::{MANAGER, PodName};
use operator_core::observed::{ObjectKey, ObjectKind, Observed};
use operator_core::plan::{Action, is_due};
use operator_core::resources::GeneratedSecret;
use operator_core::resources::generated_secret;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::json;
use tracing::{info, warn};

use crate::context::Context;
use crate::error::Error;
use crate::kubernetes::call;
use crate::memory::Memory;
use crate::observe::Observation;

/// Characters of a generated Secret: 190 bits.
const SECRET_LENGTH: usize = 32;

/// Carries out plans for one cluster.
pub struct Executor<'a> {
    /// Client, gateways, lead.
    pub context: &'a Context,
    /// What the plan was made for.
    pub desired: &'a Desired,
    /// What the plan was made from.
    pub seen: &'a Observation,
}

/// An action that failed.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub action: Action,
    /// Why.
    pub error: Error,
}

/// Writes the status, if [`is_due`]; tells whether it did. What waits comes with a later pass, as the reports do.
///
/// # Errors
/// When the API server refuses or does not answer, or this operator no longer leads.
pub async fn write_status(
    context: &Context,
    cluster: &Stored,
    last: Option<&WebSocketClusterStatus>,
    status: &WebSocketClusterStatus,
    memory: &mut Memory,
) -> Result<bool, Error> {
    let now = Timestamp::now();
    if !is_due(last, memory.status_written, status, now) {
        return Ok(false);
    }
    context.must_lead()?;
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let api: Api<Stored> = Api::namespaced(context.client.clone(), &namespace);
    let applied = json!({
        "apiVersion": Stored::api_version(&()),
        "kind": Stored::kind(&()),
        "metadata": {"name": name, "uid": cluster.uid()},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let applied = Patch::Apply(&applied);
    let request = api.patch_status(&name, &params, &applied);
    let written = call(|| format!("write the status of {namespace}/{name}"), request).await?;
    memory.cluster.changed((), written);
    memory.status_written = Some(now);
    Ok(true)
}

impl Executor<'_> {
    /// Carries out actions in order. One that fails waits by itself, and what else was planned for the same pod with it;
    /// the others go on. Where the namespace is being deleted, nothing does.
    pub async fn carry_out(&self, actions: Vec<Action>, memory: &mut Memory) -> (Vec<Action>, Vec<Failure>) {
        let (mut done, mut failed) = (Vec::new(), Vec::<Failure>::new());
        let planned: Vec<_> = actions.iter().map(queue).collect();
        for (action, queue) in actions.into_iter().zip(&planned) {
            let blocked =
                pod_of(&action).is_some_and(|pod| failed.iter().any(|f| pod_of(&f.action) == Some(pod)));
            if blocked || memory.backoff.holds(queue) {
                continue;
            }
            let identity = identity(&action);
            match self.act(&action, memory).await {
                Ok(()) => {
                    memory.backoff.keep(|held| held != queue);
                    self.context.metrics.acted(action.name());
                    info!(cluster = %self.desired.name, namespace = self.desired.namespace, action = identity, "done");
                    done.push(action);
                }
                Err(error) if error.is_namespace_terminating() => {
                    memory.namespace_ends = true;
                    break;
                }
                Err(error) => {
                    let refusal = error.refusal().zip(key_of(&action, self.desired));
                    let refusal = refusal.map(|(refusal, key)| (key, refusal));
                    memory.backoff.failed(queue.clone(), error.class(), refusal);
                    warn!(cluster = %self.desired.name, namespace = self.desired.namespace, action = identity, %error, "failed");
                    failed.push(Failure { action, error });
                }
            }
        }
        memory.backoff.keep(|held| planned.iter().any(|queue| queue == held));
        (done, failed)
    }

    async fn act(&self, action: &Action, memory: &mut Memory) -> Result<(), Error> {
        self.context.must_lead()?;
        match action {
            Action::Apply { key, manifest } => self.apply(key, manifest, memory).await,
            Action::Remove { key } => self.remove(key).await,
            Action::CreateSecret(which) => self.create_secret(*which).await,
            Action::CreatePod(pod) => self.create_pod(pod, memory).await,
            Action::Relabel { pod, labels } => self.relabel(pod, labels.clone(), json!({}), memory).await,
            Action::MarkDraining { pod, cause, since, deadline } => {
                self.mark_draining(pod, *cause, *since, *deadline, memory).await
            }
            Action::Drain { pod, rate, deadline } => self.drain(pod, *rate, *deadline).await,
            Action::CancelDrain { pod } => self.cancel_drain(pod, memory).await,
            Action::DeletePod { pod, uid, resource_version, why: _ } => {
                self.delete_pod(pod, uid, resource_version, memory).await
            }
        }
    }

    async fn create_secret(&self, which: GeneratedSecret) -> Result<(), Error> {
        let name = which.name(self.desired);
        let value = Alphanumeric.sample_string(&mut rand::rng(), SECRET_LENGTH);
        let secret = generated_secret(self.desired, which, &value);
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &self.desired.namespace);
        let doing = || format!("create Secret {}/{name}", self.desired.namespace);
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        // One that exists is left as it is: ours is used already, and another's is told by the next pass.
        unless_there(call(doing, api.create(&params, &secret)).await.map(drop))
    }

    fn observed(&self) -> &Observed {
        &self.seen.observed
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), &self.desired.namespace)
    }
}

/// What waits together when one of it fails: pods are all made alike, so that what keeps one from it keeps the others.
fn queue(action: &Action) -> String {
    match action {
        Action::CreatePod(_) => action.name().to_owned(),
        _ => identity(action),
    }
}

/// An action and what it is done to, for the log and to tell its repetition.
pub fn identity(action: &Action) -> String {
    let name = action.name();
    match action {
        Action::Apply { key, .. } | Action::Remove { key } => {
            format!("{name} {} {}", key.kind.as_str(), key.name)
        }
        Action::CreateSecret(which) => format!("{name} {which:?}"),
        Action::CreatePod(pod) => format!("{name} {}", pod.name_any()),
        _ => pod_of(action).map_or_else(|| name.to_owned(), |pod| format!("{name} {pod}")),
    }
}

/// The existing pod that an action is about.
pub fn pod_of(action: &Action) -> Option<&PodName> {
    match action {
        Action::Relabel { pod, .. }
        | Action::MarkDraining { pod, .. }
        | Action::Drain { pod, .. }
        | Action::CancelDrain { pod }
        | Action::DeletePod { pod, .. } => Some(pod),
        Action::Apply { .. } | Action::Remove { .. } | Action::CreateSecret(_) | Action::CreatePod(_) => None,
    }
}

/// The object that an action writes.
fn key_of(action: &Action, desired: &Desired) -> Option<ObjectKey> {
    let pod = |name: String| ObjectKey { kind: ObjectKind::Pod, name };
    match action {
        Action::Apply { key, .. } | Action::Remove { key } => Some(key.clone()),
        Action::CreateSecret(which) => Some(which.object(desired)),
        Action::CreatePod(new) => Some(pod(new.name_any())),
        _ => pod_of(action).map(|name| pod(name.0.clone())),
    }
}

/// Nothing is left to delete.
fn unless_gone(result: Result<(), Error>) -> Result<(), Error> {
    result.or_else(|error| if error.is_answer(404) { Ok(()) } else { Err(error) })
}

/// It is there already.
fn unless_there(result: Result<(), Error>) -> Result<(), Error> {
    result.or_else(|error| if error.is_answer(409) { Ok(()) } else { Err(error) })
}

/// Seconds from now, never negative, rounded up: a drain must not end before its time.
fn seconds_until(deadline: Timestamp) -> u64 {
    let millis = deadline.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    u64::try_from(millis).unwrap_or(0).div_ceil(1000)
}
