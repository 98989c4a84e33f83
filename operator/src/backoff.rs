//! Each action that fails waits by itself, so that one that cannot work holds up no other.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Class;

/// Actions that failed, by what they do to which object.
#[derive(Debug, Default)]
pub struct Backoff(BTreeMap<String, Waiting>);

#[derive(Debug)]
struct Waiting {
    failures: u32,
    until: Instant,
}

impl Backoff {
    /// Whether an action has to wait.
    #[must_use]
    pub fn holds(&self, action: &str) -> bool {
        self.0.get(action).is_some_and(|waiting| Instant::now() < waiting.until)
    }

    /// An action failed once more.
    pub fn failed(&mut self, action: String, class: Class) {
        let failures = self.0.get(&action).map_or(1, |waiting| waiting.failures.saturating_add(1));
        self.0.insert(action, Waiting { failures, until: Instant::now() + class.retry_after(failures) });
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

    #[tokio::test(start_paused = true)]
    async fn a_failed_action_waits_longer_each_time_and_others_do_not() {
        let mut backoff = Backoff::default();
        backoff.failed("a".into(), Class::Transient);
        backoff.failed("a".into(), Class::Transient);
        assert!(backoff.holds("a") && !backoff.holds("b"));
        assert_eq!(backoff.soonest(), Some(Duration::from_secs(2)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!backoff.holds("a"));
        backoff.keep(|action| action != "a");
        assert_eq!(backoff.soonest(), None);
    }
}
