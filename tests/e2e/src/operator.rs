//! The operator as it was installed: its pods, and its Helm release.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde_json::json;
use tokio::process::Command;

use crate::{gateways::is_ready, node, scope::Scope, wait::eventually};

/// Namespace of the release.
pub const NAMESPACE: &str = "mooring-system";
/// Name of the release.
const RELEASE: &str = "mooring";
/// User under which the operator writes.
pub const USER: &str = "system:serviceaccount:mooring-system:mooring-operator";

/// The operator's pods.
pub async fn pods(client: &Client) -> Vec<Pod> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
    pods.list(&selector).await.map(|list| list.items).unwrap_or_default()
}

/// Images that clusters get from the operator whose spec names none.
#[derive(Clone, Debug)]
pub struct Images {
    /// Of gateways.
    pub gateway: String,
    /// Of the managed Redis.
    pub redis: String,
}

impl Images {
    /// Those that the installed operator was told.
    pub async fn installed(client: &Client) -> Self {
        let pods = pods(client).await;
        let arguments = pods.first().and_then(|pod| pod.spec.as_ref()?.containers.first()?.args.clone());
        let arguments = arguments.expect("the operator has arguments");
        let value = |flag: &str| {
            let value = arguments.iter().find_map(|argument| argument.strip_prefix(flag));
            value.unwrap_or_else(|| panic!("no {flag} among {arguments:?}")).to_owned()
        };
        Self { gateway: value("--gateway-image="), redis: value("--redis-image=") }
    }
}

/// Ends every operator without warning, and so that none comes back in its pod; gives the pods that were.
pub async fn kill(client: &Client) -> Vec<Pod> {
    let scope = Scope { client: client.clone(), namespace: NAMESPACE.to_owned() };
    let killed = pods(client).await;
    for pod in &killed {
        if node::is_local(pod).await {
            node::kill(pod).await;
        }
        scope.delete_pod(&pod.name_any(), Some(0)).await;
    }
    killed
}

/// Waits until every replica of the operator is ready, and none of those that were killed is there.
pub async fn replaced(client: &Client, killed: &[Pod]) {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    eventually("the operator is available", Duration::from_secs(120), async || {
        let list = deployments.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let replicas = list.items.first().and_then(|deployment| deployment.spec.as_ref()?.replicas);
        // The Deployment's own status may be from before.
        let pods = pods(client).await;
        let ready = |pod: &Pod| is_ready(pod) && killed.iter().all(|old| old.uid() != pod.uid());
        if i32::try_from(pods.len()).ok() == replicas && pods.iter().all(ready) {
            Ok(())
        } else {
            Err(format!("{pods:#?}"))
        }
    })
    .await;
}

/// A chart of an earlier commit, and the operator's image of then.
#[derive(Debug)]
pub struct Previous {
    chart: PathBuf,
    image: String,
}

impl Previous {
    /// What tests/bin/previous has made, if it could.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let chart = std::env::var_os("MOORING_PREVIOUS_CHART")?.into();
        let image =
            std::env::var("MOORING_PREVIOUS_IMAGE").expect("MOORING_PREVIOUS_IMAGE goes with its chart");
        Some(Self { chart, image })
    }

    /// `helm install`, for clusters of these images.
    pub async fn install(self, images: Images) {
        let Images { gateway, redis } = images;
        let values = json!({"image": self.image, "defaults": {"gatewayImage": gateway, "redisImage": redis}});
        install(&self.chart, &values.to_string(), &[]).await;
    }
}

/// A Helm release of this commit's chart: what it was installed with.
#[derive(Debug)]
pub struct Release {
    values: String,
}

impl Release {
    /// The one that is installed.
    pub async fn installed() -> Self {
        let arguments = ["get", "values", RELEASE, "--namespace", NAMESPACE, "--output", "json"];
        Self { values: helm(&arguments).await }
    }

    /// `helm uninstall`.
    pub async fn uninstall() -> Self {
        let release = Self::installed().await;
        helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]).await;
        release
    }

    /// `helm upgrade --install`, with the values as they were.
    pub async fn install(&self) {
        install(&chart(), &self.values, &[]).await;
    }

    /// The same with a file of the chart's folder `ci` on top.
    pub async fn install_with(&self, file: &str) {
        let file = chart().join("ci").join(file);
        install(&chart(), &self.values, &["--values", &file.to_string_lossy()]).await;
    }
}

/// `helm test`; gives the log of its pod.
pub async fn helm_test() -> String {
    helm(&["test", RELEASE, "--namespace", NAMESPACE, "--logs"]).await
}

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../charts/mooring")
}

async fn install(chart: &Path, values: &str, more: &[&str]) {
    let file = std::env::temp_dir().join(format!("mooring-e2e-{}.json", std::process::id()));
    std::fs::write(&file, values).expect("the values can be kept");
    let (chart, values) = (chart.to_string_lossy(), file.to_string_lossy());
    let arguments = ["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE, "--values", &values];
    helm(&[&arguments[..], more, &["--wait", "--timeout", "3m"]].concat()).await;
    std::fs::remove_file(&file).expect("the values can be removed");
}

async fn helm(arguments: &[&str]) -> String {
    let output = Command::new("helm")
        .args(arguments)
        .output()
        .await
        .expect("helm runs; tests/cluster/tools.sh brings it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "helm {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("helm writes text")
}
