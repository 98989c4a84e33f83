//! What holds whatever happens.

use crate::fixtures::cluster;
use crate::world::World;
use operator_core::desired::Size;
use proptest::prelude::*;
use serde_json::{Value, json};

const BUDGET: u32 = 50;

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    /// A fixed size, or the most pods of a scaled cluster.
    Resize(i32),
    Template(u8),
    Delete(usize),
    Connect(usize),
    Disconnect(usize),
    RestartOperator,
    StopOperator(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..6).prop_map(Event::Resize),
        (0..3_u8).prop_map(Event::Template),
        (0..6_usize).prop_map(Event::Delete),
        (0..300_usize).prop_map(Event::Connect),
        (0..300_usize).prop_map(Event::Disconnect),
        Just(Event::RestartOperator),
        (0..20_usize).prop_map(Event::StopOperator),
    ]
}

/// Events, and the seconds after each.
fn events() -> impl Strategy<Value = Vec<(Event, usize)>> {
    proptest::collection::vec((event(), 0..30_usize), 1..8)
}

/// Clients for whom there is room when the cluster is as large as it may be: beyond that nothing ever settles.
fn capacity(world: &World) -> usize {
    let desired = world.desired();
    let most = match &desired.size {
        Size::Fixed(size) => *size,
        Size::Scaled(scaling) => scaling.max,
    };
    (most * desired.gateway.limits.max_connections) as usize
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Resize(pods) => {
            let limit = world.cluster.spec.limits.max_connections as usize;
            let needed = i32::try_from(world.clients.len().div_ceil(limit)).unwrap();
            world.edit(|cluster| match &mut cluster.spec.scaling {
                Some(scaling) => scaling.max_replicas = scaling.min_replicas.max(*pods).max(needed),
                None => cluster.spec.replicas = Some(needed.max(*pods)),
            });
        }
        Event::Template(image) => world.edit(|cluster| cluster.spec.image = Some(format!("image:{image}"))),
        Event::Delete(index) => {
            if let Some(name) = world.pods.keys().nth(*index).cloned() {
                world.delete(&name);
            }
        }
        Event::Connect(count) => world.connect((*count).min(capacity(world) - world.clients.len())),
        // From all over the cluster: the order of the clients is that of their pods, more or less.
        Event::Disconnect(count) => {
            for _ in 0..(*count).min(world.clients.len()) {
                world.clients.swap_remove(world.clients.len() / 3);
            }
        }
        Event::RestartOperator => world.restart_operator(),
        Event::StopOperator(seconds) => {
            world.down = true;
            world.run(*seconds);
            world.down = false;
        }
    }
}

/// A cluster of `spec` to which `events` happened, settled again, with what was asked of it, and the budget and the clients'
/// moves as they should be.
fn after(spec: &Value, events: &[(Event, usize)]) -> Result<World, TestCaseError> {
    let mut world = World::new(cluster(spec));
    happen(&mut world, &Event::Connect(200));
    world.run_until("settling", World::is_settled);
    let (mut deletions, mut changes) = (0, 0);
    for (event, pause) in events {
        deletions += usize::from(matches!(event, Event::Delete(_)));
        let resized = matches!(event, Event::Resize(_)) && world.cluster.spec.scaling.is_none();
        changes += usize::from(matches!(event, Event::Delete(_) | Event::Template(_)) || resized);
        happen(&mut world, event);
        world.run(*pause);
    }
    world.run_until("settling", World::is_settled);
    let revision = world.desired().revision;
    prop_assert!(world.pods.values().all(|pod| pod.revision == revision));

    // A gateway that is told to terminate starts at the whole budget before the operator knows.
    let most = world.moved.iter().copied().max().unwrap_or(0);
    prop_assert!(most <= BUDGET as usize * (1 + deletions), "{most} in a second");
    let moves = world.clients.iter().map(|client| client.moves).max().unwrap_or(0);
    // Whoever deletes the only new pod of a rollout sends its clients back to an old one, which goes in its turn.
    let allowed = changes + deletions + world.cuts;
    prop_assert!(moves as usize <= allowed, "{moves} moves of one client by {changes} changes");

    let done = world.log.len();
    world.run(20);
    prop_assert_eq!(world.log.len(), done);
    Ok(world)
}

/// Room for everybody in each pod, or hardly more than a pod's share.
fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![Just(10_000), Just(130)]
}

fn scaled() -> impl Strategy<Value = Value> {
    let surge = prop_oneof![Just(json!("25%")), Just(json!("100%")), Just(json!(2))];
    (1..3_i32, 1..6_i32, 0..40_i32, surge, limit()).prop_map(|(min, max, window, surge, limit)| {
        json!({
            "scaling": {
                "minReplicas": min, "maxReplicas": max.max(min), "connectionsPerPod": 100, "headroom": "0%",
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": window}},
            },
            "rollout": {"maxSurge": surge},
            "limits": {"maxConnections": limit},
            "disruption": {"maxReconnectsPerSecond": BUDGET},
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_the_cluster_ends_as_desired_and_stays_so(limit in limit(), events in events()) {
        let spec = json!({
            "replicas": 3, "limits": {"maxConnections": limit}, "disruption": {"maxReconnectsPerSecond": BUDGET},
        });
        let world = after(&spec, &events)?;
        let Size::Fixed(size) = world.desired().size else { unreachable!("the size is fixed") };
        prop_assert_eq!(world.pods.len(), size as usize);
    }

    #[test]
    fn whatever_happens_a_scaled_cluster_ends_with_the_pods_that_its_connections_ask_for(
        spec in scaled(), events in events()
    ) {
        let world = after(&spec, &events)?;
        let Size::Scaled(scaling) = world.desired().size else { unreachable!("the size is scaled") };
        let (clients, per_pod) = (world.clients.len(), scaling.connections_per_pod as usize);
        let fits = clients.div_ceil(per_pod).clamp(scaling.min as usize, scaling.max as usize);
        // A scale-down is not worth the trouble within its tolerance of 10 %.
        let tolerated = clients * 10 >= world.pods.len() * per_pod * 9;
        prop_assert!(world.pods.len() == fits || (world.pods.len() > fits && tolerated), "{} for {clients}", world.pods.len());
    }
}
