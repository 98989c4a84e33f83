//! What happens to the cluster. Each fault is over when `apply` returns; what it leads to may go on.

use std::time::Duration;

use e2e::{
    eventually,
    load::{CHANNELS, LATER, Load, SOON, clients, steadily},
    node, operator, skipped,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use mooring_fleet::stats::{Abuse, AbuseRequest, Abused, PublishRequest, Stats};
use rand::{Rng as _, RngExt as _, rngs::StdRng, seq::IteratorRandom as _};
use serde_json::json;
use tokio::time::sleep;

/// Handshakes left half open, at a time.
const HALF_OPEN: usize = 2_000;
/// Clients that never read, at a time.
const STUCK: usize = 10;

/// Something that goes wrong, or that somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    DeletedGateway,
    KilledGateway,
    KilledRedis,
    HungRedis,
    KilledOperator,
    Rollout,
    Resize,
    Churn,
    HalfOpenHandshakes,
    ClientsThatNeverRead,
    Nothing,
}

/// All of them, equally likely.
pub const ALL: [Fault; 11] = [
    Fault::DeletedGateway,
    Fault::KilledGateway,
    Fault::KilledRedis,
    Fault::HungRedis,
    Fault::KilledOperator,
    Fault::Rollout,
    Fault::Resize,
    Fault::Churn,
    Fault::HalfOpenHandshakes,
    Fault::ClientsThatNeverRead,
    Fault::Nothing,
];

impl Fault {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeletedGateway => "kubectl delete pod",
            Self::KilledGateway => "SIGKILL of a gateway",
            Self::KilledRedis => "SIGKILL of Redis",
            Self::HungRedis => "a Redis that hangs",
            Self::KilledOperator => "SIGKILL of the operator",
            Self::Rollout => "a rollout",
            Self::Resize => "another size and back",
            Self::Churn => "clients that come and go",
            Self::HalfOpenHandshakes => "handshakes left half open",
            Self::ClientsThatNeverRead => "clients that never read",
            Self::Nothing => "a quiet minute",
        }
    }

    /// Whether no client may notice it.
    pub fn keeps_connections(self) -> bool {
        match self {
            Self::KilledRedis
            | Self::HungRedis
            | Self::KilledOperator
            | Self::Churn
            | Self::HalfOpenHandshakes
            | Self::ClientsThatNeverRead
            | Self::Nothing => true,
            Self::DeletedGateway | Self::KilledGateway | Self::Rollout | Self::Resize => false,
        }
    }

    /// Whether every process of ours lives on.
    pub fn ends_no_process(self) -> bool {
        self.keeps_connections() && !matches!(self, Self::KilledRedis | Self::KilledOperator)
    }

    /// Lets it happen.
    pub async fn apply(self, load: &Load, random: &mut StdRng) {
        let Load { gateways, fleet, .. } = load;
        match self {
            Self::DeletedGateway => {
                let pod = any_gateway(load, random).await;
                gateways.scope.delete_pod(&pod.name_any(), None).await;
                gateways.until("it is terminating", SOON, |status| status.reason != "Ready").await;
            }
            Self::KilledGateway => {
                let pod = gateway_in_use(load, random).await;
                gateways.scope.kill(&pod).await;
                fleet.until("clients notice", SOON, |stats| stats.reconnects.closed > 0).await;
            }
            Self::KilledRedis => gateways.kill_redis_and_its_pod().await,
            Self::HungRedis => {
                let redis = gateways.redis().await;
                if !node::is_local(&redis).await {
                    return skipped(self.name(), "its node is not a container of this machine");
                }
                let _paused = node::Paused::new(&redis).await;
                sleep(Duration::from_secs(random.random_range(1..10))).await;
            }
            Self::KilledOperator => {
                let killed = operator::kill(&gateways.scope.client).await;
                operator::replaced(&gateways.scope.client, &killed).await;
            }
            Self::Rollout => {
                let before = gateways.get().await.status.unwrap_or_default().updated_revision;
                let note = json!({"spec": {"podTemplate": {"annotations": {"soak": random.next_u32().to_string()}}}});
                gateways.patch(&note).await;
                gateways.until("it starts", SOON, |status| status.updated_revision != before).await;
            }
            Self::Resize => {
                let before = gateways.get().await.spec.replicas;
                for replicas in [Some(random.random_range(1..=5)), before] {
                    gateways.patch(&json!({"spec": {"replicas": replicas}})).await;
                    gateways.ready().await;
                }
            }
            Self::Churn => {
                for _ in 0..4 {
                    fleet.connect(&clients(random.random_range(50..800))).await;
                }
            }
            Self::HalfOpenHandshakes => {
                open_by_halves(load).await;
            }
            Self::ClientsThatNeverRead => {
                let ended =
                    async || gateways.metric("mooring_slow_consumers_total", "").await.values().sum::<f64>();
                let before = ended().await;
                fleet.abuse(&AbuseRequest { kind: Abuse::NeverReads, count: STUCK, channel: 0 }).await;
                let open = |stats: &Stats| abused(stats, Abuse::NeverReads).open == STUCK as u64;
                fleet.until("they are subscribed", SOON, open).await;
                fleet
                    .publish(&PublishRequest { channels: 1, per_second: 40.0, size: 30_000, ..steadily() })
                    .await;
                // Kernels take some megabytes for each before a gateway's queue fills. A client whose window is shut gets no FIN, and
                // knows nothing.
                eventually("all of them are thrown out", LATER, async || {
                    let now = ended().await - before;
                    if now >= STUCK as f64 { Ok(()) } else { Err(format!("{now} of {STUCK}")) }
                })
                .await;
                fleet.abuse(&AbuseRequest { kind: Abuse::NeverReads, count: 0, channel: 0 }).await;
                fleet.publish(&steadily()).await;
            }
            Self::Nothing => sleep(Duration::from_secs(60)).await,
        }
    }
}

async fn any_gateway(load: &Load, random: &mut StdRng) -> Pod {
    load.gateways.pods().await.into_values().choose(random).expect("there are pods")
}

/// One that has clients: a pod has none until somebody comes, say after another size and back.
async fn gateway_in_use(load: &Load, random: &mut StdRng) -> Pod {
    let connections = load.gateways.metric("mooring_connections", "").await;
    let pods = load.gateways.pods().await.into_iter();
    let in_use = pods.filter(|(name, _)| connections.get(name).is_some_and(|held| *held > 0.0));
    in_use.choose(random).expect("some pod has clients").1
}

fn abused(stats: &Stats, kind: Abuse) -> Abused {
    stats.abuse.get(&kind).copied().unwrap_or_default()
}

/// Waits until all of them have tried and others are served as before, and ends them.
async fn open_by_halves(load: &Load) {
    let of = |count| AbuseRequest { kind: Abuse::HalfOpen, count, channel: 0 };
    let before = abused(&load.fleet.stats().await, Abuse::HalfOpen).ended;
    let tried = |stats: &Stats| {
        let Abused { open, ended } = abused(stats, Abuse::HalfOpen);
        open + ended - before >= HALF_OPEN as u64
    };
    load.fleet.abuse(&of(HALF_OPEN)).await;
    load.fleet.until("all of them have tried", SOON, tried).await;
    let accepted = load.fleet.stats().await.published.acknowledged + CHANNELS as u64;
    load.fleet.until("others are served", SOON, |stats| stats.published.acknowledged >= accepted).await;
    load.fleet.abuse(&of(0)).await;
}
