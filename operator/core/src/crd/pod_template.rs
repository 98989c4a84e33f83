//! `spec.podTemplate`.

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What gateway pods carry beyond what the operator sets; fields as in core/v1.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels besides the operator's own, which can't be changed.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(k, !k.startsWith('mooring.dev/') && !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/managed-by']))",
         "message": "spec.podTemplate.labels: mooring.dev/*, app.kubernetes.io/name, /instance and /managed-by belong to the operator; remove them"},
    ]))]
    #[schemars(extend("maxProperties" = 50))]
    pub labels: BTreeMap<String, String>,
    /// Annotations besides the operator's own.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(k, !k.startsWith('mooring.dev/'))",
         "message": "spec.podTemplate.annotations: mooring.dev/* belongs to the operator; remove it"},
    ]))]
    #[schemars(extend("maxProperties" = 50))]
    pub annotations: BTreeMap<String, String>,
    /// Resources of the gateway's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels of the nodes that gateways may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that gateways tolerate.
    pub tolerations: Vec<Toleration>,
    /// Where gateways may run, and next to what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How gateways spread; over nodes where possible when empty.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Environment of the gateway's container besides `MOORING_*`.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(e, !e.name.startsWith('MOORING_'))",
         "message": "spec.podTemplate.env: MOORING_* belongs to the operator; use the fields of spec instead"},
    ]))]
    #[schemars(length(max = 100))]
    pub env: Vec<EnvVar>,
    /// Secrets with the credentials of the image's registry; the operator's own default when empty.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(s, s.name != '')",
         "message": "spec.podTemplate.imagePullSecrets: a name is empty; name the Secret, or remove the entry"},
    ]))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}
