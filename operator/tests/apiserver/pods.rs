//! Pods that somebody took labels from, and names of pods that somebody has.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{condition, create, edit, gateways, pods, start, until_it_rests};
use crate::process::until;

/// Takes labels off a pod, or gives it others.
async fn label(client: &kube::Client, pod: &str, labels: Value) {
    let labels = Patch::Merge(json!({"metadata": {"labels": labels}}));
    pods(client).patch(pod, &PatchParams::default(), &labels).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_is_set_aside_is_replaced_told_and_left_alone_until_it_has_its_label_back() {
    for (lost, name) in [("mooring.dev/cluster", "aside"), ("app.kubernetes.io/managed-by", "unwatched")] {
        let (server, client, operator) = start(name).await;
        create(&client, "chat", json!({"replicas": 2})).await;
        until_it_rests(&client, "chat", 2).await;
        let aside = gateways(&client, "chat").await.remove(0);
        let before = aside.labels()[lost].clone();
        label(&client, &aside.name_any(), json!({lost: null})).await;
        until("the pod to be told", || async {
            condition(&client, "chat", "ReplicaFailure").await.is_some_and(|told| {
                told.status == "False"
                    && told.reason == "PodsSetAside"
                    && told.message.contains(&aside.name_any())
            })
        })
        .await;
        until("another in its place", || async {
            pods(&client).list(&Default::default()).await.unwrap().items.len() == 3
        })
        .await;
        operator.passes(3).await;
        let writes = server.writes();
        operator.passes(6).await;
        assert_eq!(server.writes(), writes, "without {lost}");
        let made = |(verb, resource, _): &&(String, String, String)| verb == "create" && resource == "pods";
        assert_eq!(writes.iter().filter(made).count(), 3, "a pod that is there was made once more");
        assert_eq!(pods(&client).get(&aside.name_any()).await.unwrap().uid(), aside.uid());

        label(&client, &aside.name_any(), json!({lost: before})).await;
        until("one too many to go", || async {
            pods(&client).list(&Default::default()).await.unwrap().items.len() == 2
        })
        .await;
        until_it_rests(&client, "chat", 2).await;
    }
}

#[tokio::test]
async fn the_labels_by_which_clients_find_a_pod_are_put_back() {
    let (_server, client, operator) = start("labels").await;
    create(&client, "chat", json!({"replicas": 1})).await;
    until_it_rests(&client, "chat", 1).await;
    let before = gateways(&client, "chat").await.remove(0);
    let lost = json!({"mooring.dev/traffic": null, "mooring.dev/revision": null});
    label(&client, &before.name_any(), lost).await;
    until("the labels", || async { gateways(&client, "chat").await[0].labels() == before.labels() }).await;
    operator.passes(3).await;
    assert_eq!(gateways(&client, "chat").await[0].uid(), before.uid());
}

#[tokio::test]
async fn a_pod_of_anothers_under_the_next_name_is_passed_over() {
    let (_server, client, operator) = start("pod-name").await;
    create(&client, "chat", json!({"replicas": 2})).await;
    until_it_rests(&client, "chat", 2).await;
    let names = || async {
        let mut names: Vec<_> = gateways(&client, "chat").await.iter().map(ResourceExt::name_any).collect();
        names.sort();
        names
    };
    let used = names().await;
    edit(&client, "chat", json!({"replicas": 0})).await;
    until_it_rests(&client, "chat", 0).await;
    let container = json!([{"name": "a", "image": "a"}]);
    let theirs = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": used[0]}, "spec": {"containers": container}});
    let theirs = crate::cluster::make(&client, &theirs).await;
    edit(&client, "chat", json!({"replicas": 2})).await;
    until_it_rests(&client, "chat", 2).await;
    operator.passes(3).await;
    assert!(!names().await.contains(&used[0]));
    assert_eq!(pods(&client).get(&used[0]).await.unwrap().uid(), theirs.uid());
}
