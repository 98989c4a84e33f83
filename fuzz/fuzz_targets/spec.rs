#![no_main]
//! A WebSocketCluster's spec, in YAML or JSON: whatever it says, it is refused with a reason or built, and what is built comes to rest:
//! once its pods are ready, planning again changes nothing. A second document, where there is one, is the spec that follows.

#[path = "../../operator/core/tests/core/fixtures.rs"]
#[expect(dead_code, reason = "the operator's own tests use the rest")]
mod fixtures;
#[path = "../../operator/core/tests/core/world.rs"]
#[expect(dead_code, reason = "the operator's own tests use the rest")]
mod world;

use libfuzzer_sys::fuzz_target;
use operator_core::{
    crd::WebSocketCluster,
    desired::{Desired, Size, Stored},
    names::PodName,
    plan, resources,
};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::World;

/// Larger clusters are built, and not run.
const MOST_PODS: u32 = 8;
/// Until a cluster without clients rests, at most: its pods' start, and a few plans.
const REST: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let documents = serde_yaml::Deserializer::from_str(text).take(2);
    let specs: Vec<Value> = documents.map_while(|document| Value::deserialize(document).ok()).collect();
    let clusters: Vec<WebSocketCluster> = specs.into_iter().map_while(accepted).collect();
    let Some((first, then)) = clusters.split_first() else { return };
    let mut world = World::new(first.clone());
    comes_to_rest(&mut world);
    if let Some(then) = then.first() {
        world.connect(3);
        world.run(4);
        world.edit(|cluster| cluster.spec = then.spec.clone());
        world.run(REST);
    }
});

/// The cluster of a spec that is accepted, and small enough to be run; checks what is built.
fn accepted(spec: Value) -> Option<WebSocketCluster> {
    let metadata = json!({"name": "chat", "namespace": "demo", "uid": "0b5e", "generation": 1});
    let stored: Stored =
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("it can be listed");
    let desired = match stored.parse(&fixtures::defaults()) {
        Ok(desired) => desired,
        Err(invalid) => {
            let refused = plan::refuse(&stored, &invalid, fixtures::at(0));
            assert!(refused.actions.is_empty() && refused.reasons.len() == 1);
            let message = invalid.to_string();
            assert!(
                message.starts_with("spec") && message.contains(';'),
                "without field or remedy: {message}"
            );
            return None;
        }
    };
    let size = match &desired.size {
        Size::Fixed(size) => *size,
        Size::Scaled(scaling) => scaling.min,
    };
    check_objects(&desired, size);
    (size <= MOST_PODS).then(|| stored.0.expect("it was parsed"))
}

/// Every object has a name of its own, and says whose it is.
fn check_objects(desired: &Desired, size: u32) {
    let mut keys = BTreeSet::new();
    for object in resources::objects(desired, size) {
        let metadata = &object.manifest["metadata"];
        assert_eq!(metadata["name"], object.key.name.as_str());
        assert!(metadata["ownerReferences"].is_array(), "{metadata}");
        assert!(keys.insert(object.key), "two objects of one name");
    }
    let pod = resources::pod(desired, &PodName("chat-0-0".into()));
    let pod = serde_json::to_value(pod).expect("it is applied as JSON");
    assert_eq!(pod["spec"]["containers"][0]["image"], desired.image.as_str());
    let config = pod["spec"]["containers"][0]["env"][0]["value"].as_str().expect("the configuration");
    let config: gateway_core::config::GatewayConfig =
        serde_json::from_str(config).expect("the gateway reads it");
    assert_eq!(config, desired.gateway);
}

fn comes_to_rest(world: &mut World) {
    for _ in 0..REST {
        if world.is_settled() {
            break;
        }
        world.run(1);
    }
    let done = world.log.len();
    world.run(4);
    let more = &world.log[done..];
    assert!(more.is_empty(), "it never rests: {more:?}");
    let status = world.status.as_ref().expect("it was planned");
    assert!(world.is_settled() || world.cluster.spec.paused || status.desired_replicas == 0, "{status:?}");
}
