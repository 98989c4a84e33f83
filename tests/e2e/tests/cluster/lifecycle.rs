//! What is left when a cluster, or the operator, is taken away.

use std::collections::BTreeSet;

use e2e::{Fleet, Gateways, alone, beside_others, eventually, inventory, operator};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use operator_core::crd::WebSocketCluster;
use serde_json::json;

use crate::support::{LATER, SOON, aftermath, assert_nothing_lost, clients, spec, steadily};

#[tokio::test]
async fn a_deleted_cluster_leaves_nothing_behind() {
    beside_others("deletion", async |scope| {
        let before: BTreeSet<String> = inventory::names(&scope).await.into_iter().collect();
        let gateways = Gateways::deploy(&scope, "chat", spec(2, 200)).await;
        let made = inventory::names(&scope).await.len() - before.len();
        assert!(made > 10, "{made} objects were made");
        scope
            .api::<WebSocketCluster>()
            .delete(&gateways.name, &DeleteParams::default())
            .await
            .expect("it is deleted");
        eventually("nothing is left in the namespace", LATER, async || {
            let left: Vec<String> =
                inventory::names(&scope).await.into_iter().filter(|name| !before.contains(name)).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
        let volumes = Api::<PersistentVolume>::all(scope.client.clone());
        eventually("its volume is gone", SOON, async || {
            let list = volumes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let claims = list.into_iter().filter_map(|volume| volume.spec?.claim_ref?.namespace);
            if claims.into_iter().any(|claim| claim == scope.namespace) {
                Err("a volume is left".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn clusters_go_on_serving_while_the_operator_is_uninstalled_and_obey_it_when_it_is_back() {
    alone("uninstall", async |scope| {
        let gateways = Gateways::deploy(&scope, "chat", spec(2, 200)).await;
        let fleet = Fleet::start(&gateways).await;
        fleet.connect(&clients(200)).await;
        fleet.publish(&steadily()).await;
        fleet.reset().await;
        let before: BTreeSet<String> = gateways.pods().await.into_keys().collect();

        let release = operator::uninstall().await;
        let delivered = fleet.stats().await.deliveries.delivered + 1_000;
        fleet
            .until("messages flow without an operator", SOON, |stats| stats.deliveries.delivered >= delivered)
            .await;
        fleet.connect(&clients(300)).await;
        let without: BTreeSet<String> = gateways.pods().await.into_keys().collect();
        release.install().await;
        operator::available(&scope.client).await;
        assert_eq!(without, before, "every pod stayed while there was no operator");

        gateways.patch(&json!({"spec": {"replicas": 3}})).await;
        gateways.ready().await;
        let after: BTreeSet<String> = gateways.pods().await.into_keys().collect();
        assert!(after.is_superset(&before) && after.len() == 3, "{before:?} became {after:?}");
        let stats = aftermath(&fleet, "helm uninstall and install").await;
        assert_nothing_lost(&stats);
        assert_eq!(stats.reconnects.closed, 0, "{stats:#?}");
    })
    .await;
}
