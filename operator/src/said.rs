//! What was told of one cluster already.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// What comes and goes is said again after this time at the earliest.
const SILENCE: Duration = Duration::from_secs(600);

/// What was said of one cluster, and when it was last true.
#[derive(Debug, Default)]
pub struct Said(Option<BTreeMap<String, Instant>>);

impl Said {
    /// Of what is true now, the subjects to say: those that were not true within [`SILENCE`]. In the first pass of a new
    /// leader, what left the status as it was is no news: the one before said it.
    pub fn news(&mut self, subjects: &[String], status_changed: bool) -> Vec<bool> {
        let now = Instant::now();
        let repeats = self.0.is_none() && !status_changed;
        let said = self.0.get_or_insert_default();
        said.retain(|_, last| now.duration_since(*last) < SILENCE);
        subjects.iter().map(|subject| said.insert(subject.clone(), now).is_none() && !repeats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_stays_true_is_said_once_and_what_flaps_at_most_every_ten_minutes() {
        let mut said = Said::default();
        let both = ["a".to_owned(), "b".to_owned()];
        assert_eq!(said.news(&both, true), [true, true]);
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!(said.news(&both[..1], true), [false]);
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!(said.news(&both, true), [false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_does_not_repeat_what_the_status_says_already() {
        let mut said = Said::default();
        assert_eq!(said.news(&["a".to_owned()], false), [false]);
        assert_eq!(said.news(&["a".to_owned(), "b".to_owned()], false), [false, true]);
    }
}
