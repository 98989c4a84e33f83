//! The one place that reads the clock for the core.

use std::time::{Duration, Instant, SystemTime};

use gateway_core::time::Now;

/// Counts from the start of the gateway. Copies share their start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The present moment, for the core.
    #[must_use]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.elapsed(), unix_seconds: unix.as_secs() }
    }

    /// The runtime's name for a moment of this clock.
    #[must_use]
    pub fn instant(&self, monotonic: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + monotonic)
    }
}
