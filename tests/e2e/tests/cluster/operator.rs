//! The operator is killed, taken away, brought back and upgraded, while clusters go on. These tests have the cluster for themselves.

use std::collections::BTreeSet;

use e2e::{
    Gateways, Scope, eventually, in_lane, in_namespace,
    load::{LATER, Load, SOON, spec, under_load},
    operator, skipped,
};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
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
        let killed = operator::kill(&scope.client).await;
        eventually("the drain is finished", LATER, async || {
            let now = gateways.draining().await;
            let second = now.iter().find(|pod| !draining.contains(pod));
            assert_eq!(second, None, "a second pod is drained, after {draining:?}");
            let pods = gateways.pods().await;
            if pods.len() == 2 { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
        })
        .await;
        operator::replaced(&scope.client, &killed).await;
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
        let release = operator::Release::uninstall().await;
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
                "tests/bin/previous made no image of it, and says why",
            );
        };
        let images = operator::Images::installed(&scope.client).await;
        let release = operator::Release::uninstall().await;
        previous.install(images).await;
        let load = under_load(&scope, plain(), CLIENTS).await;
        let before = names(&load.gateways).await;
        release.install().await;
        assert_untouched(&load, &before, "helm upgrade from the chart before").await;
    })
    .await;
}

/// Definitions of others that the chart's switches make objects of, as far as the API server asks.
async fn foreign_definitions(scope: &Scope) {
    let definitions = Api::<CustomResourceDefinition>::all(scope.client.clone());
    for (plural, kind) in [
        ("servicemonitors", "ServiceMonitor"),
        ("podmonitors", "PodMonitor"),
        ("prometheusrules", "PrometheusRule"),
    ] {
        let name = format!("{plural}.monitoring.coreos.com");
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": "monitoring.coreos.com",
                "names": {"plural": plural, "kind": kind},
                "scope": "Namespaced",
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }}}],
            },
        });
        // Those of a Prometheus that is there do as well, and are not ours to change.
        if definitions.get_opt(&name).await.expect("the API server answers").is_none() {
            let apply = PatchParams::apply("e2e");
            definitions.patch(&name, &apply, &Patch::Apply(&definition)).await.expect("it can be defined");
        }
        eventually(&format!("{kind} is served"), SOON, async || {
            let definition = definitions.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            let served = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
            if served { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
}

async fn namespace(scope: &Scope, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let apply = PatchParams::apply("e2e");
    let namespaces = Api::<Namespace>::all(scope.client.clone());
    namespaces.patch(name, &apply, &Patch::Apply(&namespace)).await.expect("the namespace is made");
}

#[tokio::test]
async fn with_every_switch_on_and_in_two_namespaces_only_an_installation_passes_its_own_test() {
    const PASSED: &str = "a message went from one client to another";
    in_namespace("chart", async |scope| {
        foreign_definitions(&scope).await;
        let release = operator::Release::installed().await;
        release.install_with("everything.yaml").await;
        let log = operator::helm_test().await;
        assert!(log.contains(PASSED), "{log}");

        for name in ["team-a", "team-b"] {
            namespace(&scope, name).await;
        }
        release.install_with("namespaced.yaml").await;
        let log = operator::helm_test().await;
        assert!(log.contains(PASSED) && log.contains("mooring-test.team-a.svc"), "{log}");
        release.install().await;
    })
    .await;
}
