//! An operator without its rights is not ready, and says which are missing.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use mooring_operator::rights::NEEDED;
use serde_json::json;

use crate::crd;
use crate::process::{Operator, until};
use crate::release::{NAMESPACE, Release, create_namespace};
use crate::server::Server;

#[test]
fn the_rights_that_the_operator_asks_for_are_those_of_the_chart() {
    let needed = NEEDED.map(|(group, resource, verbs)| {
        (
            group.to_owned(),
            resource.to_owned(),
            verbs.iter().map(|verb| (*verb).to_owned()).collect::<Vec<_>>(),
        )
    });
    let (mut needed, mut given) = (Vec::from(needed), Release::render(&[]).rights());
    needed.sort();
    given.sort();
    assert_eq!(needed, given);
}

#[tokio::test]
async fn without_a_right_the_operator_is_not_ready_and_names_it_until_it_has_it() {
    let server = Server::start("rights").await;
    let client = server.admin();
    crd::install(&client, &operator_core::crd::crd()).await;
    create_namespace(&client, NAMESPACE).await;
    let operator = Operator::start(&server, "operator");
    let says = |words: &'static str| {
        let operator = &operator;
        async move { operator.readiness().await.is_some_and(|(ready, said)| !ready && said.contains(words)) }
    };
    until("the missing rights", || says("may not list websocketclusters.mooring.dev in all namespaces, "))
        .await;
    Release::render(&[]).grant(&client).await;
    until("it to be ready", || async { operator.readiness().await == Some((true, "ok\n".into())) }).await;
    drop(operator);

    // One right less, as after an upgrade with roles of one's own.
    let role = GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "ClusterRole");
    let roles: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&role));
    let mut rules = roles.get("mooring-operator").await.unwrap().data["rules"].clone();
    rules.as_array_mut().unwrap().retain(|rule| rule["resources"] != json!(["poddisruptionbudgets"]));
    let fewer = Patch::Merge(json!({"rules": rules}));
    roles.patch("mooring-operator", &PatchParams::default(), &fewer).await.unwrap();
    let operator = Operator::start(&server, "second");
    let expected = "the operator may not get poddisruptionbudgets.policy in all namespaces, \
                    list poddisruptionbudgets.policy in all namespaces";
    until("the missing rights", || async {
        operator.readiness().await.is_some_and(|(ready, said)| !ready && said.starts_with(expected))
    })
    .await;
}
