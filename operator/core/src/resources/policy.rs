//! NetworkPolicies: who may come in. What pods may reach is left to the cluster's own rules.

use super::{Object, gateway_metadata, label_selector, metadata, selector};
use crate::desired::Desired;
use crate::names::{APP_NAME, GATEWAY, MANAGER, REDIS};
use crate::observed::ObjectKind;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// Clients from everywhere; the control port for the operator and for Prometheus, in whatever namespace they run.
pub(super) fn gateway(desired: &Desired) -> Object {
    let name = desired.name.gateway();
    let clients = NetworkPolicyIngressRule { from: None, ports: Some(vec![port("client")]) };
    let control = NetworkPolicyIngressRule {
        from: Some([MANAGER, "prometheus"].map(anywhere).into()),
        ports: Some(vec![port("control")]),
    };
    let pods = selector(desired, GATEWAY);
    ingress(gateway_metadata(desired, name.clone()), name, pods, vec![clients, control])
}

/// The cluster's own gateways.
pub(super) fn redis(desired: &Desired) -> Object {
    let name = desired.name.redis();
    let gateways = NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            pod_selector: Some(label_selector(selector(desired, GATEWAY))),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![port("redis")]),
    };
    let pods = selector(desired, REDIS);
    ingress(metadata(desired, REDIS, name.clone()), name, pods, vec![gateways])
}

fn anywhere(app: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(label_selector(BTreeMap::from([(APP_NAME.into(), app.into())]))),
        ..NetworkPolicyPeer::default()
    }
}

fn port(name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(name.into())),
        protocol: Some("TCP".into()),
        ..NetworkPolicyPort::default()
    }
}

fn ingress(
    metadata: ObjectMeta,
    name: String,
    pods: BTreeMap<String, String>,
    rules: Vec<NetworkPolicyIngressRule>,
) -> Object {
    let policy = NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(pods)),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(rules),
            ..NetworkPolicySpec::default()
        }),
    };
    Object::new(ObjectKind::NetworkPolicy, name, &policy)
}
