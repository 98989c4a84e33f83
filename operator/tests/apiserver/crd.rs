//! The definition: accepted by the API server, and refusing what cannot work with the field and the remedy.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, Resource};
use operator_core::crd::{WebSocketCluster, crd};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::server::Server;

/// Installs a definition of the resource and waits until it is served.
pub async fn install(client: &Client, definition: &Value) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "websocketclusters.mooring.dev";
    definitions.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(definition)).await.unwrap();
    await_condition(definitions, name, conditions::is_crd_established()).await.unwrap();
}

/// Clusters without our types in between: what a user's client would send.
fn clusters(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "default", &ApiResource::erase::<WebSocketCluster>(&()))
}

/// A cluster that is open to everybody, unless the spec says who may come in.
pub fn cluster<T: DeserializeOwned>(name: &str, mut spec: Value) -> T {
    spec.as_object_mut().unwrap().entry("auth").or_insert_with(|| json!({"anonymous": true}));
    let cluster = json!({
        "apiVersion": WebSocketCluster::api_version(&()), "kind": WebSocketCluster::kind(&()),
        "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(cluster).unwrap()
}

async fn create(client: &Client, name: &str, spec: Value) -> Result<DynamicObject, kube::Error> {
    clusters(client).create(&PostParams::default(), &cluster(name, spec)).await
}

/// A spec that revokes tokens.
fn revoked(ids: &[String]) -> Value {
    json!({"auth": {"jwt": {"hmacSecretRef": {"name": "a", "key": "k"}, "revokedTokens": ids}}})
}

/// So many ids of tokens, of at least so many characters.
fn ids(count: usize, length: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:0>length$}")).collect()
}

/// Specs that cannot work, and what the answer must say: field and remedy.
fn refused() -> Vec<(Value, [&'static str; 2])> {
    vec![
        (json!({"replicas": 2, "scaling": {"maxReplicas": 3}}), ["spec.replicas", "remove one of them"]),
        (json!({"scaling": {"minReplicas": 4, "maxReplicas": 3}}), ["spec.scaling.minReplicas", "lower it"]),
        (json!({"scaling": {"maxReplicas": 0}}), ["spec.scaling.maxReplicas", "greater than or equal to 1"]),
        (json!({"replicas": -1}), ["spec.replicas", "greater than or equal to 0"]),
        (
            json!({"disruption": {"maxReconnectsPerSecond": 0}}),
            ["spec.disruption.maxReconnectsPerSecond", "greater than or equal to 1"],
        ),
        (
            json!({"replicas": 2, "backplane": {"memory": {}}}),
            ["spec.backplane.memory", "use spec.backplane.redis"],
        ),
        (
            json!({"scaling": {"maxReplicas": 2}, "backplane": {"memory": {}}}),
            ["spec.backplane.memory", "use spec.backplane.redis"],
        ),
        (json!({"backplane": {}}), ["spec.backplane", "exactly one"]),
        (
            json!({"backplane": {"redis": {"url": "redis://a", "managed": {}}}}),
            ["spec.backplane.redis", "exactly one"],
        ),
        (json!({"backplane": {"redis": {"url": "http://a"}}}), ["spec.backplane.redis.url", "redis://redis"]),
        (
            json!({"backplane": {"redis": {"url": "redis://a", "tls": {}}}}),
            ["spec.backplane.redis.tls", "begin it with rediss://"],
        ),
        (
            json!({"backplane": {"redis": {"managed": {}, "username": "me"}}}),
            ["spec.backplane.redis", "username and tls are for a Redis of your own"],
        ),
        (json!({"listener": {"port": 0}}), ["spec.listener.port", "greater than or equal to 1"]),
        (json!({"listener": {"port": 65_536}}), ["spec.listener.port", "less than or equal to 65535"]),
        (
            json!({"listener": {"allowedOrigins": ["example.com"]}}),
            ["spec.listener.allowedOrigins", "like https://example.com"],
        ),
        (
            json!({"listener": {"allowedOrigins": ["https://*.example.com"]}}),
            ["spec.listener.allowedOrigins", "like https://example.com"],
        ),
        (json!({"auth": {}}), ["spec.auth", "set anonymous: true or give jwt"]),
        (json!({"auth": {"anonymous": false}}), ["spec.auth", "set anonymous: true or give jwt"]),
        (json!({"auth": {"jwt": {}}}), ["spec.auth.jwt", "give hmacSecretRef, publicKeySecretRef or jwks"]),
        (
            json!({"auth": {"jwt": {"hmacSecretRef": {"name": "a", "key": "k"}, "publicKeySecretRef": {"name": "a", "key": "k"}}}}),
            ["spec.auth.jwt", "give one of them"],
        ),
        (
            json!({"auth": {"jwt": {"jwks": {"url": "http://login.example.com/keys"}}}}),
            ["spec.auth.jwt.jwks.url", "write https, or set allowHttp"],
        ),
        (
            json!({"auth": {"jwt": {"jwks": {"url": "https://ada@login.example.com/keys"}}}}),
            ["spec.auth.jwt.jwks.url", "not an address of a key set"],
        ),
        (revoked(&[String::new()]), ["spec.auth.jwt.revokedTokens[0]", "at least 1 chars long"]),
        (revoked(&["a".repeat(254)]), ["spec.auth.jwt.revokedTokens[0]", "may not be more than 253"]),
        (revoked(&["a \"b\"".into()]), ["spec.auth.jwt.revokedTokens", "give visible ASCII characters"]),
        (revoked(&["a".into(), "a".into()]), ["spec.auth.jwt.revokedTokens[1]", "Duplicate value"]),
        (revoked(&ids(10_001, 1)), ["spec.auth.jwt.revokedTokens", "must have at most 10000 items"]),
        (revoked(&ids(1681, 36)), ["spec.auth.jwt.revokedTokens", "leave out those that have expired"]),
        (json!({"protocols": []}), ["spec.protocols", "at least 1 items"]),
        (json!({"protocols": ["mqtt"]}), ["spec.protocols", "\"centrifuge\", \"raw\""]),
        (json!({"disruption": {"drainTimeout": "soon"}}), ["spec.disruption.drainTimeout", "[0-9]"]),
        (json!({"rollout": {"maxSurge": 0}}), ["spec.rollout.maxSurge", "give at least 1"]),
        (json!({"expose": {"service": {"nodePort": 30_080}}}), ["spec.expose.service.nodePort", "set type"]),
        (json!({"log": "verbose"}), ["spec.log", "write it like info,mooring_gateway::reactor=debug"]),
        (json!({"log": "info,"}), ["spec.log", "not a list of levels"]),
        (json!({"log": "info mooring_gateway=debug"}), ["spec.log", "not a list of levels"]),
        (
            json!({"podTemplate": {"labels": {"mooring.dev/x": "y"}}}),
            ["spec.podTemplate.labels", "remove them"],
        ),
        (
            json!({"podTemplate": {"env": [{"name": "MOORING_X", "value": "y"}]}}),
            ["spec.podTemplate.env", "use the fields of spec"],
        ),
        (
            json!({"podTemplate": {"imagePullSecrets": [{"name": ""}]}}),
            ["spec.podTemplate.imagePullSecrets", "name the Secret"],
        ),
        (
            json!({"podTemplate": {"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}}),
            ["spec.podTemplate.imagePullSecrets[1]", "Duplicate value"],
        ),
    ]
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_refused_with_the_field_and_the_remedy() {
    let server = Server::start("crd").await;
    let client = server.admin();
    install(&client, &crd()).await;
    let mut wrong = Vec::new();
    for (spec, expected) in refused() {
        let answer = match create(&client, "refused", spec.clone()).await {
            Err(kube::Error::Api(status)) if status.code == 422 => status.message.clone(),
            answer => format!("{answer:?}"),
        };
        if !expected.iter().all(|words| answer.contains(words)) {
            wrong.push(format!("{spec}\n  expected {expected:?}\n  answered {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    a_spec_that_says_nothing_of_who_may_come_in_is_refused(&client).await;
    a_field_that_there_is_not_is_refused_by_name(&client).await;
    a_name_too_long_for_pods_is_refused(&client).await;
    the_smallest_spec_gets_its_defaults(&client).await;
    a_fixed_size_is_scaled_by_the_sub_resource(&client).await;
    the_longest_lists_of_revoked_tokens_are_stored(&client).await;
}

async fn a_spec_that_says_nothing_of_who_may_come_in_is_refused(client: &Client) {
    let mut cluster = DynamicObject::new("closed", &ApiResource::erase::<WebSocketCluster>(&()));
    cluster.data = json!({"spec": {"replicas": 3}});
    let refusal = clusters(client).create(&PostParams::default(), &cluster).await.unwrap_err().to_string();
    assert!(
        refusal.contains("spec.auth: nobody could connect; set anonymous: true or give jwt"),
        "{refusal}"
    );
}

/// With the strict validation that kubectl asks for.
async fn a_field_that_there_is_not_is_refused_by_name(client: &Client) {
    let mut cluster = DynamicObject::new("unknown", &ApiResource::erase::<WebSocketCluster>(&()));
    cluster.data = json!({"spec": {"replica": 3}});
    let strict = PatchParams::apply("test").validation_strict();
    let answer = clusters(client).patch("unknown", &strict, &Patch::Apply(&cluster)).await;
    let refusal = answer.unwrap_err().to_string();
    assert!(refusal.contains("spec.replica") && refusal.contains("field not declared"), "{refusal}");
}

async fn a_name_too_long_for_pods_is_refused(client: &Client) {
    let refusal = create(client, &"a".repeat(60), json!({})).await.unwrap_err().to_string();
    assert!(refusal.contains("metadata.name") && refusal.contains("at most 46"), "{refusal}");
}

async fn the_smallest_spec_gets_its_defaults(client: &Client) {
    let cluster = create(
        client,
        "defaults",
        json!({"scaling": {"maxReplicas": 3}, "log": "WARN,mooring_gateway::reactor=debug"}),
    )
    .await
    .unwrap();
    let spec = &cluster.data["spec"];
    let given =
        [&spec["scaling"]["minReplicas"], &spec["listener"]["port"], &spec["protocols"], &spec["paused"]];
    assert_eq!(given, [&json!(1), &json!(8000), &json!(["centrifuge", "raw"]), &json!(false)]);
}

async fn a_fixed_size_is_scaled_by_the_sub_resource(client: &Client) {
    create(client, "scaled", json!({"replicas": 1})).await.unwrap();
    let size = Patch::Merge(json!({"spec": {"replicas": 5}}));
    clusters(client).patch_scale("scaled", &PatchParams::default(), &size).await.unwrap();
    assert_eq!(clusters(client).get("scaled").await.unwrap().data["spec"]["replicas"], 5);
}

/// With server-side apply, which keeps who set each of them.
async fn the_longest_lists_of_revoked_tokens_are_stored(client: &Client) {
    for (name, ids) in [("uuids", ids(1680, 36)), ("numbers", ids(9362, 4))] {
        let mut cluster = DynamicObject::new(name, &ApiResource::erase::<WebSocketCluster>(&()));
        cluster.data = json!({"spec": revoked(&ids)});
        let apply = PatchParams::apply("test");
        clusters(client).patch(name, &apply, &Patch::Apply(&cluster)).await.unwrap();
        let stored = clusters(client).get(name).await.unwrap();
        assert_eq!(stored.data["spec"]["auth"]["jwt"]["revokedTokens"], json!(ids));
    }
}
