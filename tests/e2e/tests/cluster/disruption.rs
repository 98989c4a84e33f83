//! Pods go away, for every reason there is, while messages flow; and so does the backplane.

use e2e::{Gateways, Scope, alone, eventually, measured, node, operator};
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use mooring_fleet::stats::Stats;
use serde_json::json;

use crate::support::{
    CHANNELS, CLIENTS, LATER, SOON, aftermath, assert_moved_within, assert_nothing_lost, spec, steadily,
    under_load,
};

const BUDGET: i32 = 200;

/// The first pod, and the connections it holds.
async fn first_pod(gateways: &Gateways) -> (Pod, u64) {
    let (name, pod) = gateways.pods().await.pop_first().expect("there are pods");
    let connections = gateways.metric("mooring_connections", "").await[&name];
    (pod, connections as u64)
}

/// Ends a pod's container without warning: on the node where that can be reached, else by a deletion without grace.
async fn kill(scope: &Scope, pod: &Pod) {
    if node::is_local(pod).await {
        node::kill(pod).await;
    } else {
        scope.delete_pod(&pod.name_any(), Some(0)).await;
    }
}

/// The pod's only container.
fn status(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn container(pod: &Pod) -> Option<&String> {
    status(pod)?.container_id.as_ref()
}

fn is_ready(pod: &Pod) -> bool {
    status(pod).is_some_and(|status| status.ready)
}

#[tokio::test]
async fn a_change_of_the_pod_template_moves_each_client_once_within_the_budget_and_loses_nothing() {
    alone("rollout", async |scope| {
        let (gateways, fleet) = under_load(&scope, spec(2, BUDGET)).await;
        let before = gateways.get().await.status.unwrap_or_default().updated_revision;
        gateways
            .patch(&json!({"spec": {"podTemplate": {"env": [{"name": "GREETING", "value": "hello"}]}}}))
            .await;
        gateways.until("a rollout starts", SOON, |status| status.updated_revision != before).await;
        gateways.ready().await;
        let stats = aftermath(&fleet, "change of the pod template").await;
        assert_nothing_lost(&stats);
        assert_moved_within(&stats, BUDGET as u64);
        assert_eq!(stats.reconnects.clients_by_closes, [(1, CLIENTS as u64)].into(), "{stats:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_drain_whose_time_is_up_closes_the_rest_at_once_and_loses_nothing() {
    alone("drain-timeout", async |scope| {
        let mut slow = spec(2, 5);
        slow.disruption.drain_timeout = "15s".to_owned();
        let (gateways, fleet) = under_load(&scope, slow).await;
        gateways.patch(&json!({"spec": {"replicas": 1}})).await;
        gateways.until("a pod is drained", SOON, |status| status.draining_replicas == 1).await;
        gateways.ready().await;
        let stats = aftermath(&fleet, "a drain whose time is up").await;
        assert_nothing_lost(&stats);
        assert_eq!(stats.deliveries.told_not_recovered, 0, "{stats:#?}");
        assert_eq!(stats.reconnects.most_of_one_client(), 1, "{stats:#?}");
        let closed_in_time = 15 * 5;
        assert!(stats.reconnects.peak_closed_per_second > closed_in_time, "time was not up: {stats:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pod_moves_its_clients_within_the_budget_and_loses_nothing() {
    alone("delete-pod", async |scope| {
        let (gateways, fleet) = under_load(&scope, spec(2, BUDGET)).await;
        let (pod, connections) = first_pod(&gateways).await;
        scope.delete_pod(&pod.name_any(), None).await;
        gateways.until("the pod is terminating", SOON, |status| status.reason != "Ready").await;
        gateways.ready().await;
        let stats = aftermath(&fleet, "kubectl delete pod").await;
        assert_nothing_lost(&stats);
        assert_moved_within(&stats, BUDGET as u64);
        assert_eq!(
            stats.reconnects.closed, connections,
            "only the clients of that pod are moved: {stats:#?}"
        );
        assert!(!gateways.pods().await.contains_key(&pod.name_any()), "the pod was replaced");
    })
    .await;
}

#[tokio::test]
async fn killed_gateways_and_a_killed_redis_lose_nothing() {
    alone("sigkill", async |scope| {
        let (gateways, fleet) = under_load(&scope, spec(2, BUDGET)).await;
        let (pod, connections) = first_pod(&gateways).await;
        kill(&scope, &pod).await;
        fleet.until("clients notice", SOON, |stats| stats.reconnects.closed >= connections).await;
        fleet.subscribed().await;
        gateways.ready().await;
        let stats = aftermath(&fleet, "SIGKILL of a gateway").await;
        assert_nothing_lost(&stats);
        assert_eq!(
            stats.reconnects.closed, connections,
            "only the clients of that pod are affected: {stats:#?}"
        );
        assert_eq!(stats.deliveries.told_not_recovered, 0, "{stats:#?}");

        fleet.reset().await;
        fleet.publish(&steadily()).await;
        fleet
            .until("messages flow again", SOON, |stats| stats.published.acknowledged >= CHANNELS as u64)
            .await;
        let redis = gateways.redis().await;
        kill(&scope, &redis).await;
        eventually("Redis has a new container", LATER, async || {
            let now = gateways.try_redis().await.ok_or("it has no pod")?;
            let is_new = container(&now) != container(&redis) && is_ready(&now);
            if is_new { Ok(()) } else { Err(format!("{:?}", now.status)) }
        })
        .await;
        let accepted = fleet.stats().await.published.acknowledged + 2 * CHANNELS as u64;
        fleet
            .until("messages are accepted again", LATER, |stats| stats.published.acknowledged >= accepted)
            .await;
        gateways.ready().await;
        let stats = aftermath(&fleet, "SIGKILL of Redis").await;
        assert_nothing_lost(&stats);
        assert_eq!(stats.deliveries.told_not_recovered, 0, "every accepted message was on disk: {stats:#?}");
        assert_eq!(stats.reconnects.closed, 0, "clients keep their connections: {stats:#?}");
    })
    .await;
}

#[tokio::test]
async fn clients_are_told_when_the_backplane_loses_its_history() {
    alone("history-loss", async |scope| {
        let (gateways, fleet) = under_load(&scope, spec(2, BUDGET)).await;
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
        let stats = aftermath(&fleet, "a backplane that lost its history").await;
        assert_nothing_lost(&stats);
        measured("clients told that they were not recovered", stats.deliveries.told_not_recovered);
    })
    .await;
}

#[tokio::test]
async fn the_successor_of_a_killed_operator_finishes_its_drain_and_drains_no_second_pod() {
    alone("operator-killed", async |scope| {
        // Slow, so that the drain outlives the operator's lease.
        let budget = 30;
        let (gateways, fleet) = under_load(&scope, spec(3, budget)).await;
        gateways.patch(&json!({"spec": {"replicas": 2}})).await;
        let moving = |stats: &Stats| stats.reconnects.closed >= 50;
        fleet.until("clients are being moved", SOON, moving).await;
        let draining = gateways.draining().await;
        assert_eq!(draining.len(), 1, "{draining:?}");
        for pod in operator::pods(&scope.client).await {
            if node::is_local(&pod).await {
                node::kill(&pod).await;
            }
            let pods = Api::<Pod>::namespaced(scope.client.clone(), operator::NAMESPACE);
            let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            pods.delete(&pod.name_any(), &at_once).await.expect("the operator's pod is deleted");
        }
        eventually("the drain is finished", LATER, async || {
            let now = gateways.draining().await;
            assert!(
                now.iter().all(|pod| draining.contains(pod)),
                "a second pod is drained: {now:?} after {draining:?}"
            );
            let pods = gateways.pods().await;
            if pods.len() == 2 { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
        })
        .await;
        operator::available(&scope.client).await;
        gateways.ready().await;
        let stats = aftermath(&fleet, "an operator killed in mid-drain").await;
        assert_nothing_lost(&stats);
        assert_moved_within(&stats, budget as u64);
        assert!(
            !gateways.pods().await.contains_key(&draining[0]),
            "the pod that was drained is the one that is gone"
        );
    })
    .await;
}
