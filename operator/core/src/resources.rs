//! Everything made for a cluster, one file per object; building can't fail.

mod account;
mod budget;
mod gateway;
mod policy;
mod redis;
mod secret;
mod service;

pub(crate) use gateway::MARGIN_SECONDS;
pub use gateway::{pod, pod_names};
pub use secret::{GeneratedSecret, generated as generated_secret};

use crate::desired::{Backplane, Desired};
use crate::names::{self, APP_INSTANCE, APP_MANAGED_BY, APP_NAME, APPLIED_HASH, CLUSTER, GATEWAY};
use crate::observed::{ObjectKey, ObjectKind};
use k8s_openapi::api::core::v1::LocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An object as it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which.
    pub key: ObjectKey,
    /// The whole manifest, with owner reference and hash.
    pub manifest: Value,
}

impl Object {
    fn new(kind: ObjectKind, name: String, object: &impl Serialize) -> Self {
        let mut manifest = serde_json::to_value(object).unwrap_or_default();
        let hash = crate::desired::hash(&manifest);
        if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            annotations[APPLIED_HASH] = Value::String(hash);
        }
        Self { key: ObjectKey { kind, name }, manifest }
    }
}

/// Every object besides Secrets and gateway pods, in the order in which they are applied, for a cluster of `size` serving pods.
#[must_use]
pub fn objects(desired: &Desired, size: u32) -> Vec<Object> {
    let mut objects = vec![
        account::gateway(desired),
        policy::gateway(desired),
        budget::gateway(desired, size),
        service::client(desired),
        service::headless(desired),
        service::control(desired),
    ];
    if let Backplane::Managed(managed) = &desired.backplane {
        objects.extend([
            policy::redis(desired),
            redis::service(desired),
            redis::stateful_set(desired, managed),
        ]);
    }
    objects
}

/// Every object that [`objects`] gives, and what it makes in turn.
#[must_use]
pub fn keys(desired: &Desired) -> Vec<ObjectKey> {
    use ObjectKind::{
        NetworkPolicy, PersistentVolumeClaim, PodDisruptionBudget, Service, ServiceAccount, StatefulSet,
    };
    let name = &desired.name;
    let mut keys = vec![
        (ServiceAccount, name.gateway()),
        (NetworkPolicy, name.gateway()),
        (PodDisruptionBudget, name.gateway()),
        (Service, name.to_string()),
        (Service, name.gateway()),
        (Service, name.control()),
    ];
    if matches!(desired.backplane, Backplane::Managed(_)) {
        keys.extend([
            (NetworkPolicy, name.redis()),
            (Service, name.redis()),
            (StatefulSet, name.redis()),
            (PersistentVolumeClaim, name.redis_claim()),
        ]);
    }
    keys.into_iter().map(|(kind, name)| ObjectKey { kind, name }).collect()
}

/// The Secrets that the operator makes for this spec.
#[must_use]
pub fn generated_secrets(desired: &Desired) -> Vec<GeneratedSecret> {
    let mut secrets = vec![GeneratedSecret::ControlToken];
    if matches!(desired.backplane, Backplane::Managed(_)) {
        secrets.push(GeneratedSecret::RedisPassword);
    }
    if desired.secrets.api_key.is_none() {
        secrets.push(GeneratedSecret::ApiKey);
    }
    secrets
}

/// Labels that find the pods of one tier of the cluster.
fn selector(desired: &Desired, app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(CLUSTER.into(), desired.name.to_string()), (APP_NAME.into(), app.into())])
}

fn label_selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn labels(desired: &Desired, app: &str) -> BTreeMap<String, String> {
    let mut labels = selector(desired, app);
    labels.insert(APP_INSTANCE.into(), desired.name.to_string());
    labels.insert(APP_MANAGED_BY.into(), names::MANAGER.into());
    labels
}

/// Nothing rather than an empty list: what a pod template does not say can't change it.
fn pull_secrets(names: &BTreeSet<String>) -> Option<Vec<LocalObjectReference>> {
    let references = names.iter().map(|name| LocalObjectReference { name: name.clone() });
    (!names.is_empty()).then(|| references.collect())
}

fn metadata(desired: &Desired, app: &str, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(desired.namespace.clone()),
        labels: Some(labels(desired, app)),
        owner_references: Some(vec![desired.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn gateway_metadata(desired: &Desired, name: String) -> ObjectMeta {
    metadata(desired, GATEWAY, name)
}
