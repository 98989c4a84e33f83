//! Who has the names that a cluster needs: the cluster itself, nobody, or somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DynamicObject, ObjectMeta};
use operator_core::desired::Desired;
use operator_core::names::{APP_MANAGED_BY, APP_NAME, CLUSTER, GATEWAY, MANAGER, PodName, REDIS};
use operator_core::observed::{ObjectKey, ObjectKind};
use operator_core::ownership::{Standing, holder, is_ours};
use operator_core::refusal::Refusal;
use operator_core::resources;
use operator_core::resources::{GeneratedSecret, generated_secrets};

use crate::context::Context;
use crate::memory::Memory;

/// Objects by whose they are.
#[derive(Default)]
pub struct Names {
    /// The cluster's, as far as the watches or a look-up show them.
    pub owned: BTreeMap<ObjectKey, Arc<DynamicObject>>,
    /// The cluster's generated Secrets that exist.
    pub secrets: Vec<GeneratedSecret>,
    /// The cluster's pods that are no longer its gateways.
    pub aside: BTreeMap<PodName, Arc<Pod>>,
    /// Not the cluster's, or not known to be.
    pub others: BTreeMap<ObjectKey, Standing>,
    /// Look-ups that were refused.
    pub refusals: BTreeMap<ObjectKey, Refusal>,
}

/// Looks who has them. What the watches show is not looked up.
pub async fn names(desired: &Desired, context: &Context, memory: &mut Memory) -> Names {
    let mut names = Names { owned: watched(desired, context, memory), ..Names::default() };
    names.aside.extend(set_aside(desired, context));
    let keys = unseen(desired, &names, memory);
    memory.lookups.refresh(&context.client, &desired.namespace, &keys).await;
    for key in keys {
        names.sort(desired, key, memory);
    }
    for (name, refusal) in memory.secrets.refused() {
        let key = ObjectKey { kind: ObjectKind::Secret, name: name.clone() };
        names.refusals.insert(key.clone(), refusal.clone());
        if memory.secrets.metadata(name).is_none() {
            names.others.insert(key, Standing::Unknown);
        }
    }
    for which in generated_secrets(desired) {
        let key = which.object(desired);
        match memory.secrets.metadata(&key.name) {
            None => {}
            Some(metadata) if is_ours(metadata, desired) => names.secrets.push(which),
            Some(metadata) => {
                names.others.insert(key, Standing::Taken(holder(metadata, desired)));
            }
        }
    }
    names
}

impl Names {
    /// Puts an object that was looked up where it belongs.
    fn sort(&mut self, desired: &Desired, key: ObjectKey, memory: &mut Memory) {
        let object = match memory.lookups.get(&key) {
            Ok(Some(object)) => object,
            Ok(None) => {
                if key.kind == ObjectKind::Pod {
                    memory.unseen_pods.remove(&PodName(key.name));
                }
                return;
            }
            Err(error) => {
                self.refusals.extend(error.and_then(|error| Some((key.clone(), error.refusal()?))));
                self.others.insert(key, Standing::Unknown);
                return;
            }
        };
        let metadata = &object.metadata;
        match key.kind {
            ObjectKind::PersistentVolumeClaim if is_redis_claim(metadata, desired) => {}
            ObjectKind::Pod if is_ours(metadata, desired) => {
                let name = PodName(key.name.clone());
                if lost_label(metadata, desired).is_none() {
                    // The watch is about to show it.
                    memory.unseen_pods.remove(&name);
                } else if let Some(pod) = as_pod(object) {
                    self.aside.insert(name, Arc::new(pod));
                }
            }
            _ if is_ours(metadata, desired) => {
                self.owned.insert(key, Arc::new(object.clone()));
            }
            _ => {
                self.others.insert(key, Standing::Taken(holder(metadata, desired)));
            }
        }
    }
}

/// The first of the labels that a pod lacks by which the watch finds it, and the operator its cluster.
pub fn lost_label(metadata: &ObjectMeta, desired: &Desired) -> Option<&'static str> {
    let labels = [(CLUSTER, desired.name.as_str()), (APP_NAME, GATEWAY), (APP_MANAGED_BY, MANAGER)];
    labels.into_iter().find(|(label, value)| !has_label(metadata, label, value)).map(|(label, _)| label)
}

/// The StatefulSet of this cluster, or one before it, made it.
fn is_redis_claim(metadata: &ObjectMeta, desired: &Desired) -> bool {
    has_label(metadata, CLUSTER, desired.name.as_str()) && has_label(metadata, APP_NAME, REDIS)
}

fn has_label(metadata: &ObjectMeta, label: &str, value: &str) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
}

fn watched(
    desired: &Desired,
    context: &Context,
    memory: &mut Memory,
) -> BTreeMap<ObjectKey, Arc<DynamicObject>> {
    let mut seen = BTreeMap::new();
    for (&kind, store) in &context.stores.owned {
        let objects = store.state_filter(|object| {
            object.metadata.namespace.as_deref() == Some(&desired.namespace)
                && is_ours(&object.metadata, desired)
        });
        seen.extend(objects.into_iter().map(|object| (ObjectKey { kind, name: object.name_any() }, object)));
    }
    memory.owned.newest(seen)
}

/// Pods that lost the label of their cluster and kept those by which they are watched.
fn set_aside(desired: &Desired, context: &Context) -> impl Iterator<Item = (PodName, Arc<Pod>)> {
    let pods = context.stores.pods.state_filter(|pod| {
        pod.metadata.namespace.as_deref() == Some(&desired.namespace)
            && is_ours(&pod.metadata, desired)
            && lost_label(&pod.metadata, desired).is_some()
    });
    pods.into_iter().map(|pod| (PodName(pod.name_any()), pod))
}

fn as_pod(object: &DynamicObject) -> Option<Pod> {
    serde_json::from_value(serde_json::to_value(object).ok()?).ok()
}

/// What the cluster needs, or came upon, and the watches do not show. The volume matters before Redis takes it.
fn unseen(desired: &Desired, names: &Names, memory: &Memory) -> BTreeSet<ObjectKey> {
    let set = ObjectKey { kind: ObjectKind::StatefulSet, name: desired.name.redis() };
    let has_redis = names.owned.contains_key(&set);
    let objects = resources::keys(desired).into_iter().filter(|key| {
        let is_taken_already = has_redis && key.kind == ObjectKind::PersistentVolumeClaim;
        !is_taken_already && !names.owned.contains_key(key)
    });
    let pods = memory.unseen_pods.iter().filter(|name| !names.aside.contains_key(*name));
    objects.chain(pods.map(|name| ObjectKey { kind: ObjectKind::Pod, name: name.0.clone() })).collect()
}
