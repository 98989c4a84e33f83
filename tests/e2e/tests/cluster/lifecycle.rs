//! What is left when a cluster is taken away.

use std::collections::BTreeSet;

use e2e::{
    Gateways, eventually, in_namespace, inventory,
    load::{LATER, SOON, spec},
};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use operator_core::crd::WebSocketCluster;

#[tokio::test]
async fn a_deleted_cluster_leaves_nothing_behind() {
    in_namespace("deletion", async |scope| {
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
