//! The namespace that a test runs in: one of its own, or that of its lane.
//!
//! The tests of a lane run one after the other in one namespace, so that they share a cluster, its Redis and its clients; lanes run
//! beside each other. Which tests are a lane, and which need the cluster for themselves, stands in .config/nextest.toml.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures::FutureExt as _;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{fleet, node, situation, wait::eventually};

/// Label of every namespace made here; its value is the lane or the test.
const LABEL: &str = "mooring.dev/e2e";
/// Label that tells the namespaces of one run from those of others.
const RUN: &str = "mooring.dev/e2e-run";
/// Label of a lane's namespace that a test is in, or has failed in: the next one gets a fresh one.
const IN_USE: &str = "mooring.dev/e2e-in-use";

/// A namespace, which enforces the restricted Pod Security Standard.
#[derive(Clone)]
pub struct Scope {
    /// To the cluster.
    pub client: Client,
    /// Its name.
    pub namespace: String,
}

/// Runs a test in a namespace of its own, which is deleted afterwards. When the test fails, the situation is printed first, and with
/// `KEEP=1` the namespace stays.
pub async fn in_namespace(name: &str, test: impl AsyncFnOnce(Scope)) {
    let scope = Scope::create(client().await, name).await;
    let outcome = run(&scope, test).await;
    if outcome.is_err() && keeps() {
        eprintln!("KEEP=1: namespace {} stays", scope.namespace);
    } else {
        scope.delete().await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Runs a test in its lane's namespace, which stays for the lane's next test; the run's end deletes it.
pub async fn in_lane(lane: &str, test: impl AsyncFnOnce(Scope)) {
    let client = client().await;
    let scope = match Scope::find(&client, lane).await {
        Some(scope) => scope,
        None => Scope::create(client, lane).await,
    };
    // Before the test: one that takes too long is killed, and tells nobody.
    scope.mark(Some("true")).await;
    let outcome = run(&scope, test).await;
    if outcome.is_ok() {
        scope.mark(None).await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

async fn client() -> Client {
    Client::try_default().await.expect("KUBECONFIG names no cluster; run `make e2e`")
}

async fn run(scope: &Scope, test: impl AsyncFnOnce(Scope)) -> std::thread::Result<()> {
    let outcome = AssertUnwindSafe(test(scope.clone())).catch_unwind().await;
    if outcome.is_err() {
        situation::print(scope).await;
    }
    outcome
}

fn keeps() -> bool {
    std::env::var_os("KEEP").is_some_and(|keep| keep == "1")
}

/// This run among others, as tests/bin/e2e names it.
fn run_name() -> String {
    std::env::var("MOORING_E2E_RUN").expect("MOORING_E2E_RUN is unset; run `make e2e`")
}

impl Scope {
    async fn create(client: Client, name: &str) -> Self {
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "generateName": format!("e2e-{name}-"),
                "labels": {LABEL: name, RUN: run_name(), "pod-security.kubernetes.io/enforce": "restricted"},
            }
        }))
        .unwrap();
        let namespaces = Api::<Namespace>::all(client.clone());
        let created =
            namespaces.create(&PostParams::default(), &namespace).await.expect("no namespace could be made");
        let scope = Self { client, namespace: created.metadata.name.unwrap() };
        let accounts = scope.api::<ServiceAccount>();
        eventually("the namespace has its service account", Duration::from_secs(30), async || {
            accounts.get("default").await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        scope
    }

    /// The lane's namespace, if a test of it has made one and all of them passed there.
    async fn find(client: &Client, lane: &str) -> Option<Self> {
        let labels = format!("{LABEL}={lane},{RUN}={},!{IN_USE}", run_name());
        let namespaces = Api::<Namespace>::all(client.clone());
        let found = namespaces.list(&ListParams::default().labels(&labels)).await;
        let namespace = found.expect("namespaces can be listed").items.pop()?;
        Some(Self { client: client.clone(), namespace: namespace.name_any() })
    }

    async fn mark(&self, in_use: Option<&str>) {
        let mark = Patch::Merge(json!({"metadata": {"labels": {IN_USE: in_use}}}));
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let marked = namespaces.patch(&self.namespace, &PatchParams::default(), &mark).await;
        marked.expect("the namespace is marked");
    }

    /// Deletes it without waiting for its end.
    async fn delete(&self) {
        // Without clients there is nothing to drain, which gateways would take their time for. Not every test has a fleet.
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = self.api::<Pod>().delete(fleet::NAME, &at_once).await;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        if let Err(error) = namespaces.delete(&self.namespace, &DeleteParams::default()).await {
            eprintln!("namespace {} is not deleted: {error}", self.namespace);
        }
    }

    /// Objects of one kind in the namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object from its manifest.
    pub async fn create_object<K>(&self, manifest: serde_json::Value) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(manifest).expect("a manifest of this kind");
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
            .expect("the API server takes the manifest")
    }

    /// Sends an HTTP request to a pod's port through the API server, and gives the answer's body.
    pub async fn request(
        &self,
        method: http::Method,
        pod: &str,
        port: u16,
        path: &str,
        body: Vec<u8>,
    ) -> Result<String, kube::Error> {
        let uri = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}", self.namespace);
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(body)
            .expect("a valid request");
        self.client.request_text(request).await
    }

    /// Ends a pod's container without warning: on the node where that can be reached, else by a deletion without grace.
    pub async fn kill(&self, pod: &Pod) {
        if node::is_local(pod).await {
            node::kill(pod).await;
        } else {
            self.delete_pod(&pod.name_any(), Some(0)).await;
        }
    }

    /// Deletes a pod; `grace` in seconds, 0 for at once.
    pub async fn delete_pod(&self, name: &str, grace: Option<u32>) {
        let parameters = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        self.api::<Pod>().delete(name, &parameters).await.expect("the pod is deleted");
    }
}
