//! Waiting on conditions, with a deadline that says what the state was.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);

/// Looks until `check` has a result, and gives it; panics with what it said last when that takes longer than `limit`.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(state) if started.elapsed() >= limit => {
                panic!("waited {} s until {what}; at last: {state}", limit.as_secs())
            }
            Err(_) => sleep(PERIOD).await,
        }
    }
}
