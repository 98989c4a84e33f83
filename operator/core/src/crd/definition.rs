//! The manifest of the resource's definition.

use super::WebSocketCluster;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

/// The definition as YAML, for crds/ and the chart.
///
/// # Errors
/// When the definition can't be written as YAML.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&crd())
}

/// The definition as applied.
#[must_use]
pub fn crd() -> Value {
    let mut definition = serde_json::to_value(WebSocketCluster::crd()).unwrap_or_default();
    for version in
        definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten()
    {
        let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") else { continue };
        tidy(schema);
        // The derive macro writes the root, where rules on metadata belong, and those that a default breaks: the API server holds the
        // default of a field against its own rules.
        schema["x-kubernetes-validations"] = json!([
            {
                "rule": "self.metadata.name.size() <= 46 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "message": "metadata.name: names Services and pods; use at most 46 lower-case letters, digits and dashes, \
                            starting with a letter",
            },
            {
                "rule": "self.spec.auth.anonymous || has(self.spec.auth.jwt)",
                "message": "spec.auth: nobody could connect; set anonymous: true or give jwt",
            },
        ]);
        // An absent spec gets every default.
        schema["properties"]["spec"]["default"] = json!({});
    }
    definition
}

/// Takes out what only Rust knows: formats that the API server warns of, whole numbers written as fractions, and `nullable`, so
/// that a null is the same as nothing, for CEL's `has()` too.
pub(super) fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            if fields.get("nullable").is_some_and(Value::is_boolean) {
                fields.remove("nullable");
            }
            // The API server refuses unknown fields by itself, and takes no schema that asks for it.
            for closed in ["additionalProperties", "unevaluatedProperties"] {
                if fields.get(closed) == Some(&Value::Bool(false)) {
                    fields.remove(closed);
                }
            }
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|value| number.is_f64() && value.fract() == 0.0);
            #[expect(clippy::cast_possible_truncation, reason = "bounds of fields, far below 2^52")]
            if let Some(whole) = whole {
                *schema = json!(whole as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
