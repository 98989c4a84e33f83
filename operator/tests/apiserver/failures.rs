//! What the API server refuses and what admission changes: told in its words, tried ever more seldom, and over when its cause is gone.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use operator_core::refusal::RefusalCause;
use serde_json::{Value, json};

use crate::cluster::{
    clusters, condition, create, edit, find, gateways, make, pods, reasons_from_now_on, remove, start,
    status, until_it_fails, until_it_rests,
};
use crate::process::until;
use crate::server::Server;

/// Pods that the operator tried to make so far.
fn tries(server: &Server) -> usize {
    server.writes().iter().filter(|(verb, resource, _)| verb == "create" && resource == "pods").count()
}

/// A quota of pods; nobody counts them here.
async fn set_quota(client: &kube::Client, pods: u32, used: u32) {
    let quotas: Api<k8s_openapi::api::core::v1::ResourceQuota> = Api::default_namespaced(client.clone());
    let spec = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": pods.to_string()}}});
    if quotas.get_opt("few").await.unwrap().is_none() {
        quotas.create(&PostParams::default(), &serde_json::from_value(spec.clone()).unwrap()).await.unwrap();
    }
    quotas.patch("few", &PatchParams::default(), &Patch::Merge(&spec)).await.unwrap();
    let counted = json!({"status": {"hard": {"pods": pods.to_string()}, "used": {"pods": used.to_string()}}});
    quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(&counted)).await.unwrap();
}

#[tokio::test]
async fn pods_beyond_a_quota_are_told_tried_one_at_a_time_and_made_when_it_is_raised() {
    let (server, client, operator) = start("quota").await;
    set_quota(&client, 1, 0).await;
    create(&client, "chat", json!({"replicas": 5})).await;
    let told = until_it_fails(&client, "chat", "QuotaExceeded").await;
    assert!(
        told.starts_with("cannot create Pod default/chat-") && told.contains("exceeded quota: few"),
        "{told}"
    );
    assert!(told.ends_with(": raise the ResourceQuota, or ask for less"), "{told}");
    assert_eq!(gateways(&client, "chat").await.len(), 1);
    let before = tries(&server);
    operator.passes(8).await;
    // Some 16 s: after 2, 4 and 8 s, and not for each of the four pods.
    assert!(tries(&server) <= before + 4, "{} tries", tries(&server) - before);
    set_quota(&client, 9, 1).await;
    until_it_rests(&client, "chat", 5).await;
}

fn denial(resource: &str, message: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "denied"},
            "spec": {"failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}]},
                "validations": [{"expression": "false", "message": message}]}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "denied"},
            "spec": {"policyName": "denied", "validationActions": ["Deny"]}}),
    ]
}

/// A pod of somebody's, that is not stored; what the API server says, or makes of it.
async fn try_a_pod(client: &kube::Client, pod: Value) -> Result<Pod, kube::Error> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    pods(client).create(&dry_run, &serde_json::from_value(pod).unwrap()).await
}

fn plain_pod() -> Value {
    json!({"metadata": {"name": "any", "labels": {"mooring.dev/cluster": "any"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}})
}

#[tokio::test]
async fn pods_that_admission_denies_are_told_in_its_words_and_made_when_it_lets_them() {
    let (_server, client, operator) = start("denied").await;
    for object in denial("pods", "pods need a cost centre") {
        make(&client, &object).await;
    }
    until("the policy to count", || async { try_a_pod(&client, plain_pod()).await.is_err() }).await;
    create(&client, "chat", json!({"replicas": 1})).await;
    let told = until_it_fails(&client, "chat", "AdmissionDenied").await;
    assert!(told.contains("pods need a cost centre"), "{told}");
    let available = condition(&client, "chat", "Available").await.unwrap();
    assert_eq!((available.status.as_str(), available.reason.as_str()), ("False", "AdmissionDenied"));
    operator.passes(2).await;
    for object in denial("pods", "") {
        remove(&client, &object).await;
    }
    until_it_rests(&client, "chat", 1).await;
}

#[tokio::test]
async fn a_cluster_is_not_called_ready_before_what_it_needs_is_there_and_once_it_is() {
    let (_server, client, operator) = start("truth").await;
    for object in denial("services", "no doors here") {
        make(&client, &object).await;
    }
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let any = json!({"metadata": {"name": "any"}, "spec": {"ports": [{"port": 80}]}});
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    until("the policy to count", || async {
        services.create(&dry_run, &serde_json::from_value(any.clone()).unwrap()).await.is_err()
    })
    .await;
    let shown = reasons_from_now_on(&client, "chat").await;
    // Without pods and Redis, objects are all that there is to wait for.
    create(&client, "chat", json!({"replicas": 0, "backplane": {"memory": {}}})).await;
    let told = until_it_fails(&client, "chat", "AdmissionDenied").await;
    assert!(told.contains("no doors here"), "{told}");
    operator.passes(2).await;
    assert_eq!(shown.lock().unwrap().iter().find(|reason| *reason != "AdmissionDenied"), None);
    for object in denial("services", "") {
        remove(&client, &object).await;
    }
    until("it to be ready", || async {
        condition(&client, "chat", "Ready").await.is_some_and(|ready| ready.status == "True")
    })
    .await;
    for name in ["chat", "chat-gateway", "chat-control"] {
        assert!(
            services.get_opt(name).await.unwrap().is_some(),
            "it was called ready without Service {name}"
        );
    }
}

/// The words of one version of Kubernetes are not those of another.
#[tokio::test]
async fn the_api_servers_own_words_are_told_apart() {
    let (server, client, _operator) = start("words").await;
    let cause = |answer: Result<Pod, kube::Error>| match answer {
        Err(kube::Error::Api(status)) => RefusalCause::of(status.code, &status.message),
        answer => panic!("{answer:?}"),
    };
    let as_operator = server.as_operator();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(as_operator);
    match nodes.get("any").await {
        Err(kube::Error::Api(status)) => {
            assert_eq!(RefusalCause::of(status.code, &status.message), Some(RefusalCause::Right));
        }
        answer => panic!("{answer:?}"),
    }
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let level = |level: Value| {
        Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}))
    };
    namespaces.patch("default", &PatchParams::default(), &level(json!("restricted"))).await.unwrap();
    until("Pod Security", || async { try_a_pod(&client, plain_pod()).await.is_err() }).await;
    assert_eq!(cause(try_a_pod(&client, plain_pod()).await), Some(RefusalCause::PodSecurity));
    namespaces.patch("default", &PatchParams::default(), &level(Value::Null)).await.unwrap();

    set_quota(&client, 0, 0).await;
    until("the quota", || async { try_a_pod(&client, plain_pod()).await.is_err() }).await;
    assert_eq!(cause(try_a_pod(&client, plain_pod()).await), Some(RefusalCause::Quota));
    set_quota(&client, 9, 0).await;

    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "away"}, "webhooks": [{"name": "away.example.com", "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "failurePolicy": "Fail", "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]});
    make(&client, &webhook).await;
    until("the webhook to be asked", || async {
        let answer = try_a_pod(&client, plain_pod()).await;
        answer.is_err() && cause(answer) == Some(RefusalCause::WebhookUnreachable)
    })
    .await;
}

/// A policy that changes what is made, and what it makes of a pod of ours; Kubernetes has had it for good since 1.36.
async fn rewrite(client: &kube::Client, group: &str, resource: &str, expression: &str) -> bool {
    if client.apiserver_version().await.unwrap().minor.trim_end_matches('+').parse::<u32>().unwrap() < 36 {
        return false;
    }
    let rules = json!([{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}]);
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "rewrite"},
        "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": rules},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "rewrite"},
        "spec": {"policyName": "rewrite"}});
    make(client, &policy).await;
    make(client, &binding).await;
    true
}

fn redis() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "chat-redis"}})
}

fn image(set: &DynamicObject) -> &Value {
    &set.data["spec"]["template"]["spec"]["containers"][0]["image"]
}

#[tokio::test]
async fn an_object_that_admission_rewrites_is_not_applied_without_an_end_and_is_told() {
    let (server, client, operator) = start("rewritten").await;
    let mirror =
        "[JSONPatch{op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'mirror/redis'}]";
    if !rewrite(&client, "apps", "statefulsets", mirror).await {
        return;
    }
    let any = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "any"},
        "spec": {"serviceName": "a", "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}}});
    let sets: Api<DynamicObject> = Api::default_namespaced_with(
        client.clone(),
        &kube::api::ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&()),
    );
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    until("the policy to count", || async {
        let made = sets.create(&dry_run, &serde_json::from_value(any.clone()).unwrap()).await.unwrap();
        image(&made) == "mirror/redis"
    })
    .await;
    create(&client, "chat", json!({"replicas": 1})).await;
    until("the change to be told", || async {
        condition(&client, "chat", "ReplicaFailure").await.is_some_and(|told| {
            told.status == "False"
                && told.reason == "ObjectRewritten"
                && told.message.contains("mirror/redis")
        })
    })
    .await;
    assert_eq!(status(&client, "chat").await.reason, "BackplaneNotReady");
    let applied = || server.writes().iter().filter(|(_, resource, _)| resource == "statefulsets").count();
    let before = applied();
    operator.passes(8).await;
    // Some 16 s: after 4 and 8 s, each time with the record of whose the fields are.
    assert!(applied() <= before + 4, "{} applies", applied() - before);
    edit(&client, "chat", json!({"backplane": {"redis": {"managed": {"image": "valkey:9"}}}})).await;
    until("the new spec to be applied", || async {
        condition(&client, "chat", "ReplicaFailure").await.unwrap().message.contains("valkey:9")
    })
    .await;
    for kind in ["MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"] {
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "rewrite"}});
        remove(&client, &policy).await;
    }
    until("the image that was asked for", || async {
        image(&find(&client, &redis()).await.unwrap()) == "valkey:9"
    })
    .await;
}

#[tokio::test]
async fn where_admission_takes_the_labels_from_pods_none_is_left_over() {
    let (server, client, operator) = start("relabelled").await;
    let strip = "[JSONPatch{op: 'remove', path: '/metadata/labels/mooring.dev~1cluster'}]";
    if !rewrite(&client, "", "pods", strip).await {
        return;
    }
    until("the policy to count", || async {
        try_a_pod(&client, plain_pod()).await.unwrap().labels().is_empty()
    })
    .await;
    create(&client, "chat", json!({"replicas": 3})).await;
    let told = until_it_fails(&client, "chat", "LabelsRewritten").await;
    assert!(told.contains("mooring.dev/cluster"), "{told}");
    let before = tries(&server);
    operator.passes(8).await;
    assert!(tries(&server) <= before + 4, "{} tries", tries(&server) - before);
    assert_eq!(pods(&client).list(&Default::default()).await.unwrap().items.len(), 0);
    assert!(clusters(&client).get("chat").await.is_ok());
}
