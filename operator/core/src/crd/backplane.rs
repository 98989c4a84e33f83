//! `spec.backplane`.

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements, SecretKeySelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What joins the gateways: exactly one kind.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.redis) != has(self.memory)",
     "message": "spec.backplane: give exactly one of redis and memory"},
]))]
pub struct Backplane {
    /// Redis or Valkey: managed by the operator, or reached by URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// The memory of a single pod; its history ends with the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

impl Default for Backplane {
    fn default() -> Self {
        Self {
            redis: Some(Redis { managed: Some(ManagedRedis::default()), ..Redis::default() }),
            memory: None,
        }
    }
}

/// Redis or Valkey: exactly one of `managed`, `url` and `urlFrom`.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.managed), has(self.url), has(self.urlFrom)].filter(x, x).size() == 1",
     "message": "spec.backplane.redis: give exactly one of managed, url and urlFrom"},
    {"rule": "!(has(self.managed) && has(self.passwordFrom))",
     "message": "spec.backplane.redis.passwordFrom: a managed Redis gets its password from the operator; remove it"},
]))]
pub struct Redis {
    /// Run by the operator: one replica with a volume and an append-only file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,
    /// Address, like `redis://redis.example:6379/0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^redis://[^ ]+$')",
        "message": "spec.backplane.redis.url: not an address that gateways can use; write it like redis://redis.example:6379/0, without TLS",
    }]))]
    pub url: Option<String>,
    /// Secret that holds the address, for one that includes a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretKeySelector>,
    /// Secret that holds the password of `url` or `urlFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretKeySelector>,
}

/// A Redis run by the operator.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ManagedRedis {
    /// Image with `redis-server` and `redis-cli` (Redis or Valkey, 7 or later); the operator's own default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// The volume for its append-only file.
    pub storage: Storage,
    /// Resources of its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Secrets with the credentials of the image's registry; the operator's own default when empty.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(s, s.name != '')",
         "message": "spec.backplane.redis.managed.imagePullSecrets: a name is empty; name the Secret, or remove the entry"},
    ]))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// A persistent volume. It is made once: Kubernetes refuses a later change of a StatefulSet's volume claims.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf",
     "message": "spec.backplane.redis.managed.storage: can't be changed once made; resize the PersistentVolumeClaim, or make a new cluster"},
]))]
pub struct Storage {
    /// Size of the volume.
    pub size: Quantity,
    /// Storage class; the cluster's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: Quantity("1Gi".into()), storage_class_name: None }
    }
}

/// The memory backplane; it has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {}
