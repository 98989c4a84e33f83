//! What only the operator can see shows in the status, and heals by itself once mended.

use std::time::Duration;

use e2e::{
    Gateways, eventually, in_namespace,
    load::{LATER, SOON, spec},
    operator,
};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{Patch, PatchParams};
use operator_core::crd::{Auth, Backplane, Jwt, Redis, WebSocketClusterSpec};
use serde_json::{Value, json};

/// A gateway is asked for its report each 2 s, and kubelet pulls again after up to a minute.
const HEALED: Duration = LATER;

/// Waits until the trouble shows in the Reason column, in a condition and in an event, with `remedy` in its message.
async fn shows(gateways: &Gateways, condition: &str, reason: &str, remedy: &str) {
    let what = format!("{reason} shows in the Reason column and in condition {condition}");
    gateways
        .until(&what, SOON, |status| {
            let told = status.conditions.iter().find(|c| c.type_ == condition);
            let told =
                told.is_some_and(|c| c.status == "False" && c.reason == reason && c.message.contains(remedy));
            told && status.reason == reason
        })
        .await;
    eventually(&format!("{reason} shows in an event"), SOON, async || {
        let events = gateways.events().await;
        match events.get(reason) {
            Some(message) if message.contains(remedy) => Ok(()),
            _ => Err(format!("{events:?}")),
        }
    })
    .await;
}

async fn heals(gateways: &Gateways) {
    gateways.until("it heals by itself", HEALED, |status| status.reason == "Ready").await;
}

fn in_memory() -> WebSocketClusterSpec {
    let memory = Backplane { redis: None, memory: Some(operator_core::crd::Memory::default()) };
    WebSocketClusterSpec { backplane: memory, ..spec(1, 200) }
}

#[tokio::test]
async fn a_missing_secret_is_named_and_the_cluster_starts_once_it_is_there() {
    in_namespace("secret", async |scope| {
        let key = serde_json::from_value(json!({"name": "tokens", "key": "hmac"})).expect("a reference");
        let jwt = Some(Jwt { hmac_secret_ref: Some(key), ..Jwt::default() });
        let spec = WebSocketClusterSpec { auth: Auth { jwt, ..Auth::default() }, ..in_memory() };
        let gateways = Gateways::create(&scope, "chat", spec).await;
        shows(&gateways, "Progressing", "SecretMissing", "Secret tokens with key hmac").await;
        let _: Secret = scope.create_object(json!({"metadata": {"name": "tokens"}, "stringData": {"hmac": "0123456789abcdef0123456789abcdef"}})).await;
        heals(&gateways).await;
    })
    .await;
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named_and_the_cluster_starts_once_it_is_corrected() {
    in_namespace("image", async |scope| {
        let spec = WebSocketClusterSpec { image: Some("mooring.dev/absent:dev".to_owned()), ..in_memory() };
        let gateways = Gateways::create(&scope, "chat", spec).await;
        shows(&gateways, "Progressing", "ImagePullFailed", "correct spec.image").await;
        gateways.patch(&json!({"spec": {"image": null}})).await;
        heals(&gateways).await;
    })
    .await;
}

/// Somebody's own Redis: a managed one lets in the gateways of its cluster and no others.
fn redis_pod(image: &str) -> Value {
    json!({
        "metadata": {"name": "redis", "labels": {"app": "redis"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "redis",
                "image": image,
                "command": ["redis-server", "--protected-mode", "no", "--dir", "/data"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

#[tokio::test]
async fn a_redis_out_of_reach_is_reported_and_the_cluster_recovers_once_it_is_reachable() {
    in_namespace("redis", async |scope| {
        let image = operator::Images::installed(&scope.client).await.redis;
        let _: Pod = scope.create_object(redis_pod(&image)).await;
        let service = |app: &str| {
            json!({"metadata": {"name": "redis"}, "spec": {"selector": {"app": app}, "ports": [{"port": 6379}]}})
        };
        let _: Service = scope.create_object(service("nobody")).await;
        let redis = Redis { url: Some("redis://redis:6379".to_owned()), ..Redis::default() };
        let backplane = Backplane { redis: Some(redis), memory: None };
        let gateways =
            Gateways::create(&scope, "chat", WebSocketClusterSpec { backplane, ..spec(1, 200) }).await;
        shows(&gateways, "BackplaneReady", "BackplaneUnreachable", "can't reach the backplane").await;
        let mended = Patch::Merge(service("redis"));
        scope
            .api::<Service>()
            .patch("redis", &PatchParams::default(), &mended)
            .await
            .expect("the Service is mended");
        heals(&gateways).await;
    })
    .await;
}
