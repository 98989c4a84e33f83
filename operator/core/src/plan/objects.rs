//! The objects around the pods.

use super::fleet::Fleet;
use super::{Action, Reason};
use crate::desired::Desired;
use crate::drift;
use crate::observed::{ObjectKey, ObjectKind, Observed};
use crate::ownership::Standing;
use crate::resources::{self, GeneratedSecret, Object};
use jiff::Timestamp;

/// What is not as the spec asks, whether or not that can be mended now.
pub(super) struct Outstanding {
    secrets: Vec<GeneratedSecret>,
    obsolete: Vec<ObjectKey>,
    objects: Vec<Object>,
}

impl Outstanding {
    /// What is missing, what drifted, and what is no longer asked for; what admission changes anyway is left as it is for a while.
    pub fn new(desired: &Desired, observed: &Observed, fleet: &Fleet<'_>, size: u32, now: Timestamp) -> Self {
        let is_missing = |which: &GeneratedSecret| !observed.owned.contains_key(&which.object(desired));
        let secrets = resources::generated_secrets(desired).into_iter().filter(is_missing).collect();
        let mut objects = resources::objects(desired, size);
        // Old pods may still use them; and Secrets stay, since a value that is made again would be another one.
        let is_used = fleet.count(|m| !m.updated) > 0;
        let is_obsolete = |key: &&ObjectKey| {
            key.kind != ObjectKind::Secret && !is_used && !objects.iter().any(|object| object.key == **key)
        };
        let obsolete = observed.owned.keys().filter(is_obsolete).cloned().collect();
        objects.retain(|object| is_due(object, observed, now));
        Self { secrets, obsolete, objects }
    }

    /// Those that nothing else tells of: the first, and how many there are.
    pub fn reason(&self, desired: &Desired, observed: &Observed) -> Option<Reason> {
        let is_told = |key: &ObjectKey| {
            observed.refusals.contains_key(key)
                || matches!(observed.others.get(key), Some(Standing::Taken(_)))
        };
        let secrets = self.secrets.iter().map(|which| which.object(desired));
        let objects = self.objects.iter().map(|object| object.key.clone());
        let all = secrets.chain(objects).chain(self.obsolete.iter().cloned());
        let mut all = all.filter(|key| !is_told(key));
        Some(Reason::Reconciling { key: all.next()?, more: all.count() })
    }

    /// Makes, puts right and removes it. What is another's, or may be, is left alone.
    pub fn actions(self, desired: &Desired, observed: &Observed) -> Vec<Action> {
        let others = |key: &ObjectKey| observed.others.contains_key(key);
        let secrets = self.secrets.into_iter().filter(|which| !others(&which.object(desired)));
        let mut actions: Vec<_> = secrets.map(Action::CreateSecret).collect();
        actions.extend(self.obsolete.into_iter().map(|key| Action::Remove { key }));
        // A StatefulSet takes a claim of its volume's name for its own, and deletes it in the end.
        let claim = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: desired.name.redis_claim() };
        let takes_claim = |object: &Object| object.key.kind == ObjectKind::StatefulSet && others(&claim);
        let due = self.objects.into_iter().filter(|object| !others(&object.key) && !takes_claim(object));
        actions.extend(due.map(|object| Action::Apply { key: object.key, manifest: object.manifest }));
        actions
    }
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
