//! When pods roll.

use crate::fixtures::{cluster, defaults, desired};
use operator_core::desired::{Defaults, Desired};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn the_revision_of_a_spec_does_not_change_from_one_version_of_the_operator_to_the_next() {
    let full = json!({
        "image": "gateway:1",
        "protocols": ["raw"],
        "listener": {"allowedOrigins": ["https://example.com"]},
        "auth": {"jwt": {"hmacSecretRef": {"name": "jwt", "key": "secret"}, "audience": "chat"}},
        "limits": {"maxConnections": 100},
        "podTemplate": {"labels": {"team": "chat"}, "env": [{"name": "RUST_LOG", "value": "debug"}]},
    });
    let revisions = [json!({}), full].map(|spec| desired(&spec).revision.0);
    assert_eq!(revisions, ["1fad07c54a", "5523619bd9"]);
}

#[test]
fn what_is_not_about_a_pod_rolls_nothing() {
    let plain = desired(&json!({})).revision;
    for spec in [
        json!({"replicas": 5}),
        json!({"scaling": {"maxReplicas": 9}}),
        json!({"disruption": {"maxReconnectsPerSecond": 7, "drainTimeout": "1m"}}),
        json!({"rollout": {"maxSurge": 3}}),
        json!({"listener": {"port": 443}}),
        json!({"listener": {"compression": false}}),
        json!({"expose": {"service": {"type": "NodePort", "nodePort": 30080}}}),
        json!({"backplane": {"redis": {"managed": {
            "image": "valkey:9", "storage": {"size": "9Gi"}, "imagePullSecrets": [{"name": "mirror"}],
        }}}}),
        json!({"paused": true}),
        json!({"limits": {}, "podTemplate": {"labels": {}}}),
    ] {
        assert_eq!(desired(&spec).revision, plain, "{spec}");
    }
}

#[test]
fn what_a_gateway_would_do_otherwise_rolls() {
    let mut revisions = vec![desired(&json!({})).revision];
    for spec in [
        json!({"image": "gateway:2"}),
        json!({"protocols": ["centrifuge"]}),
        json!({"listener": {"allowedOrigins": ["https://example.com"]}}),
        json!({"listener": {"compression": true}}),
        json!({"limits": {"maxConnections": 12000}}),
        json!({"channels": {"default": {"presence": true}, "namespaces": []}}),
        json!({"auth": {"anonymous": true, "apiKeySecretRef": {"name": "a", "key": "b"}}}),
        json!({"auth": {"jwt": {"hmacSecretRef": {"name": "a", "key": "b"}}}}),
        json!({"auth": {"jwt": {"hmacSecretRef": {"name": "a", "key": "b"}, "revokedTokens": ["stolen"]}}}),
        json!({"backplane": {"redis": {"url": "redis://a"}}}),
        json!({"backplane": {"redis": {"url": "rediss://a"}}}),
        json!({"backplane": {"redis": {"url": "rediss://a", "username": "me"}}}),
        json!({"backplane": {"redis": {"url": "rediss://a", "tls": {"caSecretRef": {"name": "a", "key": "b"}}}}}),
        json!({"backplane": {"redis": {"url": "rediss://a", "tls": {"clientCertificateSecretRef": {"name": "a"}}}}}),
        json!({"backplane": {"memory": {}}}),
        json!({"podTemplate": {"annotations": {"restarted": "now"}}}),
        json!({"log": "debug"}),
        json!({"podTemplate": {"resources": {"requests": {"cpu": "1"}}}}),
        json!({"podTemplate": {"imagePullSecrets": [{"name": "mirror"}]}}),
    ] {
        revisions.push(desired(&spec).revision);
    }
    let count = revisions.len();
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), count);
}

#[test]
fn other_defaults_of_the_operator_roll_nothing() {
    let newer = Defaults {
        gateway_image: "gateway:9".into(),
        redis_image: "valkey:9".into(),
        image_pull_secrets: BTreeSet::from(["mirror".into()]),
    };
    let parse = |defaults: &Defaults| Desired::parse(&cluster(&json!({})), defaults).unwrap();
    assert_eq!(parse(&newer).revision, parse(&defaults()).revision);
    assert_eq!(parse(&newer).image, "gateway:9");
}
