//! A cluster under load, and what may never happen to its clients.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use mooring_fleet::stats::{ClientsRequest, PublishRequest, Stats};
use operator_core::crd::WebSocketClusterSpec;
use serde_json::json;

use crate::{Fleet, Gateways, Journal, Moves, Scope, journal::LOG_FILTER, measured};

/// Clients of a lane's fleet.
pub const CLIENTS: usize = 500;
/// Channels that they are spread over.
pub const CHANNELS: usize = 20;
/// For things that take some passes of the operator.
pub const SOON: Duration = Duration::from_secs(60);
/// For things that take a drain or a restart of pods.
pub const LATER: Duration = Duration::from_secs(180);
/// Close codes of a planned move: the centrifuge protocol's shutdown, and RFC 6455's service restart.
const PLANNED: [u16; 2] = [3001, 1012];
/// How much of a second a busy fleet may see of the next one, at most.
const MAX_STALL_MILLIS: u64 = 250;

/// A cluster of fixed size, open to everybody, that may move so many clients per second, and whose gateways log each move.
pub fn spec(replicas: i32, max_reconnects_per_second: i32) -> WebSocketClusterSpec {
    let spec = json!({
        "replicas": replicas,
        "auth": {"anonymous": true},
        "channels": {"default": {"history": {"size": 300, "ttlSeconds": 300}}, "namespaces": []},
        "disruption": {"maxReconnectsPerSecond": max_reconnects_per_second, "drainTimeout": "5m"},
        "log": LOG_FILTER,
    });
    serde_json::from_value(spec).expect("a spec")
}

/// A fleet of so many clients.
pub fn clients(count: usize) -> ClientsRequest {
    ClientsRequest { count, channels: CHANNELS, per_second: 500.0, ..ClientsRequest::default() }
}

/// A message per second and channel, until told otherwise.
pub fn steadily() -> PublishRequest {
    PublishRequest { channels: CHANNELS, per_second: 1.0, ..PublishRequest::default() }
}

/// A cluster, its clients, and who watches both.
pub struct Load {
    /// The cluster.
    pub gateways: Gateways,
    /// Its clients.
    pub fleet: Fleet,
    journal: Journal,
}

/// What the clients saw, and what the gateways did.
#[derive(Debug)]
pub struct Aftermath {
    /// By the fleet's auditor.
    pub stats: Stats,
    /// By the gateways' logs.
    pub moves: Moves,
}

/// A ready cluster with a fleet on it, being published to; counting starts now. In a lane, the cluster and the clients of the test
/// before, at the size of this one; the rest of the spec is the lane's first one.
pub async fn under_load(scope: &Scope, spec: WebSocketClusterSpec, count: usize) -> Load {
    let gateways = Gateways::ensure(scope, "chat", spec).await;
    let fleet = Fleet::ensure(&gateways).await;
    // Anew, since the test before may have left all of them on one pod.
    fleet.connect(&clients(0)).await;
    fleet.connect(&clients(count)).await;
    fleet.publish(&steadily()).await;
    fleet.reset().await;
    let flowing = |stats: &Stats| stats.deliveries.delivered >= count as u64;
    fleet.until("messages reach the clients", SOON, flowing).await;
    Load::watch(gateways, fleet).await
}

impl Load {
    /// Counts from now on.
    pub async fn watch(gateways: Gateways, fleet: Fleet) -> Self {
        fleet.reset().await;
        let journal = Journal::follow(&gateways);
        Self { gateways, fleet, journal }
    }

    /// Stops publishing, waits for what is on its way, and says what moving the clients was like.
    pub async fn aftermath(&self, what: &str) -> Aftermath {
        self.fleet.silence().await;
        let stats = self.fleet.settled().await;
        let planned = PLANNED.iter().filter_map(|code| stats.reconnects.close_codes.get(code)).sum();
        let moves = self.journal.moves(planned).await;
        describe(what, &stats, &moves);
        Aftermath { stats, moves }
    }
}

fn describe(what: &str, stats: &Stats, moves: &Moves) {
    let (reconnects, deliveries) = (&stats.reconnects, stats.deliveries);
    measured(
        what,
        format!(
            "{} connections closed (codes {:?}), at most {} in any second and {} in any ten by the gateways' clocks, {} and {} as \
             the clients saw it; {} came back, at most {} in any second; {} ms without connection at the median, {} ms at most; \
             {} messages delivered, {} resumed subscriptions, {} lost, {} duplicated, {} out of order; latency p99 {} ms; \
             refused {:?}; stall {} ms",
            reconnects.closed,
            reconnects.close_codes,
            moves.peak(Duration::from_secs(1)),
            moves.peak(Duration::from_secs(10)),
            reconnects.peak_closed_per_second,
            reconnects.peak_closed_per_ten_seconds,
            reconnects.reconnected,
            reconnects.peak_reconnected_per_second,
            reconnects.without_connection.p50_micros / 1000,
            reconnects.without_connection.max_micros / 1000,
            deliveries.delivered,
            deliveries.recovered,
            deliveries.lost,
            deliveries.duplicated,
            deliveries.out_of_order,
            stats.latency.p99_micros / 1000,
            reconnects.refused,
            stats.stall_millis,
        ),
    );
}

impl Aftermath {
    /// Every client that recovers got each message once, in order; and nobody was turned away.
    pub fn assert_nothing_lost(&self) {
        let (stats, deliveries) = (&self.stats, self.stats.deliveries);
        let flaws =
            (deliveries.lost, deliveries.duplicated, deliveries.out_of_order, stats.clients.terminated);
        assert_eq!(flaws, (0, 0, 0, 0), "lost, duplicated, out of order, turned away: {stats:#?}");
        assert!(deliveries.delivered > 0, "nothing was delivered, so nothing is shown: {stats:#?}");
    }

    /// `expected` clients were moved within the budget, each once, and none was told that it may have missed something.
    pub fn assert_moved_within(&self, budget: u64, expected: u64) {
        let stats = &self.stats;
        assert_eq!(stats.reconnects.closed, expected, "clients moved: {stats:#?}");
        // Whose connection just breaks is in no gateway's log, and the pace would be that of nobody.
        assert_eq!(self.moves.count(), expected, "not all were told to go: {stats:#?}");
        assert!(
            expected > 0 && stats.reconnects.most_of_one_client() == 1,
            "moved more than once: {stats:#?}"
        );
        assert_eq!(stats.deliveries.told_not_recovered, 0, "{stats:#?}");
        for seconds in [1, 10] {
            let (moved, allowed) = (self.moves.peak(Duration::from_secs(seconds)), budget * seconds);
            assert!(
                moved <= allowed,
                "gateways moved {moved} clients within {seconds} s, of {allowed}: {self:#?}"
            );
        }
        // Clients tell when their process got to run: of one second that says little, of ten it does.
        let seen = stats.reconnects.peak_closed_per_ten_seconds;
        let allowed = budget * (10_000 + stats.stall_millis.min(MAX_STALL_MILLIS)) / 1000;
        assert!(seen <= allowed, "clients saw {seen} moves within 10 s, of {allowed}: {self:#?}");
    }
}

/// The first pod, and the connections it holds.
pub async fn first_pod(gateways: &Gateways) -> (Pod, u64) {
    let (name, pod) = gateways.pods().await.pop_first().expect("there are pods");
    let connections = gateways.metric("mooring_connections", "").await[&name];
    let all: f64 = gateways.metric("mooring_connections", "").await.values().sum();
    let some = connections > 0.0 && connections < all;
    assert!(some, "{} holds {connections} of {all}, so nothing would be shown", pod.name_any());
    (pod, connections as u64)
}
