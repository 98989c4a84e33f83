//! How much of a shard's time one client may have its tokens verified for: a signature costs up to a millisecond, and to write one that
//! is wrong costs nothing.

use std::time::Duration;

/// In which a client earns one good token.
const INTERVAL: Duration = Duration::from_micros(62_500);
/// Good tokens that a wrong one counts as.
const WRONG: u32 = 16;

/// What one client has used up (generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// When what it used is earned, as monotonic time.
    paid_until: Duration,
}

impl Meter {
    /// Whether a token is verified now, when `burst` good ones may come at once.
    #[must_use]
    pub fn has_credit(self, burst: u32, now: Duration) -> bool {
        self.paid_until < now + INTERVAL * burst
    }

    /// A token was verified.
    pub fn charge(&mut self, is_genuine: bool, now: Duration) {
        self.paid_until = self.paid_until.max(now) + INTERVAL * if is_genuine { 1 } else { WRONG };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u32 = 128;

    /// Tokens verified at once after so many seconds.
    fn verified(meter: &mut Meter, is_good: bool, seconds: u64) -> u32 {
        let now = Duration::from_secs(seconds);
        let mut count = 0;
        while count < 10_000 && meter.has_credit(BURST, now) {
            meter.charge(is_good, now);
            count += 1;
        }
        count
    }

    #[test]
    fn as_many_good_tokens_as_subscriptions_are_verified_at_once_and_few_wrong_ones() {
        assert_eq!(verified(&mut Meter::default(), true, 0), BURST);
        assert_eq!(verified(&mut Meter::default(), false, 0), BURST / WRONG);
    }

    #[test]
    fn credit_comes_back_with_time_and_never_beyond_the_burst() {
        let mut meter = Meter::default();
        verified(&mut meter, false, 100);
        assert!(matches!(verified(&mut meter, false, 102), 2 | 3));
        assert_eq!(verified(&mut meter, true, 10_000), BURST);
    }
}
