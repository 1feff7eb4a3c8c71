//! Remember how long an item of each app runs, by what its accepted results took.
//!
//! Requesters pack items into tasks by it. A worker says how long its runs took, and for how many items. Its word counts only with a result
//! that the ledger accepted, of a worker whose own contribution of that result was seen there, and no run is longer than its lease. Each
//! result counts the same, whatever it says of its items, and of an app's last results the quickest and the slowest quarter are left out:
//! while no more than a quarter of them lie, the mean stays within what the honest ones say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// Apps that are remembered: past it the one that was used longest ago goes.
pub const APPS_MAX: usize = 1_000;
/// Results of an app that count, the last ones: so the mean follows what changes.
const RESULTS_RECENT: usize = 64;

/// What the results of an app took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunTime {
    /// The time of an item by each of the last results, in nanoseconds, the latest last.
    recent_ns: VecDeque<u64>,
    /// When it was used last, on a clock that counts uses.
    used: u64,
}

impl RunTime {
    fn add(&mut self, items: u64, run_us: u64) {
        self.recent_ns.push_back((run_us.saturating_mul(1_000) / items.max(1)).max(1));
        while self.recent_ns.len() > RESULTS_RECENT {
            self.recent_ns.pop_front();
        }
    }

    /// The mean of the middle half, of one or two results of them all, in milliseconds; `None` of none.
    fn item_ms(&self) -> Option<f64> {
        let mut sorted: Vec<u64> = self.recent_ns.iter().copied().collect();
        sorted.sort_unstable();
        let left_out = sorted.len().div_ceil(4).min(sorted.len().saturating_sub(1) / 2);
        let middle = sorted.get(left_out..sorted.len() - left_out).filter(|middle| !middle.is_empty())?;
        Some(middle.iter().map(|ns| *ns as f64 / 1e6).sum::<f64>() / middle.len() as f64)
    }
}

/// The run times of all apps that the pool knows.
#[derive(Clone, Debug, Default)]
pub struct ItemTimes {
    by_app: BTreeMap<Address, RunTime>,
    /// INVARIANT: holds each app once, by when it was used.
    by_use: BTreeMap<u64, Address>,
    uses: u64,
    changed: BTreeSet<Address>,
}

/// What is to be written down: `None` for what was forgotten.
pub type Changes = BTreeMap<Address, Option<RunTime>>;

impl ItemTimes {
    /// As they were written down.
    pub fn recall(known: impl IntoIterator<Item = (Address, RunTime)>) -> Self {
        let mut times = Self::default();
        let mut known: Vec<(Address, RunTime)> = known.into_iter().collect();
        known.sort_by_key(|(app, time)| (time.used, *app));
        // The clock goes on from the largest: what was not used since keeps its number on the disk, and stays the oldest.
        times.uses = known.last().map_or(0, |(_, time)| time.used);
        for (app, time) in known {
            // Two apps share a number only in a damaged file: then one of them counts as used now.
            let is_taken = times.by_use.contains_key(&time.used);
            if !is_taken {
                times.by_use.insert(time.used, app);
            }
            times.by_app.insert(app, time);
            if is_taken {
                times.touch(app);
            }
        }
        times
    }

    /// A result of an app was accepted, whose items, one or more, took so long together.
    pub fn add(&mut self, app: Address, items: u64, run_us: u64) {
        if items == 0 || run_us == 0 {
            return;
        }
        self.by_app.entry(app).or_default().add(items, run_us);
        self.changed.insert(app);
        self.touch(app);
        while self.by_app.len() > APPS_MAX {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.by_app.remove(&oldest);
            self.changed.insert(oldest);
        }
    }

    /// The mean time of an item of an app, in milliseconds, if it is known. It is in use then, until a restart.
    pub fn item_ms(&mut self, app: Address) -> Option<f64> {
        let mean = self.by_app.get(&app)?.item_ms()?;
        self.touch(app);
        Some(mean)
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|app| (app, self.by_app.get(&app).cloned())).collect()
    }

    fn touch(&mut self, app: Address) {
        let Some(time) = self.by_app.get_mut(&app) else { return };
        if self.by_use.get(&time.used) == Some(&app) {
            self.by_use.remove(&time.used);
        }
        self.uses = self.uses.saturating_add(1);
        time.used = self.uses;
        self.by_use.insert(self.uses, app);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(number: u64) -> Address {
        Address::left_padding_from(&number.to_be_bytes())
    }

    #[test]
    fn the_mean_is_of_the_middle_results_and_follows_what_changes() {
        let mut times = ItemTimes::default();
        assert_eq!(times.item_ms(app(1)), None);
        times.add(app(1), 10, 20_000);
        times.add(app(1), 30, 120_000);
        assert_eq!((times.item_ms(app(1)), times.item_ms(app(2))), (Some(3.0), None), "each result counts the same");
        times.add(app(1), 0, 5);
        times.add(app(1), 5, 0);
        assert_eq!(times.item_ms(app(1)), Some(3.0), "what says nothing does not count");
        for _ in 0..RESULTS_RECENT {
            times.add(app(1), 10, 500_000);
        }
        assert_eq!(times.item_ms(app(1)), Some(50.0));
        times.add(app(1), u64::MAX, u64::MAX);
        assert!(times.item_ms(app(1)).unwrap().is_finite());
        assert_eq!(times.by_app[&app(1)].recent_ns.len(), RESULTS_RECENT);
    }

    #[test]
    fn whoever_lies_moves_the_mean_by_little() {
        for (items, run_us) in [(1_000_000, 1), (1_000_000, 30_000_000), (1, 36_000_000_000), (u64::MAX, u64::MAX)] {
            let mut times = ItemTimes::default();
            // Honest results say 9 to 11 ms.
            for result in 0..3 {
                times.add(app(1), 100, 900_000 + result * 100_000);
            }
            times.add(app(1), items, run_us);
            let mean = times.item_ms(app(1)).unwrap();
            assert!((9.0..=11.0).contains(&mean), "{items} items in {run_us} us: {mean}");
            // A quarter of the results.
            for result in 0..RESULTS_RECENT as u64 {
                match result % 4 {
                    0 => times.add(app(1), items, run_us),
                    part => times.add(app(1), 100, 800_000 + part * 100_000),
                }
            }
            let mean = times.item_ms(app(1)).unwrap();
            assert!((9.0..=11.0).contains(&mean), "{items} items in {run_us} us: {mean}");
        }
    }

    #[test]
    fn the_app_that_was_used_longest_ago_goes() {
        let mut times = ItemTimes::default();
        for number in 0..APPS_MAX as u64 {
            times.add(app(number), 1, 1_000);
        }
        assert_eq!(times.take_changes().len(), APPS_MAX);
        assert!(times.item_ms(app(0)).is_some());
        times.add(app(5_000), 1, 1_000);
        let changes = times.take_changes();
        assert_eq!(changes.keys().copied().collect::<Vec<_>>(), [app(1), app(5_000)]);
        assert_eq!((&changes[&app(1)], times.by_app.len(), times.by_use.len()), (&None, APPS_MAX, APPS_MAX));
        // After a restart it goes on in the same order.
        let mut again = ItemTimes::recall(times.by_app.clone());
        again.add(app(6_000), 1, 1_000);
        assert_eq!(again.item_ms(app(2)), None);
        assert!(again.item_ms(app(0)).is_some() && again.item_ms(app(3)).is_some());
    }

    /// What a process writes down are its changes alone: the rest stays on the disk as an earlier one wrote it.
    #[test]
    fn what_was_used_lately_stays_so_over_restarts() {
        let mut disk: BTreeMap<Address, RunTime> = BTreeMap::new();
        let mut write = |times: &mut ItemTimes| {
            for (app, time) in times.take_changes() {
                match time {
                    Some(time) => drop(disk.insert(app, time)),
                    None => drop(disk.remove(&app)),
                }
            }
            disk.clone()
        };
        let mut times = ItemTimes::default();
        (0..APPS_MAX as u64).for_each(|number| times.add(app(number), 1, 1_000));
        let mut times = ItemTimes::recall(write(&mut times));
        times.add(app(0), 1, 1_000);
        times.add(app(1), 1, 1_000);
        let mut times = ItemTimes::recall(write(&mut times));
        times.add(app(5_000), 1, 1_000);
        let mut times = ItemTimes::recall(write(&mut times));
        times.add(app(6_000), 1, 1_000);
        let known = |number| times.by_app.contains_key(&app(number));
        assert!(known(0) && known(1) && known(5_000) && known(4), "they were used last");
        assert!(!known(2) && !known(3), "the oldest went");
        // A damaged file.
        let twice: Vec<_> = (0..3).map(|number| (app(number), RunTime { used: 7, ..RunTime::default() })).collect();
        let times = ItemTimes::recall(twice);
        assert_eq!((times.by_app.len(), times.by_use.len()), (3, 3));
    }
}
