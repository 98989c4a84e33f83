//! What several themes share: specs, a cluster under load, and what may never happen.

use std::time::Duration;

use e2e::{Fleet, Gateways, Scope, measured};
use mooring_fleet::stats::{ClientsRequest, PublishRequest, Stats};
use operator_core::crd::WebSocketClusterSpec;
use serde_json::json;

/// Clients of the big fleets.
pub const CLIENTS: usize = 2_000;
/// Channels that they are spread over.
pub const CHANNELS: usize = 20;
/// For things that take some passes of the operator.
pub const SOON: Duration = Duration::from_secs(60);
/// For things that take a drain or a restart of pods.
pub const LATER: Duration = Duration::from_secs(180);

/// A cluster of fixed size that may move so many clients per second.
pub fn spec(replicas: i32, max_reconnects_per_second: i32) -> WebSocketClusterSpec {
    let spec = json!({
        "replicas": replicas,
        "channels": {"default": {"history": {"size": 300, "ttlSeconds": 300}}, "namespaces": []},
        "disruption": {"maxReconnectsPerSecond": max_reconnects_per_second, "drainTimeout": "5m"},
    });
    serde_json::from_value(spec).expect("a spec")
}

/// The big fleet's clients.
pub fn clients(count: usize) -> ClientsRequest {
    ClientsRequest { count, channels: CHANNELS, per_second: 500.0, ..ClientsRequest::default() }
}

/// A message per second and channel, until told otherwise.
pub fn steadily() -> PublishRequest {
    PublishRequest { channels: CHANNELS, per_second: 1.0, ..PublishRequest::default() }
}

/// A ready cluster with the big fleet on it, being published to; counting starts now.
pub async fn under_load(scope: &Scope, spec: WebSocketClusterSpec) -> (Gateways, Fleet) {
    let gateways = Gateways::deploy(scope, "chat", spec).await;
    let fleet = Fleet::start(&gateways).await;
    fleet.connect(&clients(CLIENTS)).await;
    fleet.publish(&steadily()).await;
    let flowing = |stats: &Stats| stats.deliveries.delivered >= CLIENTS as u64;
    fleet.until("messages reach the clients", SOON, flowing).await;
    fleet.reset().await;
    (gateways, fleet)
}

/// Stops publishing, waits for what is on its way, and says what moving the clients was like.
pub async fn aftermath(fleet: &Fleet, what: &str) -> Stats {
    fleet.silence().await;
    let stats = fleet.settled().await;
    let reconnects = &stats.reconnects;
    measured(
        what,
        format!(
            "{} connections closed (codes {:?}), at most {} in any second and {} in any ten; {} came back, at most {} in any second; \
             {} ms without connection at the median, {} ms at most; {} messages delivered, {} resumed subscriptions, \
             {} lost, {} duplicated, {} out of order; latency p99 {} ms; refused {:?}; stall {} ms",
            reconnects.closed,
            reconnects.close_codes,
            reconnects.peak_closed_per_second,
            reconnects.peak_closed_per_ten_seconds,
            reconnects.reconnected,
            reconnects.peak_reconnected_per_second,
            reconnects.without_connection.p50_micros / 1000,
            reconnects.without_connection.max_micros / 1000,
            stats.deliveries.delivered,
            stats.deliveries.recovered,
            stats.deliveries.lost,
            stats.deliveries.duplicated,
            stats.deliveries.out_of_order,
            stats.latency.p99_micros / 1000,
            reconnects.refused,
            stats.stall_millis,
        ),
    );
    stats
}

/// Every client that recovers got each message once, in order; and nobody was turned away.
pub fn assert_nothing_lost(stats: &Stats) {
    let deliveries = stats.deliveries;
    let flaws = (deliveries.lost, deliveries.duplicated, deliveries.out_of_order, stats.clients.terminated);
    assert_eq!(flaws, (0, 0, 0, 0), "lost, duplicated, out of order, turned away: {stats:#?}");
    assert!(deliveries.delivered > 0, "nothing was delivered, so nothing is shown: {stats:#?}");
}

/// Clients were moved within the budget, each at most once, and none was told that it may have missed something.
pub fn assert_moved_within(stats: &Stats, budget: u64) {
    for (seconds, peak) in
        [(1, stats.reconnects.peak_closed_per_second), (10, stats.reconnects.peak_closed_per_ten_seconds)]
    {
        // A fleet that did not get to run saw that much of the next window in this one.
        let allowed = budget * (1000 * seconds + stats.stall_millis) / 1000;
        assert!(
            peak <= allowed,
            "{peak} clients were moved within {seconds} s, and {allowed} may be: {stats:#?}"
        );
    }
    assert!(stats.reconnects.most_of_one_client() <= 1, "a client was moved more than once: {stats:#?}");
    assert_eq!(stats.deliveries.told_not_recovered, 0, "{stats:#?}");
}
