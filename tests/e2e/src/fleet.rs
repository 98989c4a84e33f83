//! The client fleet, as a pod in the test's namespace.

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::Pod;
use mooring_fleet::stats::{AbuseRequest, ClientsRequest, PublishRequest, Stats};
use serde::Serialize;
use serde_json::json;

use crate::{gateways::Gateways, scope::Scope, wait::eventually};

/// Name of the pod.
pub(crate) const NAME: &str = "fleet";
/// Its control port.
pub(crate) const PORT: u16 = 8080;
/// Seconds after which it ends by itself, whatever became of the test; a soak's own come on top.
const DURATION: u64 = 1800;
/// How long clients may take to be where they should be.
const SETTLED: Duration = Duration::from_secs(120);

/// A handle on the fleet.
#[derive(Clone)]
pub struct Fleet {
    scope: Scope,
}

impl Fleet {
    /// Starts it against a cluster, with no clients yet.
    pub async fn start(gateways: &Gateways) -> Self {
        let scope = gateways.scope.clone();
        let _: Pod = scope.create_object(manifest(gateways)).await;
        let fleet = Self { scope };
        eventually("the fleet answers", SETTLED, async || fleet.try_stats().await.map(drop)).await;
        fleet
    }

    /// Starts it, or gives the one that is there.
    pub async fn ensure(gateways: &Gateways) -> Self {
        let fleet = Self { scope: gateways.scope.clone() };
        if fleet.try_stats().await.is_ok() { fleet } else { Self::start(gateways).await }
    }

    /// What it saw since the last reset.
    pub async fn stats(&self) -> Stats {
        self.try_stats().await.expect("the fleet answers")
    }

    async fn try_stats(&self) -> Result<Stats, String> {
        let body = self.scope.request(Method::GET, NAME, PORT, "/stats", Vec::new()).await;
        serde_json::from_str(&body.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    async fn post(&self, path: &str, body: &impl Serialize) {
        let body = serde_json::to_vec(body).expect("a body is JSON");
        let answer = self.scope.request(Method::POST, NAME, PORT, path, body).await;
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}"));
    }

    /// Changes the number of clients, without waiting for it.
    pub async fn clients(&self, request: &ClientsRequest) {
        self.post("/clients", request).await;
    }

    /// Changes the number of clients, and waits until all of them are subscribed.
    pub async fn connect(&self, request: &ClientsRequest) {
        self.clients(request).await;
        self.subscribed().await;
    }

    /// Publishes as asked from now on.
    pub async fn publish(&self, request: &PublishRequest) {
        self.post("/publish", request).await;
    }

    /// Stops publishing.
    pub async fn silence(&self) {
        self.publish(&PublishRequest::default()).await;
    }

    /// Changes the number of abusive connections.
    pub async fn abuse(&self, request: &AbuseRequest) {
        self.post("/abuse", request).await;
    }

    /// A new phase: all counters start from 0.
    pub async fn reset(&self) {
        self.post("/reset", &()).await;
    }

    /// Waits until the stats pass `check`; gives the stats.
    pub async fn until(&self, what: &str, limit: Duration, check: impl Fn(&Stats) -> bool) -> Stats {
        eventually(what, limit, async || {
            let stats = self.try_stats().await?;
            if check(&stats) { Ok(stats) } else { Err(format!("{stats:?}")) }
        })
        .await
    }

    /// Waits until every client that was asked for is subscribed.
    pub async fn subscribed(&self) -> Stats {
        let all = |stats: &Stats| stats.clients.subscribed == stats.clients.wanted;
        self.until("every client is subscribed", SETTLED, all).await
    }

    /// Waits until nobody publishes any more and everything that was accepted has arrived; gives the stats. What is lost by then
    /// is lost.
    pub async fn settled(&self) -> Stats {
        let still = |stats: &Stats| {
            stats.published.running == 0
                && stats.clients.subscribed == stats.clients.wanted
                && stats.deliveries.behind == 0
        };
        self.until("every accepted message has arrived", SETTLED, still).await
    }
}

fn duration() -> u64 {
    let soak = std::env::var("MOORING_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    DURATION + soak.unwrap_or(0)
}

fn manifest(gateways: &Gateways) -> serde_json::Value {
    let image = std::env::var("MOORING_FLEET_IMAGE").expect("MOORING_FLEET_IMAGE is unset; run `make e2e`");
    let target = format!("{}.{}.svc:8000", gateways.name, gateways.scope.namespace);
    json!({
        "metadata": {"name": NAME},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "fleet",
                "image": image,
                "args": [
                    format!("--target={target}"), format!("--listen=0.0.0.0:{PORT}"),
                    "--api-key-file=/api-key/key", format!("--duration={}", duration()),
                ],
                "ports": [{"name": "control", "containerPort": PORT}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "api-key", "mountPath": "/api-key", "readOnly": true}],
            }],
            "volumes": [{"name": "api-key", "secret": {"secretName": format!("{}-api-key", gateways.name)}}],
        },
    })
}
