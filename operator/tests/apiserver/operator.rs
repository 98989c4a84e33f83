//! The operator at work: what it makes, what it leaves alone, and who takes over from it.

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use operator_core::crd::WebSocketCluster;
use serde_json::{Value, json};

use crate::crd;
use crate::process::{Operator, grant, until};
use crate::server::Server;

/// A cluster in namespace `default`.
async fn create(client: &Client, name: &str, spec: Value) -> WebSocketCluster {
    let cluster = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "WebSocketCluster", "metadata": {"name": name}, "spec": spec,
    });
    let cluster: WebSocketCluster = serde_json::from_value(cluster).unwrap();
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &cluster).await.unwrap()
}

async fn pods(client: &Client) -> usize {
    Api::<Pod>::default_namespaced(client.clone()).list(&Default::default()).await.unwrap().items.len()
}

async fn reason(client: &Client, name: &str) -> String {
    let cluster: WebSocketCluster = Api::default_namespaced(client.clone()).get(name).await.unwrap();
    cluster.status.map(|status| status.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_cluster_is_made_kept_right_and_handed_over_without_a_needless_write() {
    let server = Server::start("operator").await;
    let client = server.admin();
    crd::install(&client, &operator_core::crd::crd()).await;
    grant(&client).await;
    let first = Operator::start(&server, "first");
    create(&client, "chat", json!({"scaling": {"minReplicas": 2, "maxReplicas": 6}})).await;
    until("the pods", || async {
        pods(&client).await == 2 && reason(&client, "chat").await == "BackplaneNotReady"
    })
    .await;

    at_rest_it_writes_nothing(&server, &first).await;
    what_others_change_is_put_right(&server, &client, &first).await;
    a_generated_secret_is_never_overwritten(&client, &first).await;
    a_missing_secret_is_told_and_heals(&client, &first).await;
    a_successor_takes_over_at_once_and_writes_nothing(&server, first).await;
}

async fn at_rest_it_writes_nothing(server: &Server, operator: &Operator) {
    operator.passes(2).await;
    let before = server.writes();
    operator.passes(5).await;
    assert_eq!(server.writes(), before);
}

async fn what_others_change_is_put_right(server: &Server, client: &Client, operator: &Operator) {
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
    at_rest_it_writes_nothing(server, operator).await;
}

async fn a_generated_secret_is_never_overwritten(client: &Client, operator: &Operator) {
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let mine = Patch::Merge(json!({"stringData": {"token": "mine"}}));
    let changed = secrets.patch("chat-control-token", &PatchParams::default(), &mine).await.unwrap();
    operator.passes(3).await;
    assert_eq!(secrets.get("chat-control-token").await.unwrap().data, changed.data);
}

async fn a_missing_secret_is_told_and_heals(client: &Client, operator: &Operator) {
    let key = json!({"name": "tokens", "key": "hmac"});
    let spec = json!({"replicas": 1, "backplane": {"memory": {}}, "auth": {"anonymous": false, "jwt": {"hmacSecretRef": key}}});
    create(client, "private", spec).await;
    until("SecretMissing", || async { reason(client, "private").await == "SecretMissing" }).await;
    operator.passes(1).await;
    let secret = json!({"metadata": {"name": "tokens"}, "stringData": {"hmac": "s3cret"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &secret).await.unwrap();
    until("WaitingForPods", || async { reason(client, "private").await == "WaitingForPods" }).await;
    Api::<WebSocketCluster>::default_namespaced(client.clone())
        .delete("private", &DeleteParams::default())
        .await
        .unwrap();
}

async fn a_successor_takes_over_at_once_and_writes_nothing(server: &Server, first: Operator) {
    let second = Operator::start(server, "second");
    until("the second to stand by", || async { second.leads().await == Some(false) }).await;
    let before = server.writes();
    assert!(first.stop(), "the first operator did not end well");
    until("the second to lead", || async { second.leads().await == Some(true) }).await;
    second.passes(3).await;
    assert_eq!(server.writes(), before);
}
