//! One call to the API server: bounded in time, and its error says what could not be done.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::Error;
use crate::lease;

/// A call that takes longer failed. Less than the time between the end of our lead and the start of another's, so that no
/// write of ours can follow one of theirs.
const LIMIT: Duration = Duration::from_secs(4);
const _: () = assert!(LIMIT.as_secs() < lease::DURATION.as_secs() - lease::RENEW_DEADLINE.as_secs());

/// Awaits a call to the API server.
///
/// # Errors
/// When the API server refuses, or does not answer in time.
pub async fn call<T>(
    doing: impl Fn() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match timeout(LIMIT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Kube { doing: doing(), source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { doing: doing(), limit: LIMIT }),
    }
}
