//! Pods go away, for every reason there is, while messages flow; and so does the backplane. A lane: one cluster for all of it.

use e2e::{
    Scope, eventually, in_lane,
    load::{CHANNELS, CLIENTS, LATER, Load, SOON, first_pod, spec, under_load},
    measured,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{ResourceExt as _, api::DeleteParams};
use mooring_fleet::stats::Stats;
use serde_json::json;

const LANE: &str = "disruption";
const BUDGET: u64 = 100;

async fn load(scope: &Scope) -> Load {
    under_load(scope, spec(2, BUDGET as i32), CLIENTS).await
}

#[tokio::test]
async fn a_change_of_the_pod_template_moves_each_client_once_within_the_budget_and_loses_nothing() {
    in_lane(LANE, async |scope| {
        let load = load(&scope).await;
        let before = load.gateways.get().await.status.unwrap_or_default().updated_revision;
        load.gateways.patch(&json!({"spec": {"podTemplate": {"annotations": {"greeting": "hello"}}}})).await;
        load.gateways.until("a rollout starts", SOON, |status| status.updated_revision != before).await;
        load.gateways.ready().await;
        let aftermath = load.aftermath("change of the pod template").await;
        aftermath.assert_nothing_lost();
        aftermath.assert_moved_within(BUDGET, CLIENTS as u64);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pod_moves_its_clients_and_no_others_within_the_budget_and_loses_nothing() {
    in_lane(LANE, async |scope| {
        let load = load(&scope).await;
        let (pod, connections) = first_pod(&load.gateways).await;
        scope.delete_pod(&pod.name_any(), None).await;
        load.gateways.until("the pod is terminating", SOON, |status| status.reason != "Ready").await;
        load.gateways.ready().await;
        let aftermath = load.aftermath("kubectl delete pod").await;
        aftermath.assert_nothing_lost();
        aftermath.assert_moved_within(BUDGET, connections);
        assert!(!load.gateways.pods().await.contains_key(&pod.name_any()), "the pod was replaced");
    })
    .await;
}

#[tokio::test]
async fn a_killed_gateway_cuts_off_its_clients_and_no_others_and_loses_nothing() {
    in_lane(LANE, async |scope| {
        let load = load(&scope).await;
        let (pod, connections) = first_pod(&load.gateways).await;
        scope.kill(&pod).await;
        load.fleet.until("clients notice", SOON, |stats| stats.reconnects.closed >= connections).await;
        load.fleet.subscribed().await;
        load.gateways.ready().await;
        let aftermath = load.aftermath("SIGKILL of a gateway").await;
        aftermath.assert_nothing_lost();
        let stats = &aftermath.stats;
        assert_eq!(
            stats.reconnects.closed, connections,
            "only the clients of that pod are affected: {stats:#?}"
        );
        assert_eq!(stats.reconnects.most_of_one_client(), 1, "{stats:#?}");
        assert_eq!(stats.deliveries.told_not_recovered, 0, "{stats:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_killed_redis_closes_nobody_and_loses_nothing() {
    in_lane(LANE, async |scope| {
        let load = load(&scope).await;
        let Load { gateways, fleet, .. } = &load;
        gateways.kill_redis().await;
        let accepted = fleet.stats().await.published.acknowledged + 2 * CHANNELS as u64;
        fleet
            .until("messages are accepted again", LATER, |stats| stats.published.acknowledged >= accepted)
            .await;
        gateways.ready().await;
        let aftermath = load.aftermath("SIGKILL of Redis").await;
        aftermath.assert_nothing_lost();
        let stats = &aftermath.stats;
        assert_eq!(stats.deliveries.told_not_recovered, 0, "every accepted message was on disk: {stats:#?}");
        assert_eq!(stats.reconnects.closed, 0, "clients keep their connections: {stats:#?}");
    })
    .await;
}

#[tokio::test]
async fn clients_are_told_when_the_backplane_loses_its_history() {
    in_lane(LANE, async |scope| {
        let load = load(&scope).await;
        let Load { gateways, fleet, .. } = &load;
        let redis = gateways.redis().await;
        let claim = format!("data-{}", redis.name_any());
        let claims = scope.api::<PersistentVolumeClaim>();
        let uid = claims.get(&claim).await.expect("Redis has a volume").metadata.uid;
        claims.delete(&claim, &DeleteParams::default()).await.expect("the claim is deleted");
        scope.delete_pod(&redis.name_any(), None).await;
        eventually("Redis has a new volume", LATER, async || match claims.get_opt(&claim).await {
            Ok(Some(claim)) if claim.metadata.uid != uid => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let told = |stats: &Stats| stats.deliveries.told_not_recovered >= CLIENTS as u64;
        fleet.until("every client is told", LATER, told).await;
        let delivered = fleet.subscribed().await.deliveries.delivered + CLIENTS as u64;
        fleet.until("messages flow again", SOON, |stats| stats.deliveries.delivered >= delivered).await;
        gateways.ready().await;
        let aftermath = load.aftermath("a backplane that lost its history").await;
        aftermath.assert_nothing_lost();
        let stats = &aftermath.stats;
        assert_eq!(stats.reconnects.closed, 0, "clients keep their connections: {stats:#?}");
        measured("clients told that they were not recovered", stats.deliveries.told_not_recovered);
    })
    .await;
}
