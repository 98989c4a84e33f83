//! Clients that recover see every publication once and in order, whatever happens on the way.

use std::time::Duration;

use gateway_core::backplane::{BackplaneError, Payload};
use proptest::prelude::*;
use serde_json::Value;

use crate::world::{CHANNELS, Step, World};

/// Everything that loses nothing.
fn step() -> impl Strategy<Value = Step> {
    let error = prop_oneof![
        Just(BackplaneError::Busy),
        Just(BackplaneError::Unavailable),
        Just(BackplaneError::Unanswered)
    ];
    prop_oneof![
        8 => (0..2usize).prop_map(Step::Execute),
        8 => (0..2usize, 0..2usize).prop_map(|(node, choice)| Step::Take(node, choice)),
        10 => (0..4usize).prop_map(Step::Read),
        8 => (0..4usize, 0..2usize).prop_map(|(client, channel)| Step::Publish(client, channel)),
        2 => (0..2usize).prop_map(Step::Evict),
        1 => (0..4usize).prop_map(Step::Cut),
        1 => (0..2usize, 0..2usize).prop_map(|(node, channel)| Step::Discontinue(node, channel)),
        1 => (0..2usize, error).prop_map(|(node, error)| Step::Fail(node, error)),
    ]
}

/// Any number of steps that lose nothing.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..400)
}

/// Takes such steps with four clients, each of which gets each message once and in order.
pub fn live(steps: Vec<Step>) {
    let mut world = World::new(4);
    steps.into_iter().for_each(|step| world.apply(step));
    world.settle();
    assert_eq!(check(&world), 0, "nothing was trimmed, so nobody may be told of a gap");
}

/// Checks that each client's runs are parts of what was published, and that the last one reaches its end. Returns the number of gaps
/// that clients were told of.
fn check(world: &World) -> usize {
    let mut gaps = 0;
    for channel in CHANNELS {
        let published: Vec<Value> =
            world.backplane.published(channel).iter().map(|p| body(&p.payload)).collect();
        for client in &world.clients {
            let log = &client.channels[channel];
            for (start, run) in &log.runs {
                let start = *start as usize;
                assert_eq!(
                    *run,
                    published[start..start + run.len()],
                    "a part of {channel}, once and in order"
                );
            }
            let (start, run) = log.runs.last().expect("every client subscribed");
            assert_eq!(*start as usize + run.len(), published.len(), "nothing of {channel} is missing");
            gaps += log.runs.len() - 1;
        }
    }
    gaps
}

fn body(payload: &Payload) -> Value {
    let Payload::Json(body) = payload else { panic!("not JSON: {payload:?}") };
    serde_json::from_slice(body).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_client_that_recovers_gets_each_message_once_and_in_order(steps in steps()) {
        live(steps);
    }

    #[test]
    fn a_client_whose_gap_cannot_be_filled_is_told_so_and_goes_on_from_there(
        steps in prop::collection::vec(prop_oneof![9 => step(), 1 => (0..2usize).prop_map(Step::Trim)], 0..300),
    ) {
        let mut world = World::new(4);
        steps.into_iter().for_each(|step| world.apply(step));
        world.settle();
        check(&world);
    }

    #[test]
    fn a_node_without_clients_gets_no_deliveries(steps in prop::collection::vec(step(), 0..300)) {
        let mut world = World::new(4);
        steps.into_iter().for_each(|step| world.apply(step));
        world.settle();
        world.nodes[0].evict(u32::MAX);
        world.settle();
        for (number, node) in world.nodes.iter().enumerate() {
            let empty = node.shard.connections().total() == 0;
            prop_assert_eq!(node.shard.channels() == 0, empty);
            prop_assert_eq!(world.backplane.serves(number), !empty);
        }
    }
}

#[test]
fn a_drained_node_moves_each_client_once() {
    let mut world = World::new(4);
    world.settle();
    for round in 0..2 {
        (0..4).for_each(|client| world.apply(Step::Publish(client, round)));
        assert_eq!(world.nodes[0].evict(1), 1);
        world.settle();
    }
    assert_eq!(world.nodes[0].shard.connections().total(), 0);
    assert_eq!(world.clients.iter().map(|client| client.moved).collect::<Vec<_>>(), vec![1, 0, 1, 0]);
    assert_eq!(check(&world), 0);
    let accepted = world.nodes[1].shard.accepted();
    assert_eq!((accepted.new, accepted.resumed), (2, 2));
}

#[test]
fn clients_that_answer_pings_stay() {
    let mut world = World::new(2);
    world.settle();
    for _ in 0..200 {
        world.apply(Step::Wait(1));
        world.settle();
    }
    assert!(world.nodes.iter().all(|node| node.now.monotonic > Duration::from_secs(200)));
    assert_eq!(world.clients.iter().map(|client| client.moved).sum::<u32>(), 0);
    assert_eq!(world.nodes[0].shard.connections().total(), 1);
}
