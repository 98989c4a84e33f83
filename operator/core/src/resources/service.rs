//! Services of the gateways.

use super::{Object, gateway_metadata, selector};
use crate::crd::ServiceType;
use crate::desired::Desired;
use crate::names::{CLIENT_PORT, CONTROL_PORT, GATEWAY, SERVING, TRAFFIC};
use crate::observed::ObjectKind;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where clients connect: serving pods only, so that a draining one is out of the endpoints at once.
pub(super) fn client(desired: &Desired) -> Object {
    let name = desired.name.to_string();
    let mut pods = selector(desired, GATEWAY);
    pods.insert(TRAFFIC.into(), SERVING.into());
    let mut metadata = gateway_metadata(desired, name.clone());
    if !desired.service.annotations.is_empty() {
        metadata.annotations = Some(desired.service.annotations.clone());
    }
    let type_ = match desired.service.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let service = Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.into()),
            selector: Some(pods),
            ports: Some(vec![ServicePort {
                node_port: desired.service.node_port,
                ..port("client", desired.listener_port)
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Object::new(ObjectKind::Service, name, &service)
}

/// A name for each gateway pod, whether ready or not.
pub(super) fn headless(desired: &Desired) -> Object {
    every_pod(desired, desired.name.gateway(), port("client", CLIENT_PORT))
}

/// The control port of each gateway pod, for whoever collects metrics; a draining pod's too.
pub(super) fn control(desired: &Desired) -> Object {
    every_pod(desired, desired.name.control(), port("control", CONTROL_PORT))
}

fn every_pod(desired: &Desired, name: String, port: ServicePort) -> Object {
    let service = Service {
        metadata: gateway_metadata(desired, name.clone()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(desired, GATEWAY)),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Object::new(ObjectKind::Service, name, &service)
}

fn port(name: &str, port: i32) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port,
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String(name.into())),
        ..ServicePort::default()
    }
}
