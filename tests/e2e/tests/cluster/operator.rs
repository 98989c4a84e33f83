//! The operator is killed, taken away, brought back and upgraded, while clusters go on. These tests have the cluster for themselves.

use std::collections::BTreeSet;

use e2e::{
    Gateways, eventually, in_lane, in_namespace,
    load::{LATER, Load, SOON, spec, under_load},
    operator, skipped,
};
use mooring_fleet::stats::Stats;
use operator_core::crd::WebSocketClusterSpec;
use serde_json::json;

const LANE: &str = "operator";
/// Slow, so that a drain outlives the operator's lease.
const BUDGET: i32 = 8;
const CLIENTS: usize = 400;

async fn names(gateways: &Gateways) -> BTreeSet<String> {
    gateways.pods().await.into_keys().collect()
}

/// Nobody was moved and nothing lost, and the operator obeys again.
async fn assert_untouched(load: &Load, before: &BTreeSet<String>, what: &str) {
    assert_eq!(&names(&load.gateways).await, before, "every pod stayed");
    load.gateways.patch(&json!({"spec": {"replicas": before.len() + 1}})).await;
    load.gateways.ready().await;
    let after = names(&load.gateways).await;
    assert!(after.is_superset(before) && after.len() == before.len() + 1, "{before:?} became {after:?}");
    let aftermath = load.aftermath(what).await;
    aftermath.assert_nothing_lost();
    assert_eq!(aftermath.stats.reconnects.closed, 0, "{aftermath:#?}");
}

/// A spec that older definitions know as well.
fn plain() -> WebSocketClusterSpec {
    WebSocketClusterSpec { log: None, ..spec(2, 200) }
}

#[tokio::test]
async fn the_successor_of_a_killed_operator_finishes_its_drain_and_drains_no_second_pod() {
    in_lane(LANE, async |scope| {
        let load = under_load(&scope, spec(3, BUDGET), CLIENTS).await;
        let Load { gateways, fleet, .. } = &load;
        gateways.patch(&json!({"spec": {"replicas": 2}})).await;
        let moving = |stats: &Stats| stats.reconnects.closed >= 10;
        fleet.until("clients are being moved", SOON, moving).await;
        let draining = gateways.draining().await;
        assert_eq!(draining.len(), 1, "{draining:?}");
        operator::kill(&scope.client).await;
        eventually("the drain is finished", LATER, async || {
            let now = gateways.draining().await;
            let second = now.iter().find(|pod| !draining.contains(pod));
            assert_eq!(second, None, "a second pod is drained, after {draining:?}");
            let pods = gateways.pods().await;
            if pods.len() == 2 { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
        })
        .await;
        operator::available(&scope.client).await;
        gateways.ready().await;
        let aftermath = load.aftermath("an operator killed in mid-drain").await;
        aftermath.assert_nothing_lost();
        aftermath.assert_moved_within(BUDGET as u64, aftermath.stats.reconnects.closed);
        let left = gateways.pods().await;
        assert!(
            !left.contains_key(&draining[0]),
            "the pod that was drained is the one that is gone: {left:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn clusters_go_on_serving_while_the_operator_is_uninstalled_and_obey_it_when_it_is_back() {
    in_lane(LANE, async |scope| {
        let load = under_load(&scope, spec(2, BUDGET), CLIENTS).await;
        let before = names(&load.gateways).await;
        let release = operator::uninstall().await;
        let delivered = load.fleet.stats().await.deliveries.delivered + 1_000;
        let flowing = |stats: &Stats| stats.deliveries.delivered >= delivered;
        load.fleet.until("messages flow without an operator", SOON, flowing).await;
        release.install().await;
        assert_untouched(&load, &before, "helm uninstall and install").await;
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_from_the_chart_and_definition_before_moves_nobody_and_loses_nothing() {
    in_namespace("upgrade", async |scope| {
        let Some(previous) = operator::Previous::from_environment() else {
            return skipped(
                "the upgrade from an older chart",
                "the history that holds it is not in this checkout",
            );
        };
        let images = operator::Images::installed(&scope.client).await;
        let release = operator::uninstall().await;
        previous.install(images).await;
        let load = under_load(&scope, plain(), CLIENTS).await;
        let before = names(&load.gateways).await;
        release.install().await;
        assert_untouched(&load, &before, "helm upgrade from the chart before").await;
    })
    .await;
}
