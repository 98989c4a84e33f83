//! An operator for some namespaces only: it has rights in these alone, and needs no others.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use operator_core::crd::WebSocketCluster;
use serde_json::json;

use crate::crd;
use crate::process::{Operator, until};
use crate::release::{NAMESPACE, Release, create_namespace};
use crate::server::Server;

const LISTED: [&str; 2] = ["team-a", "team-b"];
const OTHER: &str = "team-c";
const WATCH_ERRORS: &str = "mooring_operator_watch_errors_total";

fn clusters(client: &Client, namespace: &str) -> Api<WebSocketCluster> {
    Api::namespaced(client.clone(), namespace)
}

async fn create(client: &Client, namespace: &str) {
    let cluster = crd::cluster("chat", json!({"replicas": 2}));
    clusters(client, namespace).create(&PostParams::default(), &cluster).await.unwrap();
}

async fn pods(client: &Client, namespace: &str) -> usize {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await.unwrap();
    pods.items.len()
}

/// Waits until a cluster has its pods, and a status that tells of them.
async fn until_it_runs(client: &Client, namespace: &str, size: usize) {
    until(&format!("{size} pods in {namespace}"), || async {
        let status = clusters(client, namespace).get("chat").await.unwrap().status.unwrap_or_default();
        pods(client, namespace).await == size
            && usize::try_from(status.replicas).unwrap() == size
            && status.reason == "BackplaneNotReady"
    })
    .await;
}

async fn resize(client: &Client, namespace: &str, size: usize) {
    let larger = Patch::Merge(json!({"spec": {"replicas": size}}));
    clusters(client, namespace).patch("chat", &PatchParams::default(), &larger).await.unwrap();
}

#[tokio::test]
async fn with_roles_in_some_namespaces_clusters_run_there_nothing_is_refused_and_the_others_are_left_alone() {
    let server = Server::start("namespaces").await;
    let client = server.admin();
    crd::install(&client, &operator_core::crd::crd()).await;
    for namespace in LISTED.iter().chain([&OTHER, &NAMESPACE]) {
        create_namespace(&client, namespace).await;
    }
    let release = Release::render(&["namespaces={team-a,team-b}", "crd.install=false"]);
    assert!(!release.kinds().iter().any(|kind| kind.starts_with("Cluster")), "{:?}", release.kinds());
    release.grant(&client).await;
    create(&client, OTHER).await;
    create(&client, "team-a").await;
    let operator = Operator::start_with(&server, "operator", &release.arguments());
    until_it_runs(&client, "team-a", 2).await;
    create(&client, "team-b").await;
    until_it_runs(&client, "team-b", 2).await;
    // One namespace's news is nothing to the other's clusters.
    resize(&client, "team-a", 3).await;
    until_it_runs(&client, "team-a", 3).await;
    operator.passes(6).await;
    assert_eq!(pods(&client, "team-b").await, 2);

    assert_eq!(operator.metric("mooring_operator_clusters").await, Some(2));
    assert_eq!((server.refused(), server.requests_in(OTHER)), (vec![], vec![]));
    assert_eq!(pods(&client, OTHER).await, 0);
    assert_eq!(clusters(&client, OTHER).get("chat").await.unwrap().status, None);

    // Its rights end there too; and a refusal would have been seen.
    let secrets = Api::<Secret>::namespaced(server.as_operator(), OTHER);
    let answer = secrets.get_opt("anything").await;
    assert!(matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403), "{answer:?}");
    until("the refusal in the audit log", || async { server.refused().len() == 1 }).await;

    assert_eq!(operator.metric(WATCH_ERRORS).await, Some(0));
    assert!(operator.stop());
    let wider = Release::render(&["namespaces={team-a,team-b,team-c}", "crd.install=false"]);
    let operator = Operator::start_with(&server, "without-rights", &wider.arguments());
    until("the watches that are refused are counted", || async {
        operator.metric(WATCH_ERRORS).await.is_some_and(|errors| errors >= 3)
    })
    .await;
    let expected = "the operator may not list websocketclusters.mooring.dev in namespace team-c";
    until("it to say that it is not ready", || async {
        operator.readiness().await.is_some_and(|(ready, said)| !ready && said.starts_with(expected))
    })
    .await;
}
