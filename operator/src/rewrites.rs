//! Objects that admission changes as they are applied: applied again ever more seldom, since it changes them again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use operator_core::drift::differences;
use operator_core::observed::{ObjectKey, Rewritten};
use serde_json::Value;

/// Until the first time; doubled by each further one.
const SHORTEST: i64 = 4;
/// The longest.
const LONGEST: i64 = 600;

/// Objects of one cluster that came out otherwise than they went in.
#[derive(Debug, Default)]
pub struct Rewrites(BTreeMap<ObjectKey, Rewrite>);

#[derive(Debug)]
struct Rewrite {
    manifest: Value,
    times: u32,
    rewritten: Rewritten,
}

impl Rewrites {
    /// An object was applied, and this is what came of it.
    pub fn applied(&mut self, key: &ObjectKey, manifest: &Value, answer: &Value, now: Timestamp) {
        let differences = differences(manifest, answer);
        if differences.is_empty() {
            self.0.remove(key);
            return;
        }
        let before = self.0.get(key).filter(|before| before.rewritten.differences == differences);
        let times = before.map_or(0, |before| before.times.saturating_add(1));
        let wait = (SHORTEST << times.min(16)).min(LONGEST);
        let again = now + SignedDuration::from_secs(wait);
        let rewritten = Rewritten { differences, again };
        self.0.insert(key.clone(), Rewrite { manifest: manifest.clone(), times, rewritten });
    }

    /// Those of the objects that are still as admission left them; forgets the others.
    pub fn of(&mut self, live: &BTreeMap<ObjectKey, Value>) -> BTreeMap<ObjectKey, Rewritten> {
        self.0.retain(|key, rewrite| {
            let live = live.get(key);
            live.is_some_and(|live| differences(&rewrite.manifest, live) == rewrite.rewritten.differences)
        });
        self.0.iter().map(|(key, rewrite)| (key.clone(), rewrite.rewritten.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use operator_core::observed::ObjectKind;
    use serde_json::json;

    #[test]
    fn what_admission_changes_each_time_is_applied_ever_more_seldom_until_it_does_not() {
        let key = ObjectKey { kind: ObjectKind::StatefulSet, name: "chat-redis".into() };
        let (mut rewrites, mut now) = (Rewrites::default(), Timestamp::UNIX_EPOCH);
        let (ours, theirs) = (json!({"image": "redis:8"}), json!({"image": "mirror/redis:8"}));
        let live = BTreeMap::from([(key.clone(), theirs.clone())]);
        let mut waits = Vec::new();
        for _ in 0..10 {
            rewrites.applied(&key, &ours, &theirs, now);
            let rewritten = rewrites.of(&live)[&key].clone();
            assert_eq!(rewritten.differences, [r#"image is "mirror/redis:8" where "redis:8" was applied"#]);
            waits.push(rewritten.again.duration_since(now).as_secs());
            now = rewritten.again;
        }
        assert_eq!(waits, [4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        let other = json!({"image": "other/redis:8"});
        rewrites.applied(&key, &ours, &other, now);
        let live = BTreeMap::from([(key.clone(), other)]);
        assert_eq!(rewrites.of(&live)[&key].again.duration_since(now).as_secs(), 4);
        let mended = BTreeMap::from([(key.clone(), ours.clone())]);
        assert_eq!(rewrites.of(&mended), BTreeMap::new());
        rewrites.applied(&key, &ours, &theirs, now);
        rewrites.applied(&key, &ours, &ours, now);
        assert_eq!(rewrites.of(&mended), BTreeMap::new());
    }
}
