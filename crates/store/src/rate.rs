//! A floor for the speed of a transfer, so that a peer that drips bytes does not hold a place for ever.

use std::time::{Duration, Instant};

/// The least average speed that a transfer must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumRate {
    /// The least average, in bytes a second.
    pub bytes_per_second: u64,
    /// How long a transfer may take whatever its speed.
    pub grace: Duration,
}

impl Default for MinimumRate {
    /// 4 KiB a second after half a minute.
    fn default() -> Self {
        MinimumRate { bytes_per_second: 4 << 10, grace: Duration::from_secs(30) }
    }
}

impl MinimumRate {
    /// Whether a transfer that moved `bytes` in `elapsed` is slower than it may be.
    pub(crate) fn is_below(&self, bytes: u64, elapsed: Duration) -> bool {
        elapsed.checked_sub(self.grace).is_some_and(|past| {
            u128::from(bytes) < past.as_millis().saturating_mul(self.bytes_per_second.into()) / 1000
        })
    }

    /// Starts to watch a transfer.
    pub(crate) fn start(self) -> RateWatch {
        RateWatch { rate: self, started: Instant::now(), bytes: 0 }
    }
}

/// A transfer under watch.
#[derive(Debug)]
pub(crate) struct RateWatch {
    rate: MinimumRate,
    started: Instant,
    bytes: u64,
}

impl RateWatch {
    /// Counts `bytes` more and returns whether the transfer is too slow.
    pub(crate) fn is_too_slow_after(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        self.rate.is_below(self.bytes, self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_past_the_grace_and_below_the_rate() {
        let rate = MinimumRate { bytes_per_second: 1000, grace: Duration::from_secs(10) };
        for (bytes, seconds, too_slow) in
            [(0, 0, false), (0, 10, false), (0, 11, true), (999, 11, true), (1000, 11, false), (0, 9999, true)]
        {
            assert_eq!(rate.is_below(bytes, Duration::from_secs(seconds)), too_slow, "{bytes} {seconds}");
        }
    }
}
