//! Messages between pods. A lane with what happens at rest.

use std::collections::BTreeMap;

use e2e::{
    Fleet, Gateways, in_lane,
    load::{Aftermath, Load, SOON, spec},
};
use mooring_fleet::stats::{ClientsRequest, Form, Protocol, PublishRequest};

use crate::rest::LANE;

/// Gateways of the lane's cluster.
pub const PODS: usize = 3;
const CHANNELS: usize = 5;
const CLIENTS: usize = 150;
/// Messages per channel that each pod publishes.
const MESSAGES: u64 = 10;

/// Has every pod publish, one after the other, and everybody get it.
async fn publish_on_each_pod(load: &Load, form: Form) {
    load.fleet.reset().await;
    for pod in load.gateways.pods().await.into_values() {
        let address = pod.status.and_then(|status| status.pod_ip).expect("the pod has an address");
        let urls = vec![format!("http://{address}:8000")];
        let request = PublishRequest {
            form,
            channels: CHANNELS,
            per_second: 20.0,
            total: Some(MESSAGES),
            urls,
            size: 0,
        };
        load.fleet.publish(&request).await;
        load.fleet.until("the pod has published", SOON, |stats| stats.published.running == 0).await;
    }
    let aftermath = load.aftermath(&format!("{form:?} from each pod to each pod")).await;
    aftermath.assert_nothing_lost();
    let Aftermath { stats, .. } = aftermath;
    let published = (PODS * CHANNELS) as u64 * MESSAGES;
    let delivered = CLIENTS as u64 * PODS as u64 * MESSAGES;
    let counts = (stats.published.acknowledged, stats.deliveries.delivered, stats.reconnects.closed);
    assert_eq!(counts, (published, delivered, 0), "published, delivered, closed: {stats:#?}");
}

/// As many clients of one protocol, and none of the other, that every pod has some of.
async fn clients_on_every_pod(load: &Load, protocol: Protocol, label: &str) {
    for (protocol, count) in [(Protocol::Centrifuge, 0), (Protocol::Raw, 0), (protocol, CLIENTS)] {
        load.fleet.connect(&ClientsRequest { protocol, count, channels: CHANNELS, per_second: 300.0 }).await;
    }
    let connections: BTreeMap<String, f64> = load.gateways.metric("mooring_connections", label).await;
    assert!(connections.len() == PODS && connections.values().all(|n| *n > 0.0), "{connections:?}");
}

#[tokio::test]
async fn a_message_published_on_one_pod_reaches_every_client_of_every_pod_once_and_in_order() {
    in_lane(LANE, async |scope| {
        let gateways = Gateways::ensure(&scope, "chat", spec(PODS as i32, 200)).await;
        let fleet = Fleet::ensure(&gateways).await;
        fleet.silence().await;
        let load = Load::watch(gateways, fleet).await;
        clients_on_every_pod(&load, Protocol::Centrifuge, "centrifuge").await;
        publish_on_each_pod(&load, Form::Json).await;
        clients_on_every_pod(&load, Protocol::Raw, "raw").await;
        publish_on_each_pod(&load, Form::Text).await;
        publish_on_each_pod(&load, Form::Binary).await;
        clients_on_every_pod(&load, Protocol::Centrifuge, "centrifuge").await;
    })
    .await;
}
