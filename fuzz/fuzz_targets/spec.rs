#![no_main]
#![allow(dead_code, reason = "the operator's own tests use the rest of its simulator")]
//! A WebSocketCluster's spec, in YAML or JSON: whatever it says, it is refused with a reason or built, and what is built comes to rest:
//! once its pods are ready, planning again changes nothing. A second document, where there is one, is the spec that follows.

#[path = "../../operator/core/tests/simulator/api.rs"]
mod api;
#[path = "../../operator/core/tests/simulator/chance.rs"]
mod chance;
#[path = "../../operator/core/tests/simulator/clients.rs"]
mod clients;
#[path = "../../operator/core/tests/core/fixtures.rs"]
mod fixtures;
#[path = "../../operator/core/tests/simulator/gateway.rs"]
mod gateway;
#[path = "../../operator/core/tests/simulator/happen.rs"]
mod happen;
#[path = "../../operator/core/tests/simulator/history.rs"]
mod history;
#[path = "../../operator/core/tests/simulator/nodes.rs"]
mod nodes;
#[path = "../../operator/core/tests/simulator/play.rs"]
mod play;
#[path = "../../operator/core/tests/simulator/pod.rs"]
mod pod;
#[path = "../../operator/core/tests/simulator/referee/mod.rs"]
mod referee;
#[path = "../../operator/core/tests/simulator/seam.rs"]
mod seam;
#[path = "../../operator/core/tests/simulator/shell.rs"]
mod shell;
#[path = "../../operator/core/tests/simulator/wish.rs"]
mod wish;
#[path = "../../operator/core/tests/simulator/world.rs"]
mod world;
#[path = "../../operator/core/tests/simulator/writes.rs"]
mod writes;

use history::{Event, History, Placement};
use libfuzzer_sys::fuzz_target;
use operator_core::{
    crd::WebSocketCluster,
    desired::{Desired, Size, Stored},
    names::PodName,
    plan, resources,
};
use referee::rests;
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::World;

/// Larger clusters are built, and not run.
const MOST_PODS: u32 = 8;
/// Seconds until a cluster without clients rests, at most: its pods' start, and a few plans.
const REST: usize = 40;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let documents = serde_yaml::Deserializer::from_str(text).take(2);
    let specs: Vec<Value> = documents.map_while(|document| Value::deserialize(document).ok()).collect();
    let clusters: Vec<WebSocketCluster> = specs.into_iter().map_while(accepted).collect();
    let Some((first, then)) = clusters.split_first() else { return };
    let spec = serde_json::to_value(&first.spec).expect("it is JSON");
    let placement = Placement::LeastLoaded;
    let steps = Vec::new();
    let history = History { seed: 0, placement, clients: 0, spec, foreign: false, webhook: false, steps };
    let mut world = World::new(&history, play::honest());
    comes_to_rest(&mut world);
    if let Some(then) = then.first() {
        world.happen(&Event::Connect(3));
        (0..4).for_each(|_| world.tick());
        world.restore(|spec| *spec = then.spec.clone(), true);
        (0..REST).for_each(|_| world.tick());
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
    (0..REST).for_each(|_| world.tick());
    for _ in 0..10 {
        world.facts.clear();
        world.tick();
        if let Err(violation) = rests(world) {
            panic!("it never rests: {violation}");
        }
    }
    assert!(world.status.is_some(), "it was planned");
}
