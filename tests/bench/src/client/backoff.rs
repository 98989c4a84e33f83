//! How long clients wait before they try again, as centrifuge-js does: full jitter above a floor of 500 ms, at most 20 s.

use std::time::Duration;

const MIN: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(20);

/// The delay before the next try, after `attempts` that failed since the last success. `random` is from 0 to 1.
#[must_use]
pub fn delay(attempts: u32, random: f64) -> Duration {
    let jitter = MIN.saturating_mul(1 << attempts.min(16)).min(MAX);
    (MIN + jitter.mul_f64(random.clamp(0.0, 1.0))).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_try_waits_half_a_second_to_a_second() {
        assert_eq!(delay(0, 0.0), Duration::from_millis(500));
        assert_eq!(delay(0, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn the_spread_doubles_with_each_failure_up_to_20_seconds() {
        let longest: Vec<u64> = (0..8).map(|n| delay(n, 1.0).as_millis() as u64).collect();
        assert_eq!(longest, [1_000, 1_500, 2_500, 4_500, 8_500, 16_500, 20_000, 20_000]);
        assert_eq!(delay(u32::MAX, 1.0), Duration::from_secs(20));
        assert_eq!(delay(u32::MAX, 0.0), Duration::from_millis(500));
    }
}
