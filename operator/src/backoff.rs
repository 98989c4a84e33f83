//! Each action that fails waits by itself, so that one that cannot work holds up no other.

use std::collections::BTreeMap;
use std::time::Duration;

use operator_core::observed::ObjectKey;
use operator_core::refusal::Refusal;
use tokio::time::Instant;

use crate::error::Class;

/// Actions that failed, by what they do to which object.
#[derive(Debug, Default)]
pub struct Backoff(BTreeMap<String, Waiting>);

#[derive(Debug)]
struct Waiting {
    failures: u32,
    until: Instant,
    /// What was refused, and why, if it was.
    refusal: Option<(ObjectKey, Refusal)>,
}

impl Backoff {
    /// Whether an action has to wait.
    #[must_use]
    pub fn holds(&self, action: &str) -> bool {
        self.0.get(action).is_some_and(|waiting| Instant::now() < waiting.until)
    }

    /// An action failed once more.
    pub fn failed(&mut self, action: String, class: Class, refusal: Option<(ObjectKey, Refusal)>) {
        let failures = self.0.get(&action).map_or(1, |waiting| waiting.failures.saturating_add(1));
        let until = Instant::now() + class.retry_after(failures);
        self.0.insert(action, Waiting { failures, until, refusal });
    }

    /// What was refused last, of what is still to be done.
    pub fn refusals(&self) -> impl Iterator<Item = (ObjectKey, Refusal)> {
        self.0.values().filter_map(|waiting| waiting.refusal.clone())
    }

    /// Keeps the actions that are still planned; an action that worked or is not wanted any more starts anew next time.
    pub fn keep(&mut self, mut planned: impl FnMut(&str) -> bool) {
        self.0.retain(|action, _| planned(action));
    }

    /// Until the first action may be tried again.
    #[must_use]
    pub fn soonest(&self) -> Option<Duration> {
        let now = Instant::now();
        self.0.values().map(|waiting| waiting.until.saturating_duration_since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use operator_core::observed::ObjectKind;
    use operator_core::refusal::RefusalCause;

    #[tokio::test(start_paused = true)]
    async fn a_failed_action_waits_longer_each_time_and_others_do_not() {
        let mut backoff = Backoff::default();
        backoff.failed("a".into(), Class::Transient, None);
        backoff.failed("a".into(), Class::Transient, None);
        assert!(backoff.holds("a") && !backoff.holds("b"));
        assert_eq!(backoff.soonest(), Some(Duration::from_secs(2)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!backoff.holds("a"));
        backoff.keep(|action| action != "a");
        assert_eq!(backoff.soonest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_for_as_long_as_what_was_refused_is_to_be_done() {
        let mut backoff = Backoff::default();
        let key = ObjectKey { kind: ObjectKind::Pod, name: "chat-1".into() };
        let refusal = |message: &str| Refusal { cause: RefusalCause::Quota, message: message.into() };
        backoff.failed("CreatePod".into(), Class::Permanent, Some((key.clone(), refusal("one too many"))));
        backoff.failed("Apply".into(), Class::Conflict, None);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(backoff.refusals().collect::<Vec<_>>(), [(key.clone(), refusal("one too many"))]);
        backoff.failed("CreatePod".into(), Class::Permanent, Some((key.clone(), refusal("two too many"))));
        assert_eq!(backoff.refusals().collect::<Vec<_>>(), [(key, refusal("two too many"))]);
        backoff.keep(|action| action != "CreatePod");
        assert_eq!(backoff.refusals().count(), 0);
    }
}
