//! What is not the cluster's is left alone, whatever its name.

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{
    clusters, condition, controller, create, edit, find, make, remove, start, status, until_it_fails,
    until_it_rests,
};
use crate::process::until;

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}})
}

/// Objects of somebody's under every name that a cluster `chat` needs.
fn theirs() -> Vec<Value> {
    let selector = json!({"matchLabels": {"app": "theirs"}});
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": "b"}});
    let policy = |name: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
            "spec": {"podSelector": selector}})
    };
    let template = json!({"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    vec![
        service("chat"),
        service("chat-gateway"),
        service("chat-control"),
        service("chat-redis"),
        secret("chat-control-token"),
        secret("chat-api-key"),
        secret("chat-redis"),
        policy("chat-gateway"),
        policy("chat-redis"),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "chat-gateway"}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "chat-gateway"},
            "spec": {"minAvailable": 1, "selector": selector}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "chat-redis"},
            "spec": {"serviceName": "a", "selector": selector, "template": template}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-chat-redis-0"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

#[tokio::test]
async fn objects_of_every_kind_that_others_have_are_untouched_told_and_waited_for() {
    let (server, client, operator) = start("theirs").await;
    let mut made = Vec::new();
    for object in theirs() {
        made.push(make(&client, &object).await);
    }
    create(&client, "chat", json!({"replicas": 2})).await;
    let told = until_it_fails(&client, "chat", "NameTaken").await;
    assert!(told.ends_with(" exists and is not this cluster's: delete it, or rename either"), "{told}");
    operator.passes(3).await;
    let events = kube::Api::<k8s_openapi::api::events::v1::Event>::default_namespaced(client.clone());
    let events = events.list(&Default::default()).await.unwrap();
    for (object, before) in theirs().iter().zip(&made) {
        assert_eq!(find(&client, object).await.unwrap(), *before);
        let name = format!("{} {} ", object["kind"].as_str().unwrap(), before.name_any());
        let is_told =
            events.iter().any(|event| event.note.as_ref().is_some_and(|note| note.starts_with(&name)));
        assert!(is_told, "no event tells of {name}");
    }
    let writes = server.writes();
    let only_status = |(_, resource, _): &&(String, String, String)| {
        resource != "websocketclusters/status" && resource != "events"
    };
    assert_eq!(
        writes.iter().filter(only_status).collect::<Vec<_>>(),
        Vec::<&(String, String, String)>::new()
    );

    // One after the other they go, and at last the cluster is made.
    for object in &theirs()[..12] {
        remove(&client, object).await;
    }
    until("what is left to be named", || async {
        let failure = condition(&client, "chat", "ReplicaFailure").await.unwrap();
        failure.message.starts_with("PersistentVolumeClaim data-chat-redis-0 exists")
    })
    .await;
    assert_eq!(find(&client, &theirs()[11]).await, None, "the StatefulSet would take the claim");
    let claim = find(&client, &theirs()[12]).await.unwrap();
    assert_eq!(claim.resource_version(), made[12].resource_version());
    // Nobody clears its finalizer away here.
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::default_namespaced(client.clone());
    claims.patch("data-chat-redis-0", &PatchParams::default(), &free).await.unwrap();
    remove(&client, &theirs()[12]).await;
    until_it_rests(&client, "chat", 2).await;
    for object in &theirs()[..12] {
        let ours = find(&client, object).await.unwrap();
        assert_eq!(controller(&ours).as_deref(), Some("chat"), "{ours:?}");
    }
}

#[tokio::test]
async fn of_two_clusters_that_need_one_name_the_first_keeps_it_and_the_second_names_the_first() {
    let (server, client, operator) = start("fight").await;
    create(&client, "chat-gateway", json!({"replicas": 1})).await;
    until_it_rests(&client, "chat-gateway", 1).await;
    create(&client, "chat", json!({"replicas": 1})).await;
    let told = until_it_fails(&client, "chat", "NameTaken").await;
    let expected = "Service chat-gateway belongs to WebSocketCluster chat-gateway: rename one of the two, or delete \
                    WebSocketCluster chat-gateway";
    assert_eq!(told, expected);
    operator.passes(4).await;
    let before = server.writes();
    operator.passes(8).await;
    assert_eq!(server.writes(), before);
    until_it_rests(&client, "chat-gateway", 1).await;

    // The other way round it is the client Service that the second lacks.
    create(&client, "room", json!({"replicas": 1})).await;
    until_it_rests(&client, "room", 1).await;
    create(&client, "room-redis", json!({"replicas": 1})).await;
    let told = until_it_fails(&client, "room-redis", "NameTaken").await;
    assert!(told.starts_with("Service room-redis belongs to WebSocketCluster room:"), "{told}");
    let available = condition(&client, "room-redis", "Available").await.unwrap();
    assert_eq!((available.status.as_str(), available.reason.as_str()), ("False", "NameTaken"));

    // Nobody clears up after a cluster here.
    clusters(&client).delete("chat-gateway", &Default::default()).await.unwrap();
    remove(&client, &service("chat-gateway")).await;
    until_it_rests(&client, "chat", 1).await;
    assert_eq!(controller(&find(&client, &service("chat-gateway")).await.unwrap()).as_deref(), Some("chat"));
}

#[tokio::test]
async fn an_object_that_takes_the_place_of_the_clusters_is_not_the_clusters() {
    let (server, client, operator) = start("replaced").await;
    create(&client, "chat", json!({"replicas": 1})).await;
    until_it_rests(&client, "chat", 1).await;
    assert!(operator.stop());
    remove(&client, &service("chat")).await;
    // It says of itself what ours do, but for the owner.
    let mut impostor = service("chat");
    impostor["metadata"]["labels"] = json!({
        "mooring.dev/cluster": "chat", "app.kubernetes.io/managed-by": "mooring-operator",
        "app.kubernetes.io/name": "mooring-gateway", "app.kubernetes.io/instance": "chat",
    });
    let impostor = make(&client, &impostor).await;
    let operator = crate::process::Operator::start(&server, "successor");
    until_it_fails(&client, "chat", "NameTaken").await;
    edit(&client, "chat", json!({"listener": {"port": 8100}})).await;
    operator.passes(3).await;
    assert_eq!(find(&client, &service("chat")).await.unwrap(), impostor);
    let owned = Patch::Merge(json!({"metadata": {"labels": {"mooring.dev/cluster": "other"}}}));
    services(&client).patch("chat", &PatchParams::default(), &owned).await.unwrap();
    operator.passes(3).await;
    assert_eq!(status(&client, "chat").await.reason, "NameTaken");
}

fn services(client: &Client) -> Api<Service> {
    Api::default_namespaced(client.clone())
}

#[tokio::test]
async fn an_object_that_lost_its_labels_gets_them_back() {
    let (_server, client, operator) = start("stripped").await;
    create(&client, "chat", json!({"replicas": 1})).await;
    until_it_rests(&client, "chat", 1).await;
    let before = services(&client).get("chat").await.unwrap();
    let none = Patch::Merge(json!({"metadata": {"labels": null}}));
    services(&client).patch("chat", &PatchParams::default(), &none).await.unwrap();
    until("the labels", || async {
        services(&client).get("chat").await.unwrap().labels() == before.labels()
    })
    .await;
    assert_eq!(services(&client).get("chat").await.unwrap().uid(), before.uid());
    operator.passes(3).await;
    assert_eq!(status(&client, "chat").await.reason, "BackplaneNotReady");
}

#[tokio::test]
async fn what_is_taken_out_of_the_spec_goes_from_an_object_that_was_made_with_it() {
    let (server, client, operator) = start("taken-out").await;
    let with = json!({"replicas": 1, "expose": {"service": {"annotations": {"lb": "fast", "zone": "a"}}}});
    create(&client, "chat", with).await;
    until_it_rests(&client, "chat", 1).await;
    let annotations = || async { services(&client).get("chat").await.unwrap().annotations().clone() };
    assert_eq!(annotations().await.get("lb").map(String::as_str), Some("fast"));
    let mine = Patch::Merge(json!({"metadata": {"annotations": {"mine": "stays"}}}));
    services(&client).patch("chat", &PatchParams::default(), &mine).await.unwrap();
    edit(&client, "chat", json!({"expose": {"service": {"annotations": {"lb": null}}}})).await;
    until("the annotation to go", || async {
        let annotations = annotations().await;
        !annotations.contains_key("lb")
            && annotations.contains_key("zone")
            && annotations.contains_key("mine")
    })
    .await;
    operator.passes(2).await;
    let before = server.writes();
    operator.passes(4).await;
    assert_eq!(server.writes(), before);
}
