//! The reference of the resource, as a page for people, from the same schema that the API server checks.

use super::crd;
use serde_json::Value;
use std::fmt::Write as _;

/// Fields whose types are core/v1's own besides selectors of Secrets; Kubernetes documents what is inside.
const CORE_V1: [&str; 6] =
    ["affinity", "env", "imagePullSecrets", "resources", "tolerations", "topologySpreadConstraints"];

/// Every field of `spec` and `status`, with type, default and description, as Markdown.
#[must_use]
pub fn reference() -> String {
    let definition = crd();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut page = String::from(
        "# WebSocketCluster\n\nGroup mooring.dev, version v1alpha1, short name wsc. Written by `make generate`.\n",
    );
    for part in ["spec", "status"] {
        let _ = write!(page, "\n## {part}\n\n| field | type | default | description |\n|---|---|---|---|\n");
        rows(part, &schema["properties"][part], &mut page);
    }
    page
}

fn rows(path: &str, schema: &Value, page: &mut String) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = cell(field["description"].as_str().unwrap_or_default());
        let _ = writeln!(page, "| `{path}` | {} | {} | {description} |", type_of(field), default_of(field));
        if is_core_v1(name) {
            continue;
        }
        rows(&path, field, page);
        rows(&format!("{path}[]"), &field["items"], page);
    }
}

fn is_core_v1(name: &str) -> bool {
    CORE_V1.contains(&name) || name.ends_with("SecretRef") || name.ends_with("From")
}

fn type_of(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"].as_bool() == Some(true) {
        return "integer or string".into();
    }
    if let Some(values) = field["enum"].as_array() {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    let name = field["type"].as_str().unwrap_or("any");
    let bound = |key: &str| field[key].as_f64();
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
        _ => name.into(),
    }
}

/// Objects have their defaults field by field, as far as these are the same when the object itself is absent.
fn default_of(field: &Value) -> String {
    let properties = &field["properties"];
    match &field["default"] {
        Value::Null => String::new(),
        Value::Object(fields) if fields.iter().all(|(name, value)| properties[name]["default"] == *value) => {
            String::new()
        }
        Value::Array(items) if items.is_empty() => String::new(),
        default => format!("`{}`", cell(&default.to_string())),
    }
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
