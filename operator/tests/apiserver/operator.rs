//! The operator at work: what it makes, what it leaves alone, and who takes over from it.

use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use operator_core::crd::{WebSocketCluster, WebSocketClusterStatus};
use serde_json::{Value, json};

use crate::crd;
use crate::process::{Operator, until};
use crate::release::grant;
use crate::server::Server;

/// A cluster in namespace `default`.
async fn create(client: &Client, name: &str, spec: Value) -> WebSocketCluster {
    let cluster: WebSocketCluster = crd::cluster(name, spec);
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &cluster).await.unwrap()
}

async fn pods(client: &Client) -> usize {
    Api::<Pod>::default_namespaced(client.clone()).list(&Default::default()).await.unwrap().items.len()
}

async fn status(client: &Client, name: &str) -> WebSocketClusterStatus {
    let cluster: WebSocketCluster = Api::default_namespaced(client.clone()).get(name).await.unwrap();
    cluster.status.unwrap_or_default()
}

async fn reason(client: &Client, name: &str) -> String {
    status(client, name).await.reason
}

/// An operator that has made the pods of a cluster `chat`.
async fn start(name: &str) -> (Server, Client, Operator) {
    let server = Server::start(name).await;
    let client = server.admin();
    crd::install(&client, &operator_core::crd::crd()).await;
    grant(&client).await;
    let operator = Operator::start(&server, "first");
    create(&client, "chat", json!({"scaling": {"minReplicas": 2, "maxReplicas": 6}})).await;
    until("the pods, and the status that tells of them", || async {
        let status = status(&client, "chat").await;
        pods(&client).await == 2 && status.replicas == 2 && status.reason == "BackplaneNotReady"
    })
    .await;
    (server, client, operator)
}

async fn at_rest_it_writes_nothing(server: &Server, operator: &Operator) {
    operator.passes(2).await;
    let before = server.writes();
    operator.passes(5).await;
    assert_eq!(server.writes(), before);
}

#[tokio::test]
async fn what_others_change_is_put_right_and_at_rest_nothing_is_written() {
    let (server, client, operator) = start("rest").await;
    at_rest_it_writes_nothing(&server, &operator).await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let selector = services.get("chat").await.unwrap().spec.unwrap().selector;
    services.delete("chat-gateway", &DeleteParams::default()).await.unwrap();
    let wrong = Patch::Merge(json!({"spec": {"selector": {"mooring.dev/traffic": "wrong"}}}));
    services.patch("chat", &PatchParams::default(), &wrong).await.unwrap();
    until("the Services to be put right", || async {
        let there = services.get_opt("chat-gateway").await.unwrap().is_some();
        there && services.get("chat").await.unwrap().spec.unwrap().selector == selector
    })
    .await;
    at_rest_it_writes_nothing(&server, &operator).await;
}

/// One kind's watch that fails must hold up no other's: after the restart each of them fails in its turn.
#[tokio::test]
async fn after_a_restart_of_the_api_server_everything_is_seen_again_soon() {
    let (mut server, client, operator) = start("restart").await;
    operator.passes(1).await;
    server.restart().await;
    // Where that took longer than a lease lasts, the first one has ended.
    let _successor = Operator::start(&server, "second");
    let delete = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    let pod = Api::<Pod>::default_namespaced(client.clone())
        .list(&Default::default())
        .await
        .unwrap()
        .items
        .remove(0);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let uid = |meta: &ObjectMeta| meta.uid.clone().unwrap();
    pods.delete(pod.metadata.name.as_deref().unwrap(), &delete).await.unwrap();
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let policies: Api<NetworkPolicy> = Api::default_namespaced(client.clone());
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    services.delete("chat-gateway", &delete).await.unwrap();
    policies.delete("chat-gateway", &delete).await.unwrap();
    budgets.delete("chat-gateway", &delete).await.unwrap();
    accounts.delete("chat-gateway", &delete).await.unwrap();
    until("all of them to be made again", || async {
        let others = pods.list(&Default::default()).await.unwrap().items;
        others.len() == 2
            && others.iter().all(|other| uid(&other.metadata) != uid(&pod.metadata))
            && services.get_opt("chat-gateway").await.unwrap().is_some()
            && policies.get_opt("chat-gateway").await.unwrap().is_some()
            && budgets.get_opt("chat-gateway").await.unwrap().is_some()
            && accounts.get_opt("chat-gateway").await.unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn a_generated_secret_is_never_overwritten() {
    let (_server, client, operator) = start("generated").await;
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let mine = Patch::Merge(json!({"stringData": {"token": "mine"}}));
    let changed = secrets.patch("chat-control-token", &PatchParams::default(), &mine).await.unwrap();
    operator.passes(3).await;
    assert_eq!(secrets.get("chat-control-token").await.unwrap().data, changed.data);
}

#[tokio::test]
async fn a_missing_secret_is_told_and_heals() {
    let (_server, client, operator) = start("missing").await;
    let key = json!({"name": "tokens", "key": "hmac"});
    let spec = json!({"replicas": 1, "backplane": {"memory": {}}, "auth": {"anonymous": false, "jwt": {"hmacSecretRef": key}}});
    create(&client, "private", spec).await;
    until("SecretMissing", || async { reason(&client, "private").await == "SecretMissing" }).await;
    operator.passes(1).await;
    let secret = json!({"metadata": {"name": "tokens"}, "stringData": {"hmac": "s3cret"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &secret).await.unwrap();
    until("WaitingForPods", || async { reason(&client, "private").await == "WaitingForPods" }).await;
}

#[tokio::test]
async fn a_successor_takes_over_at_once_and_writes_nothing() {
    let (server, _client, first) = start("successor").await;
    let second = Operator::start(&server, "second");
    until("the second to stand by", || async { second.leads().await == Some(false) }).await;
    let before = server.writes();
    assert!(first.stop(), "the first operator did not end well");
    until("the second to lead", || async { second.leads().await == Some(true) }).await;
    second.passes(3).await;
    assert_eq!(server.writes(), before);
}
