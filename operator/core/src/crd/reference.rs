//! The references of the resource and of the gateway's configuration, as pages for people: the one from the schema that the API server
//! checks, the other from the types that the gateway reads.

use super::definition::{crd, tidy};
use gateway_core::config::GatewayConfig;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::{generate::SchemaSettings, transform::AddNullable};
use serde_json::{Value, json};
use std::fmt::Write as _;

const COLUMNS: &str = "| field | type | default | description |\n|---|---|---|---|\n";

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
        let _ = write!(page, "\n## {part}\n\n{COLUMNS}");
        rows(&format!("{part}."), &schema["properties"][part], &mut page);
    }
    page
}

/// Every field of the gateway's configuration, likewise.
#[must_use]
pub fn configuration_reference() -> String {
    // As kube derives the resource's schema.
    let settings = SchemaSettings::openapi3()
        .with(|settings| (settings.inline_subschemas, settings.meta_schema) = (true, None))
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum);
    let mut schema = json!(settings.into_generator().into_root_schema_for::<GatewayConfig>());
    tidy(&mut schema);
    let mut page = format!(
        "# Configuration of a gateway\n\nYAML or JSON, from the file of `--config` (or `MOORING_CONFIG`) or by `PUT /config`; for a \
         `WebSocketCluster` the operator writes it. An unknown field is refused. `mooring-gateway --help` lists the flags, which are what \
         can't change while it runs. Written by `make generate`.\n\n{COLUMNS}"
    );
    rows("", &schema, &mut page);
    page
}

/// `path` ends with what a field's name goes on from.
fn rows(path: &str, schema: &Value, page: &mut String) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        let is_required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
        let default = if is_required { "required".to_owned() } else { default_of(field) };
        let description = cell(field["description"].as_str().unwrap_or_default());
        let _ = writeln!(page, "| `{path}` | {} | {default} | {description} |", type_of(field));
        if is_core_v1(name) {
            continue;
        }
        rows(&format!("{path}."), field, page);
        rows(&format!("{path}[]."), &field["items"], page);
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
