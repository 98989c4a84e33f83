//! A namespace that is being deleted takes nothing new, and the cluster in it will be gone.

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use operator_core::crd::WebSocketCluster;
use serde_json::json;

use crate::crd;
use crate::process::{Operator, until};
use crate::release::grant;
use crate::server::Server;

/// Its deletion never ends here, since no controller finalizes it.
const ENDING: &str = "ending";

async fn create(client: &Client, namespace: &str, name: &str) {
    let cluster: WebSocketCluster = crd::cluster(name, json!({"replicas": 2}));
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &cluster).await.unwrap();
}

async fn pods(client: &Client) -> Vec<String> {
    let pods = Api::<Pod>::namespaced(client.clone(), ENDING).list(&ListParams::default()).await.unwrap();
    pods.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn in_a_namespace_that_is_being_deleted_nothing_is_made_and_that_is_said_once() {
    let server = Server::start("namespace").await;
    let client = server.admin();
    crd::install(&client, &operator_core::crd::crd()).await;
    grant(&client).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": ENDING}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let operator = Operator::start(&server, "operator");
    create(&client, ENDING, "chat").await;
    until("the pods", || async { pods(&client).await.len() == 2 }).await;
    // Its passes show that time goes by.
    create(&client, "default", "other").await;
    let other: Api<WebSocketCluster> = Api::default_namespaced(client.clone());
    until("the other cluster to rest", || async {
        other.get("other").await.unwrap().status.is_some_and(|status| status.reason == "BackplaneNotReady")
    })
    .await;
    operator.passes(6).await;

    namespaces.delete(ENDING, &DeleteParams::default()).await.unwrap();
    let before = server.writes().len();
    let victim = pods(&client).await.remove(0);
    let api: Api<Pod> = Api::namespaced(client.clone(), ENDING);
    api.delete(&victim, &DeleteParams::default()).await.unwrap();
    let told =
        || operator.log().lines().filter(|line| line.contains("the namespace is being deleted")).count();
    until("the operator to notice", || async { told() == 1 }).await;
    operator.passes(3).await;
    let noticed = server.writes();
    let tried = noticed[before..].iter().filter(|(verb, ..)| verb == "create").count();
    assert_eq!(tried, 1, "{:?}", &noticed[before..]);

    let services: Api<Service> = Api::namespaced(client.clone(), ENDING);
    services.delete("chat", &DeleteParams::default()).await.unwrap();
    operator.passes(6).await;
    assert_eq!(server.writes(), noticed);
    assert_eq!((told(), pods(&client).await.len()), (1, 1));
}
