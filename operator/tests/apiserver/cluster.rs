//! Clusters and what is around them, as a person's client makes and reads them.

use std::future::ready;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, TypeMeta,
    WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use operator_core::crd::{WebSocketCluster, WebSocketClusterStatus};
use serde_json::{Value, json};

use crate::crd;
use crate::process::{Operator, until};
use crate::release::grant;
use crate::server::Server;

/// A cluster in namespace `default`, open to everybody.
pub async fn create(client: &Client, name: &str, spec: Value) -> WebSocketCluster {
    clusters(client).create(&PostParams::default(), &crd::cluster(name, spec)).await.unwrap()
}

pub fn clusters(client: &Client) -> Api<WebSocketCluster> {
    Api::default_namespaced(client.clone())
}

pub async fn edit(client: &Client, name: &str, spec: Value) {
    let edit = Patch::Merge(json!({"spec": spec}));
    clusters(client).patch(name, &PatchParams::default(), &edit).await.unwrap();
}

pub async fn status(client: &Client, name: &str) -> WebSocketClusterStatus {
    clusters(client).get(name).await.unwrap().status.unwrap_or_default()
}

/// A condition, if it has been written.
pub async fn condition(client: &Client, name: &str, type_: &str) -> Option<Condition> {
    status(client, name).await.conditions.into_iter().find(|condition| condition.type_ == type_)
}

/// Waits until a cluster says for this reason that something is in the way, and gives its words.
pub async fn until_it_fails(client: &Client, name: &str, reason: &str) -> String {
    until(&format!("{name} to say {reason}"), || async {
        let status = status(client, name).await;
        let is_said = |type_: &str, value: &str| {
            status
                .conditions
                .iter()
                .any(|one| one.type_ == type_ && one.status == value && one.reason == reason)
        };
        status.reason == reason && is_said("ReplicaFailure", "True") && is_said("Ready", "False")
    })
    .await;
    condition(client, name, "ReplicaFailure").await.unwrap().message
}

/// What a cluster's Reason column has shown from now on.
pub async fn reasons_from_now_on(client: &Client, name: &str) -> Arc<Mutex<Vec<String>>> {
    let of_cluster = WatchParams::default().fields(&format!("metadata.name={name}"));
    let changes = clusters(client).watch(&of_cluster, "0").await.unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = shown.clone();
    tokio::spawn(changes.for_each(move |change| {
        let (WatchEvent::Added(cluster) | WatchEvent::Modified(cluster)) = change.unwrap() else {
            return ready(());
        };
        seen.lock().unwrap().extend(cluster.status.map(|status| status.reason));
        ready(())
    }));
    shown
}

/// Waits until a cluster has this many gateways, and waits for nothing but its Redis, which nobody runs here.
pub async fn until_it_rests(client: &Client, name: &str, size: usize) {
    until(&format!("{name} to have {size} pods"), || async {
        gateways(client, name).await.len() == size
            && status(client, name).await.reason == "BackplaneNotReady"
            && condition(client, name, "ReplicaFailure").await.is_some_and(|one| one.status == "False")
    })
    .await;
}

/// The cluster's pods by label.
pub async fn gateways(client: &Client, name: &str) -> Vec<Pod> {
    let of_cluster = ListParams::default().labels(&format!("mooring.dev/cluster={name}"));
    pods(client).list(&of_cluster).await.unwrap().items
}

pub fn pods(client: &Client) -> Api<Pod> {
    Api::default_namespaced(client.clone())
}

/// An API server with the definition and the rights, and an operator on it.
pub async fn start(name: &str) -> (Server, Client, Operator) {
    let server = Server::start(name).await;
    let client = server.admin();
    crd::install(&client, &operator_core::crd::crd()).await;
    grant(&client).await;
    let operator = Operator::start(&server, "operator");
    (server, client, operator)
}

/// The API of an object's kind.
fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).unwrap());
    let is_global = object["apiVersion"].as_str().unwrap().starts_with("admissionregistration");
    if is_global {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::default_namespaced_with(client.clone(), &resource)
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Makes an object of somebody's.
pub async fn make(client: &Client, object: &Value) -> DynamicObject {
    let made = serde_json::from_value(object.clone()).unwrap();
    api_of(client, object).create(&PostParams::default(), &made).await.unwrap()
}

/// What there is under an object's name.
pub async fn find(client: &Client, object: &Value) -> Option<DynamicObject> {
    api_of(client, object).get_opt(name_of(object)).await.unwrap()
}

pub async fn remove(client: &Client, object: &Value) {
    api_of(client, object).delete(name_of(object), &DeleteParams::default()).await.unwrap();
}

/// Its controller's name, if it has one.
pub fn controller(object: &impl ResourceExt) -> Option<String> {
    let owners = object.owner_references();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.name.clone())
}
