//! A floor for the speed of a transfer, so that a peer that drips bytes does not hold a place for ever, and a ceiling for that of all
//! transfers together, so that they leave something of the link for others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The lowest ceiling, in bytes a second: well above the floor, or each of a few transfers at a time would be given up as too slow.
pub const CEILING_BYTES_MIN: u64 = 64 << 10;

/// How quick all transfers together may be, each way. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Bandwidth {
    /// From the stores.
    down: Option<Arc<Ceiling>>,
    /// To the stores.
    up: Option<Arc<Ceiling>>,
}

impl Bandwidth {
    /// So many bytes a second each way, [`CEILING_BYTES_MIN`] at least; any number without a ceiling.
    pub fn new(down: Option<u64>, up: Option<u64>) -> Self {
        let ceiling = |bytes: Option<u64>| bytes.map(|bytes| Arc::new(Ceiling::new(bytes)));
        Self { down: ceiling(down), up: ceiling(up) }
    }

    /// How long to wait after so many bytes have come.
    pub fn pause_down(&self, bytes: u64) -> Duration {
        self.down.as_ref().map_or(Duration::ZERO, |ceiling| ceiling.pause(bytes, Instant::now()))
    }

    /// How long to wait before so many bytes go.
    pub fn pause_up(&self, bytes: u64) -> Duration {
        self.up.as_ref().map_or(Duration::ZERO, |ceiling| ceiling.pause(bytes, Instant::now()))
    }
}

#[derive(Debug)]
struct Ceiling {
    bytes_per_second: u64,
    /// When the link is free again: what was let through until now fills it up to then.
    free_at: Mutex<Option<Instant>>,
}

impl Ceiling {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(CEILING_BYTES_MIN), free_at: Mutex::new(None) }
    }

    fn pause(&self, bytes: u64, now: Instant) -> Duration {
        // INVARIANT: nothing under this lock panics.
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free_at.map_or(now, |at| at.max(now));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let end = begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2));
        *free_at = Some(end);
        end - now
    }
}

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
    fn all_transfers_together_stay_below_the_ceiling() {
        let ceiling = Ceiling::new(1 << 20);
        let now = Instant::now();
        assert_eq!(ceiling.pause(512 << 10, now), Duration::from_millis(500));
        assert_eq!(ceiling.pause(512 << 10, now), Duration::from_secs(1), "the second waits for the first");
        let later = now + Duration::from_secs(9);
        assert_eq!(ceiling.pause(1 << 20, later), Duration::from_secs(1), "what was not used is not saved up");
        assert_eq!(Ceiling::new(1).pause(CEILING_BYTES_MIN, now), Duration::from_secs(1));
        let free = Bandwidth::default();
        assert_eq!((free.pause_down(1 << 40), free.pause_up(1 << 40)), (Duration::ZERO, Duration::ZERO));
    }

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
