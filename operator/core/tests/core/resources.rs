//! The YAML of each owned object.

use crate::fixtures::{cluster, defaults, desired};
use gateway_core::config::GatewayConfig;
use k8s_openapi::api::core::v1::Container;
use operator_core::desired::{Defaults, Desired};
use operator_core::names::PodName;
use operator_core::observed::{ObjectKey, ObjectKind, Observed};
use operator_core::ownership::{Holder, Standing};
use operator_core::resources;
use operator_core::resources::GeneratedSecret;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn full() -> Desired {
    desired(&json!({
        "replicas": 3,
        "auth": {"jwt": {"publicKeySecretRef": {"name": "jwt", "key": "pem"}, "issuer": "me"}, "apiKeySecretRef": {"name": "api", "key": "k"}},
        "backplane": {"redis": {
            "urlFrom": {"name": "redis", "key": "url"}, "username": "chat", "passwordFrom": {"name": "redis", "key": "password"},
            "tls": {"caSecretRef": {"name": "redis", "key": "ca.crt"}, "clientCertificateSecretRef": {"name": "redis-client"}},
        }},
        "disruption": {"drainTimeout": "2m"},
        "expose": {"service": {"type": "NodePort", "nodePort": 30080, "annotations": {"lb": "fast"}}},
        "log": "debug",
        "podTemplate": {
            "labels": {"team": "chat"}, "annotations": {"note": "x"}, "nodeSelector": {"pool": "ws"},
            "resources": {"limits": {"memory": "1Gi"}}, "tolerations": [{"operator": "Exists"}],
            "env": [{"name": "RUST_LOG", "value": "info"}],
        },
    }))
}

#[test]
fn every_object_of_a_cluster_with_a_managed_redis() {
    for object in resources::objects(&desired(&json!({"replicas": 3})), 3) {
        let name = format!("managed-{}-{}", object.key.kind.as_str(), object.key.name);
        insta::assert_yaml_snapshot!(name, object.manifest);
    }
}

#[test]
fn a_cluster_with_its_own_redis_gets_no_other_and_its_service_is_as_asked() {
    let objects = resources::objects(&full(), 3);
    let names: Vec<_> =
        objects.iter().map(|object| format!("{} {}", object.key.kind.as_str(), object.key.name)).collect();
    assert_eq!(
        names,
        [
            "ServiceAccount chat-gateway",
            "NetworkPolicy chat-gateway",
            "PodDisruptionBudget chat-gateway",
            "Service chat",
            "Service chat-gateway",
            "Service chat-control",
        ]
    );
    insta::assert_yaml_snapshot!("external-Service-chat", objects[3].manifest);
}

#[test]
fn a_gateway_pod() {
    let pod = |desired: &Desired| resources::pod(desired, &PodName("chat-0-a".into()));
    insta::assert_yaml_snapshot!("pod-default", pod(&desired(&json!({}))));
    insta::assert_yaml_snapshot!("pod-full", pod(&full()));
    insta::assert_yaml_snapshot!("pod-memory", pod(&desired(&json!({"backplane": {"memory": {}}}))));
}

fn container(spec: &Value) -> Container {
    resources::pod(&desired(spec), &PodName("chat-0-a".into())).spec.unwrap().containers.swap_remove(0)
}

/// The value of a variable as it stands in the pod.
fn variable(container: &Container, name: &str) -> String {
    let variables = container.env.as_ref().unwrap();
    variables.iter().find(|variable| variable.name == name).unwrap().value.clone().unwrap()
}

fn configuration(spec: &Value) -> String {
    variable(&container(spec), "MOORING_CONFIG")
}

/// The kubelet makes `$` of `$$`, and the value of a variable of `$(NAME)`.
#[test]
fn a_gateway_gets_what_the_spec_says_where_that_has_dollars_in_it() {
    let container = container(&json!({
        "auth": {"jwt": {"hmacSecretRef": {"name": "a", "key": "b"}, "issuer": "a$$b", "revokedTokens": ["$(HOSTNAME)"]}},
        "backplane": {"redis": {"url": "redis://me:pa$$@redis", "username": "$(me)"}},
        "podTemplate": {"env": [{"name": "OWN", "value": "$(HOSTNAME)"}]},
    }));
    let config = variable(&container, "MOORING_CONFIG");
    assert!(config.contains(r#""issuer":"a$$$$b","revokedTokens":["$$(HOSTNAME)"]"#), "{config}");
    assert_eq!(variable(&container, "MOORING_REDIS_URL"), "redis://me:pa$$$$@redis");
    assert_eq!(variable(&container, "MOORING_REDIS_USERNAME"), "$$(me)");
    assert_eq!(variable(&container, "OWN"), "$(HOSTNAME)", "whoever wrote that meant the variable");
}

#[test]
fn a_gateway_is_told_of_revoked_tokens_each_once_and_in_whatever_order_they_were_given() {
    let spec = |ids: &[&str]| json!({"auth": {"jwt": {"hmacSecretRef": {"name": "a", "key": "b"}, "revokedTokens": ids}}});
    let told = configuration(&spec(&["urn:uuid:7", "AT.2", "urn:uuid:7"]));
    let config: GatewayConfig = serde_json::from_str(&told).unwrap();
    assert_eq!(config.auth.revoked_tokens, ["AT.2", "urn:uuid:7"].map(str::to_owned).into());
    assert_eq!(told, configuration(&spec(&["AT.2", "urn:uuid:7"])));
}

/// Linux starts no process with an environment variable of 128 KiB.
#[test]
fn a_process_can_be_started_with_the_longest_configuration_of_ordinary_characters() {
    let ids = (0..256).map(|number| format!("{number:0>253}"));
    let origins = (0..100).map(|number| format!("https://{number:0>245}"));
    let options = json!({
        "history": {"size": 100_000, "ttlSeconds": 31_536_000}, "presence": false, "joinLeave": false,
        "publish": "Subscribers", "subscribe": "Clients", "readPresence": "Subscribers", "readHistory": "Subscribers",
    });
    let namespaces = (0..100).map(|number| {
        let mut namespace = options.clone();
        namespace["name"] = json!(format!("{number:0>64}"));
        namespace
    });
    let told = configuration(&json!({
        "listener": {"allowedOrigins": origins.collect::<Vec<_>>()},
        "channels": {"default": options, "namespaces": namespaces.collect::<Vec<_>>()},
        "auth": {"jwt": {
            "jwks": {"url": format!("https://{}", "a".repeat(2040))}, "audience": "a".repeat(253), "issuer": "a".repeat(253),
            "revokedTokens": ids.collect::<Vec<_>>(),
        }},
    }));
    let variable = "MOORING_CONFIG=".len() + told.len() + "\0".len();
    assert!((100 * 1024..128 * 1024).contains(&variable), "{variable}");
}

#[test]
fn pods_pull_their_images_with_the_secrets_of_the_spec_or_else_with_the_operators_own() {
    let pull_secrets = |spec: &Value, defaults: &Defaults| {
        let desired = Desired::parse(&cluster(spec), defaults).unwrap();
        let pod = resources::pod(&desired, &PodName("chat-0-a".into()));
        let redis = resources::objects(&desired, 1).pop().unwrap().manifest;
        [
            json!(pod.spec.unwrap().image_pull_secrets),
            redis["spec"]["template"]["spec"]["imagePullSecrets"].clone(),
        ]
    };
    let with_own = Defaults { image_pull_secrets: BTreeSet::from(["mirror".into()]), ..defaults() };
    let [own, named, other] = ["mirror", "team", "redis"].map(|name| json!([{"name": name}]));
    let given = json!({
        "podTemplate": {"imagePullSecrets": named},
        "backplane": {"redis": {"managed": {"imagePullSecrets": other}}},
    });
    assert_eq!(pull_secrets(&json!({}), &defaults()), [Value::Null, Value::Null]);
    assert_eq!(pull_secrets(&json!({}), &with_own), [own.clone(), own]);
    assert_eq!(pull_secrets(&given, &with_own), [named, other]);
}

#[test]
fn the_secrets_that_the_operator_makes() {
    let desired = desired(&json!({}));
    for which in resources::generated_secrets(&desired) {
        let secret = resources::generated_secret(&desired, which, "s3cr3t");
        insta::assert_yaml_snapshot!(format!("Secret-{}", which.name(&desired)), secret);
    }
    assert_eq!(resources::generated_secrets(&full()), [GeneratedSecret::ControlToken]);
}

#[test]
fn a_single_pod_may_be_evicted_and_of_several_one_at_a_time() {
    for (size, least) in [(0, 0), (1, 0), (2, 1), (5, 4)] {
        let objects = resources::objects(&desired(&json!({})), size);
        let budget = objects.iter().find(|object| object.key.kind.as_str() == "PodDisruptionBudget").unwrap();
        assert_eq!(budget.manifest["spec"]["minAvailable"], json!(least));
    }
}

#[test]
fn every_object_belongs_to_the_cluster_and_shows_when_a_field_was_removed() {
    for object in resources::objects(&desired(&json!({})), 1) {
        let metadata = &object.manifest["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], json!("0b5e"));
        assert_eq!(metadata["ownerReferences"][0]["controller"], json!(true));
        let hash = metadata["annotations"]["mooring.dev/applied-hash"].as_str().map(str::len);
        assert_eq!(hash, Some(64), "{}", Value::to_string(&object.manifest));
    }
}

#[test]
fn the_names_that_a_cluster_needs_are_those_of_its_objects() {
    for (spec, claim) in [(json!({}), Some("chat-redis")), (json!({"backplane": {"memory": {}}}), None)] {
        let desired = desired(&spec);
        let made = resources::objects(&desired, 1).into_iter().map(|object| object.key);
        let claim = claim
            .map(|set| ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: format!("data-{set}-0") });
        assert_eq!(resources::keys(&desired), made.chain(claim).collect::<Vec<_>>());
    }
}

#[test]
fn pod_names_are_new_and_the_same_each_time() {
    let desired = desired(&json!({}));
    let names = resources::pod_names(&desired, &Observed::default(), 5);
    assert_eq!(names, resources::pod_names(&desired, &Observed::default(), 5));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 5);
    let view = crate::fixtures::serving(&desired.revision, 0, crate::fixtures::at(0));
    let taken = ObjectKey { kind: ObjectKind::Pod, name: names[2].to_string() };
    let seen = Observed {
        pods: BTreeMap::from([(names[0].clone(), view.clone())]),
        aside: BTreeMap::from([(names[1].clone(), view)]),
        others: BTreeMap::from([(taken, Standing::Taken(Holder::Nobody))]),
        ..Observed::default()
    };
    assert_eq!(resources::pod_names(&desired, &seen, 2), names[3..]);
}
