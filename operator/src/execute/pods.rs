//! Writes to gateway pods, and words with the gateways in them.

use gateway_core::control::DrainRequest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use operator_core::names::{
    DRAIN_DEADLINE, DRAIN_REASON, DRAIN_SINCE, DRAINING, MANAGER, PodName, SERVING, TRAFFIC,
};
use operator_core::observed::DrainCause;
use operator_core::ownership::is_ours;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Executor, seconds_until, unless_gone};
use crate::error::Error;
use crate::gateways::Gateway;
use crate::kubernetes::call;
use crate::memory::Memory;
use crate::observe::names::lost_label;
use crate::watches::slim;

impl Executor<'_> {
    pub(super) async fn create_pod(&self, pod: &Pod, memory: &mut Memory) -> Result<(), Error> {
        let name = PodName(pod.name_any());
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let api = self.pods();
        let mut created = match call(|| self.of_pod("create", &name.0), api.create(&params, pod)).await {
            Err(error) if error.is_answer(409) => self.pod_of_that_name(&name, memory).await?,
            answer => answer?,
        };
        if let Some(label) = lost_label(&created.metadata, self.desired) {
            // It would not be seen, and another be made in its place, without an end.
            let seen = Preconditions { uid: created.metadata.uid, resource_version: None };
            let params = DeleteParams::default().preconditions(seen);
            call(|| self.of_pod("delete", &name.0), api.delete(&name.0, &params)).await?;
            return Err(Error::Relabelled { doing: self.of_pod("create", &name.0), label: label.into() });
        }
        slim(&mut created);
        memory.pods.created(name, created);
        Ok(())
    }

    /// One that the watch does not show yet; another's, or one that was set aside, is passed over by the next plan.
    async fn pod_of_that_name(&self, name: &PodName, memory: &mut Memory) -> Result<Pod, Error> {
        let found = call(|| self.of_pod("look at", &name.0), self.pods().get(&name.0)).await?;
        if is_ours(&found.metadata, self.desired) && lost_label(&found.metadata, self.desired).is_none() {
            return Ok(found);
        }
        memory.unseen_pods.insert(name.clone());
        Err(Error::NotOurs { doing: self.of_pod("create", &name.0) })
    }

    pub(super) async fn mark_draining(
        &self,
        pod: &PodName,
        cause: DrainCause,
        since: Timestamp,
        deadline: Option<Timestamp>,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let annotations = json!({
            DRAIN_REASON: cause.as_str(),
            DRAIN_SINCE: since.to_string(),
            DRAIN_DEADLINE: deadline.map(|deadline| deadline.to_string()),
        });
        self.relabel(pod, traffic(DRAINING), annotations, memory).await
    }

    pub(super) async fn drain(&self, pod: &PodName, rate: f64, deadline: Timestamp) -> Result<(), Error> {
        let gateway = self.gateway(pod, "drain")?;
        let request =
            DrainRequest { connections_per_second: rate, deadline_seconds: seconds_until(deadline) };
        let told = self.context.gateways.drain(gateway, &request).await;
        told.map_err(|source| Error::Gateway { doing: self.of_pod("drain", &pod.0), source })
    }

    /// The gateway first: clients must not be sent to one that goes on draining.
    pub(super) async fn cancel_drain(&self, pod: &PodName, memory: &mut Memory) -> Result<(), Error> {
        let gateway = self.gateway(pod, "cancel the drain of")?;
        let told = self.context.gateways.cancel_drain(gateway).await;
        told.map_err(|source| Error::Gateway { doing: self.of_pod("cancel the drain of", &pod.0), source })?;
        let annotations = json!({DRAIN_REASON: null, DRAIN_SINCE: null, DRAIN_DEADLINE: null});
        self.relabel(pod, traffic(SERVING), annotations, memory).await
    }

    pub(super) async fn delete_pod(
        &self,
        pod: &PodName,
        uid: &str,
        resource_version: &str,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let seen = Preconditions { uid: Some(uid.into()), resource_version: Some(resource_version.into()) };
        let params = DeleteParams::default().preconditions(seen);
        let api = self.pods();
        let deleted = call(|| self.of_pod("delete", &pod.0), api.delete(&pod.0, &params)).await;
        unless_gone(deleted.map(|answer| {
            if let Some(mut ending) = answer.left() {
                slim(&mut ending);
                memory.pods.changed(pod.clone(), ending);
            }
        }))
    }

    pub(super) async fn relabel(
        &self,
        pod: &PodName,
        labels: BTreeMap<String, String>,
        annotations: Value,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let uid = self.observed().pods.get(pod).map(|view| view.uid.clone());
        // The uid makes the API server refuse if another pod has this name by now.
        let metadata = json!({"uid": uid, "labels": labels, "annotations": annotations});
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let api = self.pods();
        let mut patched = call(|| self.of_pod("relabel", &pod.0), api.patch(&pod.0, &params, &patch)).await?;
        let lost = labels.into_iter().find(|(label, value)| patched.labels().get(label) != Some(value));
        slim(&mut patched);
        memory.pods.changed(pod.clone(), patched);
        let doing = || self.of_pod("relabel", &pod.0);
        lost.map_or(Ok(()), |(label, _)| Err(Error::Relabelled { doing: doing(), label }))
    }

    fn gateway(&self, pod: &PodName, verb: &str) -> Result<&Gateway, Error> {
        let none = || Error::NoGateway { doing: self.of_pod(verb, &pod.0) };
        self.seen.gateways.get(pod).ok_or_else(none)
    }

    fn of_pod(&self, verb: &str, name: &str) -> String {
        format!("{verb} Pod {}/{name}", self.desired.namespace)
    }
}

fn traffic(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(TRAFFIC.into(), value.into())])
}
