//! Durations in buckets whose width grows with their value: at most 3 % off.

use std::time::Duration;

use crate::stats::Summary;

/// Buckets per power of two.
const STEPS: usize = 32;

/// Counts of microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(6);
    shift as usize * STEPS + (value >> shift) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    (((bucket - shift * STEPS) as u64 + 1) << shift) - 1
}

impl Histogram {
    /// Counts one duration; beyond an hour it counts as an hour.
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(3_600_000_000);
        let bucket = bucket(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// What is worth telling about it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.total,
            p50_micros: self.quantile(1, 2),
            p99_micros: self.quantile(99, 100),
            p999_micros: self.quantile(999, 1000),
            max_micros: self.max,
        }
    }

    /// Upper bound of the bucket that holds the given fraction of all values.
    fn quantile(&self, numerator: u64, denominator: u64) -> u64 {
        let rank = (self.total * numerator).div_ceil(denominator);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, upper_bound).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_falls_into_a_bucket_that_ends_at_most_3_percent_above_it() {
        for value in (0..2_000).chain([4_095, 4_096, 65_537, 1_000_000, 3_599_999_999]) {
            let upper = upper_bound(bucket(value));
            assert!(upper >= value && upper - value <= value / 32, "{value} is counted as {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let Summary { count, p50_micros, p99_micros, p999_micros, max_micros } = histogram.summary();
        assert_eq!((count, max_micros), (1000, 1_000_000));
        for (quantile, exact) in [(p50_micros, 500_000), (p99_micros, 990_000), (p999_micros, 999_000)] {
            assert!((exact..=exact + exact / 32).contains(&quantile), "{quantile} for {exact}");
        }
    }

    #[test]
    fn nothing_counted_is_all_zero() {
        assert_eq!(Histogram::default().summary(), Summary::default());
    }
}
