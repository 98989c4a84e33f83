//! Who owns the fields of an object. What is made is written by a `create`, which takes over nothing that exists; only for what was
//! *applied* does the API server remove a field that is applied no more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use operator_core::names::MANAGER;
use serde_json::Value;

/// The managers of an object's fields, with what we wrote as we made it counted as applied; nothing if that is so already.
pub fn as_applied(managers: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let (ours, mut all): (Vec<_>, Vec<_>) = managers.iter().cloned().partition(is_ours);
    if ours.iter().all(|entry| entry.operation.as_deref() == Some("Apply")) {
        return None;
    }
    let mut fields = Value::Null;
    for entry in &ours {
        unite(&mut fields, entry.fields_v1.as_ref().map_or(&Value::Null, |FieldsV1(fields)| fields));
    }
    let newest = ours.into_iter().max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    all.push(ManagedFieldsEntry {
        operation: Some("Apply".into()),
        fields_v1: Some(FieldsV1(fields)),
        ..newest
    });
    Some(all)
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER) && entry.subresource.as_deref().is_none_or(str::is_empty)
}

/// Sets of fields are maps of maps.
fn unite(all: &mut Value, more: &Value) {
    match (all, more) {
        (Value::Object(all), Value::Object(more)) => {
            for (name, more) in more {
                unite(all.entry(name).or_insert(Value::Null), more);
            }
        }
        (all, more) if all.is_null() => *all = more.clone(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some(operation.into()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    #[test]
    fn what_was_created_counts_as_applied_and_others_keep_what_they_own() {
        let made = entry(MANAGER, "Update", json!({"f:spec": {"f:type": {}, "f:ports": {}}}));
        let applied = entry(MANAGER, "Apply", json!({"f:spec": {"f:type": {}, "f:selector": {}}}));
        let other = entry("kubectl", "Update", json!({"f:metadata": {}}));
        let all = json!({"f:spec": {"f:type": {}, "f:ports": {}, "f:selector": {}}});
        assert_eq!(
            as_applied(&[made.clone(), other.clone(), applied.clone()]),
            Some(vec![other.clone(), entry(MANAGER, "Apply", all)])
        );
        let alone = entry(MANAGER, "Apply", json!({"f:spec": {"f:type": {}, "f:ports": {}}}));
        assert_eq!(as_applied(&[made]), Some(vec![alone]));
        assert_eq!(as_applied(&[other.clone(), applied]), None);
        assert_eq!(as_applied(&[other]), None);
    }
}
