//! A WebSocketCluster and its gateway pods.

use std::{collections::BTreeMap, io, time::Duration};

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use operator_core::{
    crd::{WebSocketCluster, WebSocketClusterSpec, WebSocketClusterStatus},
    names::{APP_NAME, CLUSTER, CONTROL_PORT, DRAINING, GATEWAY, REDIS, TRAFFIC},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{scope::Scope, wait::eventually};

/// How long a cluster may take to become as its spec says, image pulls and a volume included.
const READY: Duration = Duration::from_secs(180);

/// The pod's only container.
fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Whether a pod is Ready, and stays.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_ready =
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}

/// A handle on a WebSocketCluster.
#[derive(Clone)]
pub struct Gateways {
    /// Where it is.
    pub scope: Scope,
    /// What it is called.
    pub name: String,
}

impl Gateways {
    /// Creates a WebSocketCluster.
    pub async fn create(scope: &Scope, name: &str, spec: WebSocketClusterSpec) -> Self {
        let cluster = WebSocketCluster::new(name, spec);
        let created = scope.api().create(&PostParams::default(), &cluster).await;
        created.expect("the API server takes the spec");
        Self { scope: scope.clone(), name: name.to_owned() }
    }

    /// Creates a WebSocketCluster and waits until it is ready.
    pub async fn deploy(scope: &Scope, name: &str, spec: WebSocketClusterSpec) -> Self {
        let gateways = Self::create(scope, name, spec).await;
        gateways.ready().await;
        gateways
    }

    /// Creates a WebSocketCluster, or gives the one that is there the size of `spec`; waits until it is ready.
    pub async fn ensure(scope: &Scope, name: &str, spec: WebSocketClusterSpec) -> Self {
        let existing = scope.api::<WebSocketCluster>().get_opt(name).await;
        if existing.expect("the API server answers").is_none() {
            return Self::deploy(scope, name, spec).await;
        }
        let gateways = Self { scope: scope.clone(), name: name.to_owned() };
        gateways.patch(&json!({"spec": {"replicas": spec.replicas}})).await;
        gateways.ready().await;
        gateways
    }

    /// The WebSocketCluster now.
    pub async fn get(&self) -> WebSocketCluster {
        self.scope.api().get(&self.name).await.expect("the WebSocketCluster is there")
    }

    /// Merges a patch into the WebSocketCluster.
    pub async fn patch(&self, patch: &Value) {
        let clusters = self.scope.api::<WebSocketCluster>();
        let patched = clusters.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("the API server takes the patch");
    }

    /// Waits until the status, which has to be about the current spec, passes `check`; gives the status.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        check: impl Fn(&WebSocketClusterStatus) -> bool,
    ) -> WebSocketClusterStatus {
        eventually(what, limit, async || {
            let cluster = self.get().await;
            let status = cluster.status.unwrap_or_default();
            let current = Some(status.observed_generation) == cluster.metadata.generation;
            if current && check(&status) { Ok(status) } else { Err(format!("{status:#?}")) }
        })
        .await
    }

    /// Waits until everything is as the spec says and nothing is left to do.
    pub async fn ready(&self) -> WebSocketClusterStatus {
        let ready = |status: &WebSocketClusterStatus| {
            status.reason == "Ready"
                && status.ready_replicas == status.desired_replicas
                && status.replicas == status.desired_replicas
                && status.current_revision == status.updated_revision
        };
        self.until(&format!("{} is Ready", self.name), READY, ready).await
    }

    /// The gateway pods, by name.
    pub async fn pods(&self) -> BTreeMap<String, Pod> {
        let pods = self.pods_of(GATEWAY).await;
        pods.into_iter().map(|pod| (pod.name_any(), pod)).collect()
    }

    /// The pod of the managed Redis, which there is not while it is replaced.
    pub async fn try_redis(&self) -> Option<Pod> {
        self.pods_of(REDIS).await.pop()
    }

    /// The pod of the managed Redis.
    pub async fn redis(&self) -> Pod {
        self.try_redis().await.expect("Redis has a pod")
    }

    /// Kills the managed Redis, and waits until it has a new container.
    pub async fn kill_redis(&self) {
        let redis = self.redis().await;
        self.scope.kill(&redis).await;
        self.redis_starts_after(&redis).await;
    }

    /// The same, and so that it comes back in another pod: the kubelet waits longer after each end of a container, up to five minutes.
    pub async fn kill_redis_and_its_pod(&self) {
        let redis = self.redis().await;
        self.scope.kill(&redis).await;
        self.scope.delete_pod(&redis.name_any(), Some(0)).await;
        self.redis_starts_after(&redis).await;
    }

    async fn redis_starts_after(&self, redis: &Pod) {
        eventually("Redis has a new container", READY, async || {
            let now = self.try_redis().await.ok_or("it has no pod")?;
            let is_new = container(&now).is_some_and(|new| {
                new.ready && Some(&new.container_id) != container(redis).map(|old| &old.container_id)
            });
            if is_new { Ok(()) } else { Err(format!("{:?}", now.status)) }
        })
        .await;
    }

    async fn pods_of(&self, app: &str) -> Vec<Pod> {
        let selector = ListParams::default().labels(&format!("{CLUSTER}={},{APP_NAME}={app}", self.name));
        self.scope.api::<Pod>().list(&selector).await.expect("pods can be listed").items
    }

    /// Names of the pods that the operator has taken out of the endpoints.
    pub async fn draining(&self) -> Vec<String> {
        let draining = |pod: &Pod| pod.labels().get(TRAFFIC).is_some_and(|traffic| traffic == DRAINING);
        self.pods().await.into_iter().filter(|(_, pod)| draining(pod)).map(|(name, _)| name).collect()
    }

    /// Messages of the events about the WebSocketCluster, by reason.
    pub async fn events(&self) -> BTreeMap<String, String> {
        let about = format!("involvedObject.kind=WebSocketCluster,involvedObject.name={}", self.name);
        let events = self.scope.api::<Event>().list(&ListParams::default().fields(&about)).await;
        let events = events.expect("events can be listed").items;
        events.into_iter().filter_map(|event| Some((event.reason?, event.message?))).collect()
    }

    /// The sum of a metric over all gateway pods and all labels that contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for pod in self.pods().await.into_keys() {
            let answer = self.control(&pod, "/metrics").await;
            let text = answer.unwrap_or_else(|error| panic!("{pod} gives no metrics: {error}"));
            let samples =
                text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
            let ours = samples
                .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label));
            sums.insert(pod, ours.filter_map(|(_, value)| value.parse::<f64>().ok()).sum());
        }
        sums
    }

    /// What a gateway answers on its control port, headers included, through a port forward: that one starts within the pod, and the
    /// API server is not among those whom the NetworkPolicy lets in.
    async fn control(&self, pod: &str, path: &str) -> io::Result<String> {
        let port = u16::try_from(CONTROL_PORT).expect("a port");
        let forwarder = self.scope.api::<Pod>().portforward(pod, &[port]).await;
        let mut forwarder = forwarder.map_err(io::Error::other)?;
        let mut stream = forwarder.take_stream(port).expect("the port that was asked for");
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
