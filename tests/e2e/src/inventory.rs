//! Everything that is in a namespace, of whatever kind.

use std::collections::BTreeMap;

use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams},
    discovery::{Discovery, Scope as KindScope, verbs},
};

use crate::scope::Scope;

/// Kinds that say what happened or are derived from others, and that come and go by themselves.
const FLEETING: [&str; 3] = ["Event", "PodMetrics", "Lease"];

/// Everything in the namespace: `Kind/name` with its resource version.
async fn inventory(scope: &Scope) -> BTreeMap<String, String> {
    let discovery = Discovery::new(scope.client.clone()).run().await.expect("the API server tells its kinds");
    let mut inventory = BTreeMap::new();
    for (resource, capabilities) in
        discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources)
    {
        let listable =
            capabilities.supports_operation(verbs::LIST) && capabilities.scope == KindScope::Namespaced;
        if !listable || FLEETING.contains(&resource.kind.as_str()) {
            continue;
        }
        let api = Api::<DynamicObject>::namespaced_with(scope.client.clone(), &scope.namespace, &resource);
        let objects = api.list_metadata(&ListParams::default()).await.expect("objects can be listed");
        for object in objects {
            let version = object.resource_version().unwrap_or_default();
            inventory.insert(format!("{}/{}", resource.kind, object.name_any()), version);
        }
    }
    inventory
}

/// The names alone.
pub async fn names(scope: &Scope) -> Vec<String> {
    inventory(scope).await.into_keys().collect()
}

/// What nobody but the operator and Kubernetes' controllers write to: kubelet rewrites a pod's status some time after its start.
pub async fn without_pods(scope: &Scope) -> BTreeMap<String, String> {
    let mut inventory = inventory(scope).await;
    inventory.retain(|name, _| !name.starts_with("Pod/"));
    inventory
}
