//! When to try again, and when to give up.

use std::time::Duration;

use super::ClientLimits;
use super::error::{AttemptError, ClientError};
use super::http::Failure;

/// How many bytes an attempt has to move to count as progress: a store that cuts after a few bytes each time gets no
/// endless number of attempts.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The attempts of one operation.
pub(super) struct Retry<'a> {
    limits: ClientLimits,
    method: &'static str,
    url: &'a str,
    /// Failures in a row without progress.
    failures: u32,
}

impl<'a> Retry<'a> {
    pub(super) fn new(limits: ClientLimits, method: &'static str, url: &'a str) -> Retry<'a> {
        Retry { limits, method, url, failures: 0 }
    }

    /// After an attempt failed that moved `progress` bytes: waits, and returns when to try again.
    ///
    /// # Errors
    /// A final failure as it is, or [`ClientError::Unreachable`] when the attempts are used up.
    pub(super) async fn after(&mut self, failure: Failure, progress: u64) -> Result<(), ClientError> {
        let source = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing(source) => source,
        };
        if progress >= PROGRESS_BYTES {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures >= self.limits.attempts_max {
            return Err(self.give_up(source));
        }
        tracing::debug!(url = self.url, failures = self.failures, error = %source, "trying again");
        tokio::time::sleep(backoff(&self.limits, self.failures)).await;
        Ok(())
    }

    fn give_up(&self, source: AttemptError) -> ClientError {
        ClientError::Unreachable { method: self.method, url: self.url.to_owned(), attempts: self.failures, source }
    }
}

/// The wait after the `failures`-th failure in a row.
fn backoff(limits: &ClientLimits, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    limits.backoff_first.saturating_mul(factor).min(limits.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let limits = ClientLimits::default();
        let millis = |failures| backoff(&limits, failures).as_millis();
        assert_eq!([1, 2, 3, 6, 7, 40, u32::MAX].map(millis), [100, 200, 400, 3200, 5000, 5000, 5000]);
    }
}
