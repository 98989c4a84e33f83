//! Messages between pods.

use std::collections::BTreeMap;

use e2e::{Fleet, Gateways, alone};
use mooring_fleet::stats::{ClientsRequest, Form, Protocol, PublishRequest, Stats};

use crate::support::{SOON, assert_nothing_lost, spec};

const PODS: usize = 3;
const CHANNELS: usize = 5;
/// Messages per channel that each pod publishes.
const MESSAGES: u64 = 10;

/// Has every pod publish, one after the other; gives the stats once everything has arrived.
async fn publish_on_each_pod(gateways: &Gateways, fleet: &Fleet, form: Form) -> Stats {
    fleet.reset().await;
    for pod in gateways.pods().await.into_values() {
        let address = pod.status.and_then(|status| status.pod_ip).expect("the pod has an address");
        let url = Some(format!("http://{address}:8000"));
        let request = PublishRequest {
            form,
            channels: CHANNELS,
            per_second: 20.0,
            total: Some(MESSAGES),
            url,
            size: 0,
        };
        fleet.publish(&request).await;
        fleet.until("the pod has published", SOON, |stats| stats.published.running == 0).await;
    }
    let stats = fleet.settled().await;
    assert_eq!(stats.published.acknowledged, (PODS * CHANNELS) as u64 * MESSAGES, "{stats:#?}");
    stats
}

/// Clients of one protocol that every pod has some of.
async fn clients_on_every_pod(gateways: &Gateways, fleet: &Fleet, protocol: Protocol, label: &str) -> u64 {
    let count = 150;
    fleet.connect(&ClientsRequest { protocol, count, channels: CHANNELS, per_second: 300.0 }).await;
    let connections: BTreeMap<String, f64> = gateways.metric("mooring_connections", label).await;
    assert!(connections.len() == PODS && connections.values().all(|n| *n > 0.0), "{connections:?}");
    count as u64
}

#[tokio::test]
async fn a_message_published_on_one_pod_reaches_every_client_of_every_pod_once_and_in_order() {
    alone("delivery", async |scope| {
        let gateways = Gateways::deploy(&scope, "chat", spec(PODS as i32, 200)).await;
        let fleet = Fleet::start(&gateways).await;

        let count = clients_on_every_pod(&gateways, &fleet, Protocol::Centrifuge, "centrifuge").await;
        let stats = publish_on_each_pod(&gateways, &fleet, Form::Json).await;
        assert_nothing_lost(&stats);
        assert_eq!(stats.deliveries.delivered, count * PODS as u64 * MESSAGES, "{stats:#?}");
        assert!(stats.nodes.values().all(|node| node.delivered > 0), "{stats:#?}");

        let count = clients_on_every_pod(&gateways, &fleet, Protocol::Raw, "raw").await;
        for form in [Form::Text, Form::Binary] {
            let stats = publish_on_each_pod(&gateways, &fleet, form).await;
            assert_nothing_lost(&stats);
            assert_eq!(stats.deliveries.delivered, count * PODS as u64 * MESSAGES, "{form:?}: {stats:#?}");
        }
    })
    .await;
}
