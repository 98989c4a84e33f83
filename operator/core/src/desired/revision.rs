//! The revision of gateway pods: a hash of what a pod *means*, taken from the spec and not from the manifest.
//!
//! A new version of the operator may render a pod differently, or bring another default image, and rolls nothing by that: such a
//! change reaches pods as they are made. Left out on purpose, since a running pod need not be replaced for them:
//! - replicas, scaling, rollout, listener.port, expose, paused, storage: not about a pod;
//! - disruption: the operator tells each draining pod its pace and deadline; pods made later get the new values from the start.

use super::{Backplane, Desired, External, Secrets};
use crate::crd::WebSocketClusterSpec;
use crate::names::Revision;
use gateway_core::config::{Drain, GatewayConfig};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Hex digits of a revision.
const LENGTH: usize = 10;

#[derive(Serialize)]
struct Meaning<'a> {
    /// Absent for the operator's default.
    image: Option<&'a str>,
    config: GatewayConfig,
    secrets: &'a Secrets,
    redis: Option<&'a External>,
    memory: bool,
    template: &'a crate::crd::PodTemplate,
    log: Option<&'a str>,
}

/// The revision of the pods that `desired`, parsed from `spec`, asks for.
pub(super) fn of(desired: &Desired, spec: &WebSocketClusterSpec) -> Revision {
    let meaning = Meaning {
        image: spec.image.as_deref(),
        config: GatewayConfig { drain: Drain::default(), ..desired.gateway.clone() },
        secrets: &desired.secrets,
        redis: match &desired.backplane {
            Backplane::External(external) => Some(external),
            Backplane::Managed(_) | Backplane::Memory => None,
        },
        memory: desired.backplane == Backplane::Memory,
        template: &desired.pod_template,
        log: desired.log.as_deref(),
    };
    // The defaults are taken out, so that a field added later with a default changes no hash.
    let default = serde_json::to_value(GatewayConfig::default()).unwrap_or_default();
    let mut value = serde_json::to_value(&meaning).unwrap_or_default();
    if let Some(config) = value.get_mut("config") {
        without_defaults(config, &default);
    }
    without_empty(&mut value);
    Revision(hash(&value)[..LENGTH].into())
}

/// Hex SHA-256 of a value; serde_json keeps the keys of objects sorted.
pub(crate) fn hash(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn without_defaults(value: &mut Value, default: &Value) {
    if let (Value::Object(fields), Value::Object(defaults)) = (value, default) {
        fields.retain(|key, field| defaults.get(key) != Some(field));
        for (key, field) in fields {
            if let Some(default) = defaults.get(key) {
                without_defaults(field, default);
            }
        }
    }
}

fn without_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(without_empty);
            fields.retain(|_, field| !is_empty(field));
        }
        Value::Array(items) => items.iter_mut().for_each(without_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
