//! What the log is told of trouble that goes on: its beginning, each new reason, a reminder now and then, its end.

use std::time::{Duration, Instant};

/// Between reminders.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// Reasons that are told of one by one; with more, the reminders tell of the latest.
const MAX_REASONS: usize = 8;

/// One kind of trouble, whether there is any or not.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<Told>);

#[derive(Debug)]
struct Told {
    since: Instant,
    last: Instant,
    /// Those that the log has seen.
    reasons: Vec<String>,
}

/// What there is to tell. Durations count from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Began,
    /// For a reason that is new.
    Changed(Duration),
    /// Nothing was told for a while.
    Lasts(Duration),
}

impl Trouble {
    /// Something failed; `reason` says the same for the same kind of failure.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) -> Option<Notice> {
        let Some(told) = &mut self.0 else {
            self.0 = Some(Told { since: now, last: now, reasons: vec![reason.to_owned()] });
            return Some(Notice::Began);
        };
        let age = now.saturating_duration_since(told.since);
        let is_new = !told.reasons.iter().any(|known| known == reason) && told.reasons.len() < MAX_REASONS;
        let notice = if is_new {
            told.reasons.push(reason.to_owned());
            Notice::Changed(age)
        } else if now.saturating_duration_since(told.last) >= REMIND_EVERY {
            Notice::Lasts(age)
        } else {
            return None;
        };
        told.last = now;
        Some(notice)
    }

    /// It is over; how long it lasted, if there was any.
    pub(super) fn ended(&mut self, now: Instant) -> Option<Duration> {
        self.0.take().map(|told| now.saturating_duration_since(told.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_is_told_of_at_its_beginning_each_minute_and_at_its_end() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let told: Vec<_> = (0..150).filter_map(|s| trouble.failed("refused", start + seconds(s))).collect();
        assert_eq!(told, [Notice::Began, Notice::Lasts(seconds(60)), Notice::Lasts(seconds(120))]);
        assert_eq!(trouble.ended(start + seconds(150)), Some(seconds(150)));
        assert_eq!(trouble.ended(start + seconds(151)), None);
        assert_eq!(trouble.failed("refused", start + seconds(152)), Some(Notice::Began), "it is another one");
    }

    #[test]
    fn each_new_reason_is_told_of_once_however_they_alternate() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let reasons = ["closed", "refused", "unknown name"];
        let told: Vec<_> =
            (0..59).filter_map(|s| trouble.failed(reasons[s % 3], start + seconds(s as u64))).collect();
        assert_eq!(told, [Notice::Began, Notice::Changed(seconds(1)), Notice::Changed(seconds(2))]);
        assert_eq!(trouble.failed("closed", start + seconds(61)), None, "the last line is not a minute old");
        assert_eq!(trouble.failed("closed", start + seconds(62)), Some(Notice::Lasts(seconds(62))));
    }

    #[test]
    fn reasons_without_end_do_not_fill_the_log() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let told = (0..600).filter_map(|s| trouble.failed(&format!("port {s}"), start + seconds(s))).count();
        assert_eq!(told, MAX_REASONS + 9);
    }
}
