//! Time as an argument.

use std::time::Duration;

/// The moment an input happened. `monotonic` never goes back from one call to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the process started; all timers count in it.
    pub monotonic: Duration,
    /// Seconds since the Unix epoch; only for what other machines stamped (`exp` and `iat` of a token).
    pub unix_seconds: u64,
}

impl Now {
    /// The monotonic time of a moment of the calendar; now, if it has passed.
    #[must_use]
    pub fn at(&self, unix_seconds: u64) -> Duration {
        self.monotonic.saturating_add(Duration::from_secs(unix_seconds.saturating_sub(self.unix_seconds)))
    }
}
