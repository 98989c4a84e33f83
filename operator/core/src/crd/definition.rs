//! The manifest of the resource's definition.

use super::WebSocketCluster;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The definition as applied.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    WebSocketCluster::crd()
}

/// The definition as YAML, for crds/ and the chart.
///
/// # Errors
/// When the definition can't be written as YAML.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&crd())
}
