//! Whether a live object is still as it was applied; no write happens when it is.

use serde_json::Value;

/// The fields of `desired` that have another value in `live`, with both values; none if it is as it was applied. Fields that only
/// `live` has were set by Kubernetes or by others, and are theirs; arrays are compared element by element. A field that was
/// applied once and is no longer desired shows through the annotation [`crate::names::APPLIED_HASH`].
#[must_use]
pub fn differences(desired: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", desired, live, &mut found);
    found
}

fn compare(path: &str, desired: &Value, live: &Value, found: &mut Vec<String>) {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            for (key, value) in desired {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match live.get(key) {
                    Some(live) => compare(&path, value, live, found),
                    None if is_absent(value) => {}
                    None => found.push(format!("{path} is absent where {value} was applied")),
                }
            }
        }
        (Value::Array(desired), Value::Array(live)) if desired.len() == live.len() => {
            for (index, (desired, live)) in desired.iter().zip(live).enumerate() {
                compare(&format!("{path}[{index}]"), desired, live, found);
            }
        }
        (Value::String(desired), Value::String(live)) if same_quantity(desired, live) => {}
        (desired, live) if desired == live => {}
        (desired, live) => found.push(format!("{path} is {live} where {desired} was applied")),
    }
}

/// The API server writes quantities its own way: `0.5` as `500m`, `1024Mi` as `1Gi`.
fn same_quantity(a: &str, b: &str) -> bool {
    quantity(a).zip(quantity(b)).is_some_and(|(a, b)| (a - b).abs() <= a.abs() * 1e-9)
}

fn quantity(text: &str) -> Option<f64> {
    // `1e3` and `1E3` are numbers, while `1E` has a suffix: as many digits as make a number are one.
    let end =
        (0..=text.len()).rev().find(|&end| text.get(..end).is_some_and(|t| t.parse::<f64>().is_ok()))?;
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// The API server drops empty maps and lists.
fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_absent),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::differences;
    use serde_json::{Value, json};

    fn differs(desired: &Value, live: &Value) -> bool {
        !differences(desired, live).is_empty()
    }

    #[test]
    fn a_difference_names_the_field_and_both_values() {
        let desired = json!({"spec": {"containers": [{"image": "redis:8", "args": ["a"]}], "replicas": 1}});
        let live = json!({"spec": {"containers": [{"image": "mirror/redis:8", "args": ["a", "b"]}]}});
        assert_eq!(
            differences(&desired, &live),
            [
                r#"spec.containers[0].args is ["a","b"] where ["a"] was applied"#,
                r#"spec.containers[0].image is "mirror/redis:8" where "redis:8" was applied"#,
                "spec.replicas is absent where 1 was applied",
            ]
        );
    }

    #[test]
    fn what_others_added_is_no_drift() {
        let desired = json!({"spec": {"ports": [{"port": 1}], "selector": {"a": "b"}}});
        let live = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "selector": {"a": "b"}, "clusterIP": "x"}});
        assert!(!differs(&desired, &live));
    }

    #[test]
    fn a_changed_missing_or_extra_value_is_drift() {
        let desired = json!({"spec": {"ports": [{"port": 1}]}});
        for live in [
            json!({"spec": {"ports": [{"port": 2}]}}),
            json!({"spec": {"ports": []}}),
            json!({"spec": {"ports": [{"port": 1}, {"port": 2}]}}),
            json!({"spec": {}}),
            json!({}),
        ] {
            assert!(differs(&desired, &live), "{live}");
        }
    }

    #[test]
    fn a_quantity_written_another_way_is_no_drift() {
        assert!(!differs(
            &json!({"cpu": "0.5", "memory": "1024Mi"}),
            &json!({"cpu": "500m", "memory": "1Gi"})
        ));
        for (given, stored) in [
            ("2048Ti", "2Pi"),
            ("1024Pi", "1Ei"),
            ("2000T", "2P"),
            ("1000P", "1E"),
            ("0.0005", "500u"),
            ("1000e0", "1e3"),
        ] {
            assert!(!differs(&json!(given), &json!(stored)), "{given} is {stored}");
        }
        for (given, stored) in [("1E", "1e1"), ("1Pi", "1P"), ("inf", "nan")] {
            assert!(differs(&json!(given), &json!(stored)), "{given} is not {stored}");
        }
        assert!(differs(&json!({"cpu": "0.5"}), &json!({"cpu": "400m"})));
    }

    #[test]
    fn an_empty_map_or_list_equals_an_absent_one() {
        assert!(!differs(&json!({"a": {}, "b": [], "c": null}), &json!({})));
    }
}
