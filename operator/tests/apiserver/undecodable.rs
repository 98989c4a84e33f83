//! A cluster that this operator can't read: it is told, it is left as it is, and the others do not wait for it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use operator_core::crd::{WebSocketCluster, crd};
use serde_json::{Value, json};

use crate::crd;
use crate::process::{Operator, until};
use crate::release::grant;
use crate::server::Server;

/// As another version's definition may be: it lets in whatever it is given.
async fn install_a_wider_definition(client: &Client) {
    let mut definition = crd();
    let anything = json!({"type": "object", "default": {}, "x-kubernetes-preserve-unknown-fields": true});
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"] = anything;
    schema["x-kubernetes-validations"] = json!([]);
    crd::install(client, &definition).await;
}

fn clusters(client: &Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client.clone(), &ApiResource::erase::<WebSocketCluster>(&()))
}

async fn create(client: &Client, name: &str) {
    let cluster = crd::cluster(name, json!({"replicas": 1}));
    clusters(client).create(&PostParams::default(), &cluster).await.unwrap();
}

async fn edit(client: &Client, name: &str, spec: Value) {
    let edit = Patch::Merge(json!({"spec": spec}));
    clusters(client).patch(name, &PatchParams::default(), &edit).await.unwrap();
}

async fn pods(client: &Client, name: &str) -> usize {
    let of_cluster = ListParams::default().labels(&format!("mooring.dev/cluster={name}"));
    Api::<Pod>::default_namespaced(client.clone()).list(&of_cluster).await.unwrap().items.len()
}

/// Its status, as the API server has it.
async fn status(client: &Client, name: &str) -> Value {
    clusters(client).get(name).await.unwrap().data["status"].clone()
}

async fn until_there_are(client: &Client, name: &str, count: usize) {
    until("the pods", || async { pods(client, name).await == count }).await;
}

#[tokio::test]
async fn a_cluster_that_cannot_be_read_is_told_and_left_alone_and_the_others_go_on() {
    let server = Server::start("undecodable").await;
    let client = server.admin();
    install_a_wider_definition(&client).await;
    grant(&client).await;
    let first = Operator::start(&server, "first");
    create(&client, "odd").await;
    until_there_are(&client, "odd", 1).await;

    edit(&client, "odd", json!({"paused": "perhaps"})).await;
    let told = "spec.paused: invalid type: string \"perhaps\", expected a boolean; correct it, or upgrade the operator";
    until("the refusal", || async {
        let status = status(&client, "odd").await;
        let progressing = |condition: &&Value| condition["type"] == "Progressing";
        status["reason"] == "InvalidSpec"
            && status["conditions"].as_array().unwrap().iter().find(progressing).is_some_and(|condition| {
                condition["reason"] == "UndecodableSpec"
                    && condition["status"] == "False"
                    && condition["message"].as_str().unwrap().starts_with(told)
            })
    })
    .await;
    until("the event", || async {
        let events =
            Api::<Event>::default_namespaced(client.clone()).list(&ListParams::default()).await.unwrap();
        events.iter().any(|event| {
            event.reason.as_deref() == Some("InvalidSpec")
                && event.note.as_deref().is_some_and(|n| n.starts_with(told))
        })
    })
    .await;
    until("the metric", || async { first.metric("mooring_operator_refused_clusters").await == Some(1) })
        .await;

    // In the watch that runs already, and in the first list of another operator.
    create(&client, "chat").await;
    until_there_are(&client, "chat", 1).await;
    let refusals = first.log().lines().filter(|line| line.contains("the spec is refused")).count();
    assert_eq!(refusals, 1, "{}", first.log());
    assert!(first.stop(), "the first operator did not end well");
    let second = Operator::start(&server, "second");
    edit(&client, "chat", json!({"replicas": 3})).await;
    until_there_are(&client, "chat", 3).await;
    assert_eq!(pods(&client, "odd").await, 1);
    assert!(!second.log().contains("the spec is refused"), "said again: {}", second.log());

    edit(&client, "odd", json!({"paused": null, "replicas": 2})).await;
    until_there_are(&client, "odd", 2).await;
    until("another reason", || async { status(&client, "odd").await["reason"] != "InvalidSpec" }).await;
}
