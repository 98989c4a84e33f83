//! One test's namespace.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, resume_unwind},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::RwLock;

use crate::{fleet, situation, wait::eventually};

/// Held exclusively by tests that count what a busy machine would change, or take the operator away.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// A namespace of one test's own, which enforces the restricted Pod Security Standard.
#[derive(Clone)]
pub struct Scope {
    /// To the cluster.
    pub client: Client,
    /// Its name.
    pub namespace: String,
}

/// Runs a test that has the cluster for itself, in a namespace that is deleted afterwards. When the test fails, the situation is
/// printed first, and with `KEEP=1` the namespace stays.
pub async fn alone(name: &str, test: impl AsyncFnOnce(Scope)) {
    let _cluster = CLUSTER.write().await;
    with_namespace(name, test).await;
}

/// Like [`alone`], but beside others of its kind.
pub async fn beside_others(name: &str, test: impl AsyncFnOnce(Scope)) {
    let _cluster = CLUSTER.read().await;
    with_namespace(name, test).await;
}

async fn with_namespace(name: &str, test: impl AsyncFnOnce(Scope)) {
    let started = Instant::now();
    let client = Client::try_default().await.expect("KUBECONFIG names no cluster; run `make up`");
    let scope = Scope::create(client, name).await;
    let outcome = AssertUnwindSafe(test(scope.clone())).catch_unwind().await;
    if outcome.is_err() {
        situation::print(&scope).await;
    }
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") && outcome.is_err() {
        eprintln!("KEEP=1: namespace {} stays", scope.namespace);
    } else {
        scope.delete().await;
    }
    eprintln!("{name}: {} s", started.elapsed().as_secs());
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Scope {
    async fn create(client: Client, name: &str) -> Self {
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "generateName": format!("e2e-{name}-"),
                "labels": {"mooring.dev/e2e": name, "pod-security.kubernetes.io/enforce": "restricted"},
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

    /// Waits for the end of its pods, so that the next test has the machine for itself; volumes and the rest go by themselves.
    async fn delete(&self) {
        let pods = self.api::<Pod>();
        // Without clients there is nothing to drain, which gateways would take their time for. Not every test has a fleet.
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = pods.delete(fleet::NAME, &at_once).await;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        if let Err(error) = namespaces.delete(&self.namespace, &DeleteParams::default()).await {
            eprintln!("namespace {} is not deleted: {error}", self.namespace);
            return;
        }
        eventually("the test's pods are gone", Duration::from_secs(120), async || {
            let left = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let left: Vec<_> = left.items.iter().map(ResourceExt::name_any).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
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

    /// Deletes a pod; `grace` in seconds, 0 for at once.
    pub async fn delete_pod(&self, name: &str, grace: Option<u32>) {
        let parameters = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        self.api::<Pod>().delete(name, &parameters).await.expect("the pod is deleted");
    }
}
