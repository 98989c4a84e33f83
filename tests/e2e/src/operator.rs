//! The operator as it was installed: its pods, and its Helm release.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client, api::ListParams};
use tokio::process::Command;

use crate::wait::eventually;

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

/// Waits until every replica of the operator is there.
pub async fn available(client: &Client) {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    eventually("the operator is available", Duration::from_secs(120), async || {
        let list = deployments.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let status = list.items.first().and_then(|deployment| deployment.status.clone()).unwrap_or_default();
        match status.available_replicas {
            Some(available) if Some(available) == status.replicas => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
}

/// A Helm release that was taken away, with what it was installed with.
#[derive(Debug)]
pub struct Uninstalled {
    values: String,
}

/// `helm uninstall`.
pub async fn uninstall() -> Uninstalled {
    let values = helm(&["get", "values", RELEASE, "--namespace", NAMESPACE, "--output", "json"]).await;
    helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]).await;
    Uninstalled { values }
}

impl Uninstalled {
    /// `helm install`, as it was.
    pub async fn install(self) {
        let file = std::env::temp_dir().join(format!("mooring-e2e-{}.json", std::process::id()));
        std::fs::write(&file, &self.values).expect("the values can be kept");
        let chart = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../charts/mooring");
        let (chart, values) = (chart.to_string_lossy(), file.to_string_lossy());
        let arguments = [
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            &values,
            "--wait",
            "--timeout",
            "3m",
        ];
        helm(&arguments).await;
        std::fs::remove_file(&file).expect("the values can be removed");
    }
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
