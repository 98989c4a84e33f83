//! Writes to the objects around the pods. One that exists is changed or removed only if the cluster controls it, which the API
//! server is asked right before, and on condition that it is still the same.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use operator_core::names::MANAGER;
use operator_core::observed::ObjectKey;
use operator_core::ownership::is_ours;
use serde_json::{Value, json};

use super::{Executor, fields, unless_gone};
use crate::error::Error;
use crate::kubernetes::call;
use crate::memory::Memory;
use crate::watches::api_resource;

impl Executor<'_> {
    pub(super) async fn apply(
        &self,
        key: &ObjectKey,
        manifest: &Value,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let seen = self.observed().owned.get(key).and_then(|live| live["metadata"]["uid"].as_str());
        let written = match seen {
            None => self.create(key, manifest).await,
            Some(uid) => self.change(key, uid, manifest).await,
        };
        // Whoever has it is looked at anew, and so is what we wrote if no watch shows it.
        memory.lookups.forget(key);
        let mut written = written?;
        written.metadata.managed_fields = None;
        let answer = serde_json::to_value(&written).unwrap_or_default();
        memory.rewrites.applied(key, manifest, &answer, Timestamp::now());
        if seen.is_some() {
            memory.owned.changed(key.clone(), written);
        } else {
            memory.owned.created(key.clone(), written);
        }
        Ok(())
    }

    /// Not by an apply: that would take over an object of this name that came to be in between.
    async fn create(&self, key: &ObjectKey, manifest: &Value) -> Result<DynamicObject, Error> {
        let doing = || self.doing("make", key);
        let object: DynamicObject = serde_json::from_value(manifest.clone()).map_err(|error| {
            Error::Kube { doing: doing(), source: Box::new(kube::Error::SerdeError(error)) }
        })?;
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        call(doing, self.objects(key).create(&params, &object)).await
    }

    async fn change(&self, key: &ObjectKey, uid: &str, manifest: &Value) -> Result<DynamicObject, Error> {
        let api = self.objects(key);
        let live = call(|| self.doing("look at", key), api.get(&key.name)).await?;
        if live.metadata.uid.as_deref() != Some(uid) || !is_ours(&live.metadata, self.desired) {
            return Err(Error::NotOurs { doing: self.doing("apply", key) });
        }
        if let Some(managers) = fields::as_applied(live.managed_fields()) {
            let version = live.resource_version();
            let owners =
                json!({"metadata": {"uid": uid, "resourceVersion": version, "managedFields": managers}});
            let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            let owners = Patch::Merge(owners);
            call(|| self.doing("take over the fields of", key), api.patch(&key.name, &params, &owners))
                .await?;
        }
        let mut manifest = manifest.clone();
        manifest["metadata"]["uid"] = json!(uid);
        let params = PatchParams::apply(MANAGER).force();
        call(|| self.doing("apply", key), api.patch(&key.name, &params, &Patch::Apply(&manifest))).await
    }

    /// On condition that nobody has changed it since, its owner for instance.
    pub(super) async fn remove(&self, key: &ObjectKey) -> Result<(), Error> {
        let metadata = self.observed().owned.get(key).map(|object| &object["metadata"]);
        let text = |field: &str| Some(metadata?[field].as_str()?.to_owned());
        let seen = Preconditions { uid: text("uid"), resource_version: text("resourceVersion") };
        if seen.uid.is_none() {
            return Err(Error::NotOurs { doing: self.doing("remove", key) });
        }
        let params = DeleteParams::background().preconditions(seen);
        let api = self.objects(key);
        let removed = call(|| self.doing("remove", key), api.delete(&key.name, &params)).await;
        unless_gone(removed.map(drop))
    }

    fn objects(&self, key: &ObjectKey) -> Api<DynamicObject> {
        Api::namespaced_with(self.context.client.clone(), &self.desired.namespace, &api_resource(key.kind))
    }

    fn doing(&self, verb: &str, key: &ObjectKey) -> String {
        format!("{verb} {} {}/{}", key.kind.as_str(), self.desired.namespace, key.name)
    }
}
