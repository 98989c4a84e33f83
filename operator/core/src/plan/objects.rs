//! The objects around the pods.

use super::fleet::Fleet;
use super::{Action, Reason};
use crate::desired::Desired;
use crate::drift;
use crate::observed::{ObjectKey, ObjectKind, Observed};
use crate::resources::{self, Object};
use jiff::Timestamp;

/// Makes what is missing, puts right what drifted, removes what is no longer asked for. What is another's, or may be, is left
/// alone, and so is for a while what admission changes anyway.
pub(super) fn actions(
    desired: &Desired,
    observed: &Observed,
    fleet: &Fleet<'_>,
    size: u32,
    now: Timestamp,
) -> Vec<Action> {
    let others = |key: &ObjectKey| observed.others.contains_key(key);
    let secrets = resources::generated_secrets(desired).into_iter().filter(|which| {
        let key = ObjectKey { kind: ObjectKind::Secret, name: which.name(desired) };
        !observed.owned.contains_key(&key) && !others(&key)
    });
    let mut actions: Vec<_> = secrets.map(Action::CreateSecret).collect();
    let objects = resources::objects(desired, size);
    // Old pods may still use them; and Secrets stay, since a value that is made again would be another one.
    let obsolete = |key: &&ObjectKey| {
        key.kind != ObjectKind::Secret && !objects.iter().any(|object| object.key == **key)
    };
    if fleet.count(|m| !m.updated) == 0 {
        let remove = |key: &ObjectKey| Action::Remove { key: key.clone() };
        actions.extend(observed.owned.keys().filter(obsolete).map(remove));
    }
    // A StatefulSet takes a claim of its volume's name for its own, and deletes it in the end.
    let claim = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: desired.name.redis_claim() };
    let due = objects.into_iter().filter(|object| {
        let another_s = others(&object.key) || (object.key.kind == ObjectKind::StatefulSet && others(&claim));
        !another_s && is_due(object, observed, now)
    });
    actions.extend(due.map(|object| Action::Apply { key: object.key, manifest: object.manifest }));
    actions
}

/// It is not there, or not as it should be; and where that is admission's doing, its time has come again.
fn is_due(object: &Object, observed: &Observed, now: Timestamp) -> bool {
    let Some(live) = observed.owned.get(&object.key) else { return true };
    let differences = drift::differences(&object.manifest, live);
    let waits = observed
        .rewritten
        .get(&object.key)
        .is_some_and(|rewritten| rewritten.differences == differences && now < rewritten.again);
    !differences.is_empty() && !waits
}

/// Secrets that the spec names and that are not there: no pod could start.
pub(super) fn missing_secrets(desired: &Desired, observed: &Observed) -> Vec<Reason> {
    let unknown = |name: &str| {
        let key = ObjectKey { kind: ObjectKind::Secret, name: name.into() };
        observed.others.contains_key(&key)
    };
    let missing = desired.referenced_secrets().into_iter();
    let missing = missing.filter(|key| !observed.secrets.contains(key) && !unknown(&key.name));
    missing.map(|key| Reason::SecretMissing { name: key.name, key: key.key }).collect()
}
