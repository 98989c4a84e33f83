//! The size follows the connections.

use std::{
    collections::BTreeSet,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use e2e::{
    Fleet, Gateways, in_namespace,
    load::{CLIENTS, LATER, Load, SOON, clients, spec, steadily},
    measured,
};
use mooring_fleet::stats::{ClientsRequest, Stats};
use operator_core::crd::{Behavior, Scaling, ScalingRules, WebSocketClusterSpec};

const MIN: i32 = 2;
const MAX: i32 = 4;
/// Few enough to be a pace for the two dozen clients that may be left on the pods that go.
const BUDGET: i32 = 5;
/// Clients that the smallest size is just enough for.
const FEW: usize = 260;
/// Clients that come when new pods are there, however long these take.
const LATE: usize = 60;
/// Clients left in the end, for which the smallest size is enough again.
const LEFT: usize = 250;

fn scaled() -> WebSocketClusterSpec {
    let down = ScalingRules { stabilization_window_seconds: Some(5), ..Behavior::default().scale_down };
    WebSocketClusterSpec {
        replicas: None,
        scaling: Some(Scaling {
            min_replicas: MIN,
            max_replicas: MAX,
            connections_per_pod: 135,
            headroom: "0%".to_owned(),
            behavior: Behavior { scale_down: down, ..Behavior::default() },
        }),
        ..spec(MIN, BUDGET)
    }
}

fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(now.as_millis()).expect("a clock before the year 500,000,000")
}

/// More clients than the size is for: says how long the decision, and a new pod's first connection took.
async fn rise(gateways: &Gateways, fleet: &Fleet) {
    let old: BTreeSet<String> = gateways.pods().await.into_keys().collect();
    let (step, step_millis) = (Instant::now(), unix_millis());
    fleet.clients(&ClientsRequest { per_second: 10.0, ..clients(CLIENTS - LATE) }).await;
    gateways.until("pods are added", LATER, |status| status.desired_replicas > MIN).await;
    measured("from the step in connections to the decision", format!("{} ms", step.elapsed().as_millis()));
    gateways.until("a new pod is ready", LATER, |status| status.ready_replicas > MIN).await;
    fleet.clients(&ClientsRequest { per_second: 10.0, ..clients(CLIENTS) }).await;
    let is_new = |stats: &Stats| stats.nodes.keys().any(|node| !old.contains(node));
    let stats = fleet.until("a new pod has connections", LATER, is_new).await;
    let first = stats
        .nodes
        .iter()
        .filter(|(name, _)| !old.contains(*name))
        .map(|(_, node)| node.first_connection_millis);
    let first = first.min().expect("a new pod").saturating_sub(step_millis);
    measured("from the step in connections to a new pod's first connection", format!("{first} ms"));
    fleet.subscribed().await;
    gateways.until("there are pods for all", LATER, |status| status.ready_replicas == MAX).await;
    let stats = fleet.stats().await;
    assert_eq!(stats.reconnects.closed, 0, "nobody is moved when pods are added: {stats:#?}");
}

#[tokio::test]
async fn pods_follow_the_connections_up_and_down_and_each_client_is_moved_at_most_once_within_the_budget() {
    in_namespace("scaling", async |scope| {
        let gateways = Gateways::deploy(&scope, "chat", scaled()).await;
        let fleet = Fleet::start(&gateways).await;
        fleet.connect(&clients(FEW)).await;
        fleet.publish(&steadily()).await;
        fleet.reset().await;
        rise(&gateways, &fleet).await;

        let load = Load::watch(gateways.clone(), fleet.clone()).await;
        fleet.clients(&clients(LEFT)).await;
        gateways.until("pods are drained", SOON, |status| status.draining_replicas > 0).await;
        gateways.until("the size is the least again", LATER, |status| status.replicas == MIN).await;
        gateways.ready().await;
        let aftermath = load.aftermath("scale-down").await;
        aftermath.assert_nothing_lost();
        let moved = aftermath.stats.reconnects.closed;
        assert!(moved <= LEFT as u64, "some were moved twice: {aftermath:#?}");
        aftermath.assert_moved_within(BUDGET as u64, moved);
    })
    .await;
}
