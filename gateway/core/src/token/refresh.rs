//! When a key set is fetched again.

use std::time::Duration;

/// From one success to the next fetch.
const REGULAR: Duration = Duration::from_secs(300);
/// Between fetches for tokens that name keys which are not known, however many do: anybody can make up such a name.
const GAP: Duration = Duration::from_secs(10);
/// From the first failure to the next fetch; doubled by each failure after it.
const RETRY: Duration = Duration::from_secs(1);
/// The longest of these.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The next fetch. Times are monotonic.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    due: Duration,
    /// The next fetch is for a token.
    is_wanted: bool,
    /// The earliest fetch for another token.
    wanted_from: Duration,
    failures: u32,
}

impl Refresh {
    /// Due at once.
    #[must_use]
    pub fn begin(now: Duration) -> Self {
        Self { due: now, is_wanted: false, wanted_from: now, failures: 0 }
    }

    /// When the next fetch is due.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A token names a key that is not known. Where the set is away that changes nothing: it is asked for often enough.
    pub fn want(&mut self, now: Duration) {
        let from = self.wanted_from.max(now);
        if self.failures == 0 && from < self.due {
            (self.due, self.is_wanted) = (from, true);
        }
    }

    /// A fetch succeeded. `spread`, from 0 to 1, keeps gateways that were started together from fetching together.
    pub fn succeeded(&mut self, now: Duration, spread: f64) {
        self.done(now);
        (self.due, self.failures) = (now + spread_out(REGULAR, spread), 0);
    }

    /// A fetch failed.
    pub fn failed(&mut self, now: Duration, spread: f64) {
        self.done(now);
        let wait = LAST_RETRY.min(RETRY * 2_u32.saturating_pow(self.failures.min(10)));
        (self.due, self.failures) = (now + spread_out(wait, spread), self.failures + 1);
    }

    fn done(&mut self, now: Duration) {
        if std::mem::take(&mut self.is_wanted) {
            self.wanted_from = now + GAP;
        }
    }
}

/// A wait that is shorter by up to a fifth.
fn spread_out(wait: Duration, spread: f64) -> Duration {
    wait.mul_f64(1.0 - 0.2 * spread.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn seconds(refresh: Refresh) -> u64 {
        refresh.due().saturating_sub(NOW).as_secs()
    }

    #[test]
    fn keys_are_fetched_at_once_then_regularly_and_gateways_spread_out() {
        let mut refresh = Refresh::begin(NOW);
        assert_eq!(seconds(refresh), 0);
        refresh.succeeded(NOW, 0.0);
        assert_eq!(seconds(refresh), 300);
        refresh.succeeded(NOW, 1.0);
        assert_eq!(seconds(refresh), 240);
    }

    #[test]
    fn a_key_that_is_not_known_is_asked_for_at_once_but_never_twice_within_ten_seconds() {
        let mut refresh = Refresh::begin(NOW);
        refresh.succeeded(NOW, 0.0);
        let mut fetches = Vec::new();
        for tenth in 1..=400 {
            let now = NOW + Duration::from_millis(100 * tenth);
            refresh.want(now);
            if refresh.due() <= now {
                fetches.push(tenth);
                refresh.succeeded(now, 0.0);
            }
        }
        assert_eq!(fetches, [1, 101, 201, 301]);
    }

    #[test]
    fn a_token_that_names_a_key_which_is_not_known_puts_no_fetch_off() {
        let mut refresh = Refresh::begin(NOW);
        refresh.want(NOW);
        assert_eq!(seconds(refresh), 0);
        refresh.succeeded(NOW, 0.0);
        refresh.want(NOW);
        refresh.succeeded(NOW, 0.0);
        let later = NOW + Duration::from_secs(295);
        refresh.want(later);
        assert_eq!(refresh.due(), later);
    }

    #[test]
    fn a_set_that_is_away_is_asked_for_more_and_more_seldom_whatever_tokens_name() {
        let mut refresh = Refresh::begin(NOW);
        let waits: Vec<u64> = (0..8)
            .map(|_| {
                refresh.failed(NOW, 0.0);
                refresh.want(NOW);
                seconds(refresh)
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        refresh.succeeded(NOW, 0.0);
        refresh.failed(NOW, 0.0);
        assert_eq!(seconds(refresh), 1, "a success forgets what failed before it");
    }
}
