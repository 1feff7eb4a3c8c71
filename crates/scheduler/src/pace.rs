//! How fast the workers of a deal are, told so that a minority of them cannot change it.
//!
//! What is assumed of saboteurs is their share of the *workers*. Who does not compute at all is free again at once, and would get a
//! share of the *replicas* that is as large as it likes: the answers that count would then be mostly its own. So a slot of a worker
//! that is not believed yet is not free before a run of the deal usually ends.
//!
//! A worker's first run of a deal is mostly other things (the app is fetched and compiled), so it counts only until there is another
//! one: a deal whose tasks take milliseconds would wait for all of it each time. Of each worker one run counts, its last, however many
//! it makes.

use std::collections::BTreeMap;

use crate::id::WorkerId;

/// Workers of a deal whose runs are looked at: its first.
const WORKERS_MAX: usize = 64;

/// The last run of each of a deal's first workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// How long it took; `None` while the first one runs.
    runs: BTreeMap<WorkerId, Option<u64>>,
    median_ms: Option<u64>,
}

impl Pace {
    /// A run begins.
    pub fn begin(&mut self, worker: WorkerId) {
        if self.runs.len() < WORKERS_MAX {
            self.runs.entry(worker).or_insert(None);
        }
    }

    /// A run ended, with an answer after so long or without one. True if more is known now.
    pub fn end(&mut self, worker: WorkerId, run_ms: Option<u64>) -> bool {
        match (self.runs.get_mut(&worker), run_ms) {
            (Some(run), Some(_)) => *run = run_ms,
            (Some(None), None) => _ = self.runs.remove(&worker),
            _ => return false,
        }
        let before = self.median_ms;
        self.median_ms = self.median();
        self.median_ms != before
    }

    /// The median over the workers, those counted as slowest that are at work still. `None` as long as it is one of them.
    pub fn median_ms(&self) -> Option<u64> {
        self.median_ms
    }

    fn median(&self) -> Option<u64> {
        let mut ended = self.runs.values().flatten().copied().collect::<Vec<_>>();
        ended.sort_unstable();
        ended.get(self.runs.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::*;

    fn worker(number: u8) -> WorkerId {
        WorkerId(Address::with_last_byte(number))
    }

    #[test]
    fn a_minority_that_answers_at_once_is_not_the_pace() {
        let mut pace = Pace::default();
        (0..5).for_each(|number| pace.begin(worker(number)));
        for number in 0..2 {
            assert!(!pace.end(worker(number), Some(0)));
            assert!(!pace.end(worker(number), Some(0)), "one run of each counts");
            assert!(!pace.end(worker(number), None), "it gave up another");
        }
        assert_eq!(pace.median_ms(), None, "three are at work still");
        assert!(pace.end(worker(2), Some(200)));
        assert_eq!(pace.median_ms(), Some(200));
        assert!(!pace.end(worker(3), Some(300)));
        assert!(!pace.end(worker(4), None), "it gave up: of four the third is the upper median");
        assert_eq!(pace.median_ms(), Some(200));
    }

    #[test]
    fn a_slow_first_run_is_forgotten_after_the_second() {
        let mut pace = Pace::default();
        for number in 0..3 {
            pace.begin(worker(number));
            pace.end(worker(number), Some(500));
        }
        assert_eq!(pace.median_ms(), Some(500));
        assert!(!pace.end(worker(0), Some(7)), "one of three");
        assert!(pace.end(worker(1), Some(9)));
        assert_eq!(pace.median_ms(), Some(9));
        assert!(pace.end(worker(0), Some(600)), "and so would a quick one be");
        assert_eq!(pace.median_ms(), Some(500));
    }

    #[test]
    fn the_first_workers_are_enough() {
        let mut pace = Pace::default();
        (0..200).for_each(|number| pace.begin(worker(number)));
        assert_eq!(pace.runs.len(), WORKERS_MAX);
        assert!(!pace.end(worker(199), Some(1)));
    }
}
