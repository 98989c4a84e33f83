//! When something happened, so that a rate can be told for any window, not just for seconds of the clock.

use std::{collections::VecDeque, time::Duration};

/// Moments kept; the oldest go first.
const MAX_MOMENTS: usize = 1 << 20;

/// Moments in order, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Moments(VecDeque<u64>);

impl Moments {
    /// It happened now.
    pub fn record(&mut self, now: Duration) {
        if self.0.len() == MAX_MOMENTS {
            self.0.pop_front();
        }
        let millis = millis(now).max(self.0.back().copied().unwrap_or(0));
        self.0.push_back(millis);
    }

    /// The most that happened within any window of that length.
    #[must_use]
    pub fn peak(&self, window: Duration) -> u64 {
        let window = millis(window);
        let (mut start, mut peak) = (0, 0);
        for (end, moment) in self.0.iter().enumerate() {
            while self.0[start] + window <= *moment {
                start += 1;
            }
            peak = peak.max(end + 1 - start);
        }
        peak as u64
    }

    /// How many happened in each second since `start`.
    #[must_use]
    pub fn per_second(&self, start: Duration) -> Vec<u64> {
        let mut seconds = Vec::new();
        for moment in &self.0 {
            let second = usize::try_from(moment.saturating_sub(millis(start)) / 1000).unwrap_or(usize::MAX);
            if seconds.len() <= second {
                seconds.resize(second + 1, 0);
            }
            seconds[second] += 1;
        }
        seconds
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(millis: impl IntoIterator<Item = u64>) -> Moments {
        let mut moments = Moments::default();
        millis.into_iter().for_each(|m| moments.record(Duration::from_millis(m)));
        moments
    }

    #[test]
    fn the_peak_is_found_across_the_edge_of_a_second() {
        let moments = moments([0, 900, 950, 1050, 1100, 2500]);
        assert_eq!(moments.peak(Duration::from_secs(1)), 4);
        assert_eq!(moments.per_second(Duration::ZERO), [3, 2, 1]);
    }

    #[test]
    fn an_even_pace_never_exceeds_its_rate() {
        assert_eq!(moments((0..2000).map(|n| n * 5)).peak(Duration::from_secs(1)), 200);
    }

    #[test]
    fn nothing_has_no_peak() {
        assert_eq!(moments([]).peak(Duration::from_secs(1)), 0);
    }
}
