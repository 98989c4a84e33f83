//! Specs that cannot work are refused when they are applied.

use e2e::beside_others;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use operator_core::crd::WebSocketCluster;
use serde_json::{Value, json};

/// A spec, and what the refusal has to say: the field and the remedy.
fn cases() -> Vec<(Value, [&'static str; 2])> {
    vec![
        (
            json!({"scaling": {"minReplicas": 5, "maxReplicas": 2}}),
            ["spec.scaling.minReplicas", "raise maxReplicas"],
        ),
        (
            json!({"replicas": 2, "backplane": {"memory": {}}}),
            ["spec.backplane.memory", "use spec.backplane.redis"],
        ),
        (
            json!({"scaling": {"maxReplicas": 3}, "backplane": {"memory": {}}}),
            ["spec.backplane.memory", "remove spec.scaling"],
        ),
        (json!({"replicas": 2, "scaling": {"maxReplicas": 3}}), ["spec.replicas", "remove one of them"]),
        (json!({"listener": {"port": 70_000}}), ["spec.listener.port", "less than or equal to 65535"]),
        (
            json!({"listener": {"allowedOrigins": ["example.com"]}}),
            ["spec.listener.allowedOrigins", "like https://example.com"],
        ),
        (json!({"replicas": -1}), ["spec.replicas", "greater than or equal to 0"]),
        (json!({"auth": {"anonymous": false}}), ["spec.auth", "set anonymous: true or give jwt"]),
        (
            json!({"auth": {"jwt": {}}}),
            ["spec.auth.jwt", "exactly one of hmacSecretRef and publicKeySecretRef"],
        ),
        (
            json!({"backplane": {"redis": {"managed": {}, "url": "redis://redis:6379"}}}),
            ["spec.backplane.redis", "exactly one of managed"],
        ),
        (
            json!({"disruption": {"maxReconnectsPerSecond": 0}}),
            ["spec.disruption.maxReconnectsPerSecond", "greater than or equal to 1"],
        ),
        (
            json!({"disruption": {"drainTimeout": "soon"}}),
            ["spec.disruption.drainTimeout", "write it like 15m"],
        ),
        (json!({"rollout": {"maxSurge": 0}}), ["spec.rollout.maxSurge", "at least 1 or 1%"]),
        (
            json!({"expose": {"service": {"nodePort": 30_123}}}),
            ["spec.expose.service.nodePort", "set type: NodePort or LoadBalancer"],
        ),
        (
            json!({"podTemplate": {"labels": {"mooring.dev/cluster": "other"}}}),
            ["spec.podTemplate.labels", "remove them"],
        ),
        (json!({"protocols": ["centrifuge", "carrier-pigeon"]}), ["spec.protocols", "supported values"]),
        (json!({"replica": 3}), ["spec.replica", "field not declared"]),
    ]
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_refused_with_its_field_and_the_remedy() {
    beside_others("refusals", async |scope| {
        let resource = ApiResource::erase::<WebSocketCluster>(&());
        let clusters =
            Api::<DynamicObject>::namespaced_with(scope.client.clone(), &scope.namespace, &resource);
        for (spec, expected) in cases() {
            let mut cluster = DynamicObject::new("refused", &resource);
            cluster.data = json!({"spec": spec});
            let strict = PatchParams::apply("e2e").validation_strict();
            let answer = clusters.patch("refused", &strict, &Patch::Apply(&cluster)).await;
            let refusal = answer.expect_err(&format!("{spec} is accepted")).to_string();
            for part in expected {
                assert!(refusal.contains(part), "{spec} is refused without {part:?}: {refusal}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_too_long_for_pods_is_refused() {
    beside_others("names", async |scope| {
        let name = "a".repeat(60);
        let cluster = WebSocketCluster::new(&name, crate::support::spec(1, 200));
        let refusal = scope
            .api()
            .create(&PostParams::default(), &cluster)
            .await
            .expect_err("it is accepted")
            .to_string();
        assert!(refusal.contains("metadata.name") && refusal.contains("at most 46"), "{refusal}");
    })
    .await;
}
