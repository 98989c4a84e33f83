//! Each way a spec can be refused.

use crate::fixtures::{cluster, defaults};
use kube::Resource as _;
use operator_core::crd::WebSocketCluster;
use operator_core::desired::{Desired, Invalid, Size, Stored};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is wrong, the reason expected, and what the message must name.
fn refusals() -> Vec<(Value, &'static str, &'static str)> {
    let scaling = |more: Value| {
        let mut scaling = json!({"maxReplicas": 5});
        scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "scaling": scaling })
    };
    let secret = json!({"name": "s", "key": "k"});
    let revoked =
        |ids: Vec<String>| json!({"auth": {"jwt": {"hmacSecretRef": secret, "revokedTokens": ids}}});
    vec![
        (json!({"replicas": -1}), "OutOfRange", "spec.replicas -1"),
        (scaling(json!({"minReplicas": 0})), "OutOfRange", "spec.scaling.minReplicas 0"),
        (json!({"listener": {"port": 70000}}), "OutOfRange", "spec.listener.port 70000"),
        (json!({"limits": {"maxConnections": 0}}), "OutOfRange", "spec.limits.maxConnections 0"),
        (
            json!({"limits": {"maxMessageBytes": 262_145}}),
            "OutOfRange",
            "spec.limits.outboundQueueBytes 1048576",
        ),
        (
            json!({"disruption": {"maxReconnectsPerSecond": 0}}),
            "OutOfRange",
            "spec.disruption.maxReconnectsPerSecond 0",
        ),
        (json!({"replicas": 2, "scaling": {"maxReplicas": 5}}), "FixedSizeWithScaling", "spec.replicas 2"),
        (scaling(json!({"minReplicas": 6})), "MinAboveMax", "spec.scaling.minReplicas 6"),
        (scaling(json!({"headroom": "ten"})), "InvalidHeadroom", "spec.scaling.headroom \"ten\""),
        (
            scaling(json!({"behavior": {"scaleUp": {"tolerance": 2.0}}})),
            "InvalidTolerance",
            "scaleUp.tolerance 2",
        ),
        (
            scaling(json!({"connectionsPerPod": 20000})),
            "TargetOutOfReach",
            "spec.limits.maxConnections 15000",
        ),
        (
            scaling(json!({"connectionsPerPod": 15000, "headroom": "0%"})),
            "TargetOutOfReach",
            "spec.scaling.connectionsPerPod 15000",
        ),
        (json!({"listener": {"allowedOrigins": ["example.com"]}}), "InvalidOrigin", "\"example.com\""),
        (json!({"listener": {"allowedOrigins": ["*"]}}), "InvalidOrigin", "\"*\""),
        (json!({"protocols": []}), "InvalidProtocols", "spec.protocols"),
        (json!({"protocols": ["raw", "raw"]}), "InvalidProtocols", "spec.protocols"),
        (json!({"auth": {}}), "NobodyCanConnect", "spec.auth.anonymous"),
        (json!({"auth": {"jwt": {}}}), "InvalidJwtKeys", "spec.auth.jwt: without a key"),
        (
            json!({"auth": {"jwt": {"hmacSecretRef": secret, "publicKeySecretRef": secret}}}),
            "InvalidJwtKeys",
            "give one of them",
        ),
        (
            json!({"auth": {"jwt": {"jwks": {"url": "http://login.example.com/keys"}}}}),
            "InvalidJwksUrl",
            "spec.auth.jwt.jwks.url \"http://login.example.com/keys\": not an address of a key set; over http",
        ),
        (
            json!({"auth": {"jwt": {"jwks": {"url": "login"}}}}),
            "InvalidJwksUrl",
            "spec.auth.jwt.jwks.url \"login\": not an address of a key set; write it like https://",
        ),
        (
            json!({"auth": {"jwt": {"jwks": {"url": "https://a", "caSecretRef": {"name": "", "key": "k"}}}}}),
            "InvalidSecretRef",
            "spec.auth.jwt.jwks.caSecretRef",
        ),
        (
            revoked(vec!["a".into(), "stolen one".into()]),
            "InvalidRevokedTokens",
            "spec.auth.jwt.revokedTokens \"stolen one\"",
        ),
        (revoked(vec![String::new()]), "InvalidRevokedTokens", "spec.auth.jwt.revokedTokens \"\""),
        (revoked(vec!["a".repeat(254)]), "InvalidRevokedTokens", "give 1 to 253 visible ASCII characters"),
        (
            revoked((0..10_001).map(|number| number.to_string()).collect()),
            "InvalidRevokedTokens",
            "spec.auth.jwt.revokedTokens: a list of 10001; give at most 10000",
        ),
        (
            revoked((0..600).map(|number| format!("{number:0>250}")).collect()),
            "ConfigurationTooLong",
            "bytes, and a gateway can't be started with more than 130048; leave out what has expired of spec.auth.jwt.revokedTokens",
        ),
        (
            json!({"auth": {"anonymous": true, "apiKeySecretRef": {"name": "", "key": "k"}}}),
            "InvalidSecretRef",
            "spec.auth.apiKeySecretRef",
        ),
        (
            json!({"podTemplate": {"imagePullSecrets": [{"name": "a"}, {}]}}),
            "InvalidImagePullSecret",
            "spec.podTemplate.imagePullSecrets",
        ),
        (
            json!({"backplane": {"redis": {"managed": {"imagePullSecrets": [{"name": ""}]}}}}),
            "InvalidImagePullSecret",
            "spec.backplane.redis.managed.imagePullSecrets",
        ),
        (json!({"channels": {"namespaces": [{"name": "a"}, {"name": "a"}]}}), "InvalidNamespace", "\"a\""),
        (json!({"backplane": {}}), "InvalidBackplane", "has 0 of redis and memory"),
        (
            json!({"backplane": {"redis": {"managed": {}}, "memory": {}}}),
            "InvalidBackplane",
            "has 2 of redis and memory",
        ),
        (json!({"replicas": 2, "backplane": {"memory": {}}}), "MemoryNeedsOnePod", "spec.backplane.memory"),
        (json!({"scaling": {"maxReplicas": 2}, "backplane": {"memory": {}}}), "MemoryNeedsOnePod", "up to 2"),
        (json!({"backplane": {"redis": {}}}), "InvalidRedis", "has 0 of managed"),
        (
            json!({"backplane": {"redis": {"managed": {}, "url": "redis://a"}}}),
            "InvalidRedis",
            "has 2 of managed",
        ),
        (json!({"backplane": {"redis": {"url": "http://a"}}}), "InvalidRedisUrl", "\"http://a\""),
        (
            json!({"backplane": {"redis": {"url": "redis://a", "tls": {}}}}),
            "TlsOfPlainRedis",
            "spec.backplane.redis.tls: url \"redis://a\"",
        ),
        (
            json!({"backplane": {"redis": {"urlFrom": secret, "tls": {"clientCertificateSecretRef": {}}}}}),
            "InvalidSecretRef",
            "spec.backplane.redis.tls.clientCertificateSecretRef",
        ),
        (
            json!({"backplane": {"redis": {"managed": {}, "username": "me"}}}),
            "AccessOfManagedRedis",
            "spec.backplane.redis.username",
        ),
        (
            json!({"backplane": {"redis": {"managed": {}, "passwordFrom": secret}}}),
            "PasswordOfManagedRedis",
            "passwordFrom",
        ),
        (json!({"disruption": {"drainTimeout": "soon"}}), "InvalidDrainTimeout", "\"soon\""),
        (json!({"disruption": {"drainTimeout": "0s"}}), "InvalidDrainTimeout", "\"0s\""),
        (json!({"disruption": {"drainTimeout": "25h"}}), "InvalidDrainTimeout", "\"25h\""),
        (json!({"rollout": {"maxSurge": 0}}), "InvalidMaxSurge", "spec.rollout.maxSurge 0"),
        (json!({"rollout": {"maxSurge": "0%"}}), "InvalidMaxSurge", "\"0%\""),
        (json!({"expose": {"service": {"nodePort": 30080}}}), "NodePortOfClusterIP", "nodePort 30080"),
        (json!({"log": "info,mooring_gateway=loud"}), "InvalidLog", "spec.log \"mooring_gateway=loud\""),
        (
            json!({"podTemplate": {"labels": {"mooring.dev/x": "y"}}}),
            "ReservedName",
            "spec.podTemplate.labels",
        ),
        (
            json!({"podTemplate": {"annotations": {"mooring.dev/x": "y"}}}),
            "ReservedName",
            "spec.podTemplate.annotations",
        ),
        (json!({"podTemplate": {"env": [{"name": "MOORING_X"}]}}), "ReservedName", "spec.podTemplate.env"),
    ]
}

fn refusal(cluster: &WebSocketCluster) -> Invalid {
    Desired::parse(cluster, &defaults()).expect_err("a spec that can't work")
}

#[test]
fn each_refusal_names_the_field_the_value_and_the_remedy() {
    for (spec, reason, named) in refusals() {
        let invalid = refusal(&cluster(&spec));
        let message = invalid.to_string();
        assert_eq!(invalid.reason(), reason, "{spec}: {message}");
        assert!(message.contains(named), "{named:?} is not in {message:?}");
        assert!(message.contains(';'), "no remedy in {message:?}");
    }
}

#[test]
fn every_way_to_be_refused_is_tested() {
    let tested: BTreeSet<_> = refusals().into_iter().map(|(_, reason, _)| reason).collect();
    // The two that are about metadata are below, and what can't even be read.
    assert_eq!(tested.len() + 3, 31);
}

#[test]
fn a_name_that_services_cannot_have_is_refused() {
    for name in ["1chat", "Chat", "chat-", "c.hat", &"c".repeat(47)] {
        let mut cluster = cluster(&json!({}));
        cluster.metadata.name = Some(name.into());
        assert_eq!(refusal(&cluster), Invalid::Name { name: name.into() });
    }
}

#[test]
fn an_object_that_was_never_stored_is_refused() {
    let mut cluster = cluster(&json!({}));
    cluster.metadata.uid = None;
    assert_eq!(refusal(&cluster), Invalid::NotStored { field: "uid" });
}

#[test]
fn a_spec_that_cannot_be_read_is_refused_and_says_where() {
    let stored = |spec: Value, status: Value| -> Stored {
        let metadata = json!({"name": "chat", "namespace": "demo", "uid": "0b5e", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    };
    for (spec, said) in [
        (json!({"replicas": "three"}), "spec.replicas: invalid type: string \"three\", expected i32; "),
        (json!({"protocols": ["raw", "mqtt"]}), "spec.protocols[1]: unknown variant `mqtt`, expected "),
        (json!(7), "spec: invalid type: integer `7`, expected "),
    ] {
        let odd = stored(spec, json!({"connections": 7}));
        let refusal = odd.parse(&defaults()).unwrap_err();
        assert_eq!(refusal.reason(), "UndecodableSpec");
        assert!(refusal.to_string().contains(said), "{said:?} is not in {refusal}");
        assert_eq!(
            (odd.meta().generation, odd.status().map(|status| status.connections)),
            (Some(3), Some(7))
        );
    }
    let open = json!({"replicas": 2, "auth": {"anonymous": true}});
    let forgotten = stored(open, json!({"connections": "many"}));
    assert_eq!(forgotten.parse(&defaults()).unwrap().size, Size::Fixed(2));
    assert_eq!(forgotten.status(), None);
}

#[test]
fn a_spec_without_a_size_is_one_pod_with_a_redis_of_its_own() {
    let desired = Desired::parse(&cluster(&json!({})), &defaults()).unwrap();
    insta::assert_debug_snapshot!(desired);
}

#[test]
fn what_gateways_log_is_levels_and_levels_of_modules() {
    for (log, is_right) in [
        ("info", true),
        ("WARN,mooring_gateway::reactor=debug", true),
        ("off,_a1::b=trace,error", true),
        ("verbose", false),
        ("info,", false),
        (",info", false),
        ("info, debug", false),
        ("info debug", false),
        ("a:b=info", false),
        ("a::=info", false),
        ("=info", false),
        ("a=b=info", false),
        ("1a=info", false),
        ("[span]=info", false),
    ] {
        let parsed = Desired::parse(&cluster(&json!({ "log": log })), &defaults());
        let is_taken = parsed.as_ref().is_ok_and(|desired| desired.log.as_deref() == Some(log));
        assert_eq!(is_taken, is_right, "{log}: {parsed:?}");
    }
}

#[test]
fn drain_timeouts_are_read_as_kubernetes_writes_durations() {
    for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1h1m1s", 3661)] {
        let spec = json!({"disruption": {"drainTimeout": text}});
        let desired = Desired::parse(&cluster(&spec), &defaults()).unwrap();
        assert_eq!(desired.drain_timeout.as_secs(), seconds);
    }
}
