//! The definition of the resource.

use crate::fixtures::spec;
use gateway_core::config::GatewayConfig;
use operator_core::crd::{configuration_reference, crd, crd_yaml, reference};
use serde_json::{Value, json};

fn schema() -> Value {
    crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with the path and schema of every field.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, field);
        walk(&path, field, visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(path, &schema[inner], visit);
        }
    }
}

#[test]
fn every_field_has_a_description() {
    let mut missing = Vec::new();
    walk("", &schema()["properties"]["spec"], &mut |path, field| {
        if field["description"].as_str().is_none_or(str::is_empty) {
            missing.push(path.to_owned());
        }
    });
    walk("status", &schema()["properties"]["status"], &mut |path, field| {
        if field["description"].as_str().is_none_or(str::is_empty) {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_rule_names_its_field_and_says_what_to_do() {
    let mut rules = 0;
    let mut check = |field: &Value| {
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap();
            assert!(message.starts_with("spec.") || message.starts_with("metadata."), "{message}");
            rules += 1;
        }
    };
    let schema = schema();
    check(&schema);
    check(&schema["properties"]["spec"]);
    walk("spec", &schema["properties"]["spec"], &mut |_, field| check(field));
    assert!(rules >= 16, "{rules}");
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code() {
    let mut stored = json!({});
    fill(&schema()["properties"]["spec"], &mut stored);
    assert_eq!(spec(&stored), spec(&json!({})));
}

/// Fills in defaults as the API server does.
fn fill(schema: &Value, value: &mut Value) {
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object_mut()) else {
        return;
    };
    for (name, field) in properties {
        if !fields.contains_key(name) && !field["default"].is_null() {
            fields.insert(name.clone(), field["default"].clone());
        }
        if let Some(value) = fields.get_mut(name) {
            fill(field, value);
        }
    }
}

#[test]
fn the_columns_and_the_scale_sub_resource_are_what_kubectl_shows() {
    let version = &crd()["spec"]["versions"][0];
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Ready", "Connections", "Draining", "Reason", "Age"]);
    assert_eq!(
        version["subresources"]["scale"],
        json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        })
    );
}

#[test]
fn nothing_in_the_schema_makes_the_api_server_warn() {
    let yaml = crd_yaml().unwrap();
    for word in ["uint", "nullable", "anyOf", "oneOf", ".0\n"] {
        assert!(!yaml.contains(word), "{word}");
    }
}

#[test]
fn the_committed_copies_are_current() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for copy in ["crds/websocketclusters.mooring.dev.yaml", "charts/mooring/files/crd.yaml"] {
        let committed = std::fs::read_to_string(format!("{root}/{copy}")).unwrap();
        assert!(committed == crd_yaml().unwrap(), "{copy} is stale: run make generate");
    }
}

#[test]
fn the_reference_has_a_row_for_every_field_that_is_our_own() {
    let page = reference();
    let row =
        |path: &str| page.lines().find(|line| line.starts_with(&format!("| `{path}` |"))).map(str::to_owned);
    assert_eq!(
        row("spec.scaling.minReplicas").as_deref(),
        Some("| `spec.scaling.minReplicas` | integer, 1 to 10000 | `1` | Fewest gateway pods. |")
    );
    assert!(row("status.conditions[].reason").is_some());
    assert_eq!(row("spec.podTemplate.affinity.nodeAffinity"), None, "core/v1 documents its own");
    let open: Vec<_> = page.lines().filter(|line| line.starts_with('|') && !line.ends_with('|')).collect();
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_reference_of_the_gateway_s_configuration_has_every_field_that_a_gateway_writes() {
    let page = configuration_reference();
    let has_row = |path: &str| page.lines().any(|line| line.starts_with(&format!("| `{path}` |")));
    fn paths(prefix: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let path = format!("{prefix}{name}");
                    paths(&format!("{path}."), field, found);
                    found.push(path);
                }
            }
            Value::Array(items) => {
                let prefix = format!("{}[].", prefix.trim_end_matches('.'));
                items.iter().for_each(|item| paths(&prefix, item, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    paths("", &serde_json::to_value(GatewayConfig::default()).unwrap(), &mut found);
    assert!(found.len() > 20, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|path| !has_row(path)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let row = |path: &str| page.lines().find(|line| line.starts_with(&format!("| `{path}` |"))).unwrap();
    assert!(row("auth.jwks.url").contains("| string | required |"), "{}", row("auth.jwks.url"));
    assert!(
        row("limits.maxConnections").contains("| integer, 1 to 1000000 | `15000` |"),
        "{}",
        row("limits.maxConnections")
    );
}
