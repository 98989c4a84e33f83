//! The objects around the pods.

use super::fleet::Fleet;
use super::{Action, Reason};
use crate::desired::Desired;
use crate::drift;
use crate::observed::{ObjectKey, ObjectKind, Observed};
use crate::resources;

/// Makes what is missing, puts right what drifted, removes what is no longer asked for.
pub(super) fn actions(desired: &Desired, observed: &Observed, fleet: &Fleet<'_>, size: u32) -> Vec<Action> {
    let secret = |name: String| ObjectKey { kind: ObjectKind::Secret, name };
    let mut actions: Vec<_> = resources::generated_secrets(desired)
        .into_iter()
        .filter(|which| !observed.owned.contains_key(&secret(which.name(desired))))
        .map(Action::CreateSecret)
        .collect();
    let objects = resources::objects(desired, size);
    // Old pods may still use them; and Secrets stay, since a value that is made again would be another one.
    let obsolete = |key: &&ObjectKey| {
        key.kind != ObjectKind::Secret && !objects.iter().any(|object| object.key == **key)
    };
    if fleet.count(|m| !m.updated) == 0 {
        let remove = |key: &ObjectKey| Action::Remove { key: key.clone() };
        actions.extend(observed.owned.keys().filter(obsolete).map(remove));
    }
    let drifted = objects.into_iter().filter(|object| {
        observed.owned.get(&object.key).is_none_or(|live| drift::differs(&object.manifest, live))
    });
    actions.extend(drifted.map(|object| Action::Apply { key: object.key, manifest: object.manifest }));
    actions
}

/// Secrets that the spec names and that are not there: no pod could start.
pub(super) fn missing_secrets(desired: &Desired, observed: &Observed) -> Vec<Reason> {
    let missing = desired.referenced_secrets().into_iter().filter(|key| !observed.secrets.contains(key));
    missing.map(|key| Reason::SecretMissing { name: key.name, key: key.key }).collect()
}
