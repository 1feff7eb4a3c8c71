//! Remember how long an item of each app runs, by what its accepted results took.
//!
//! Requesters pack items into tasks by it. A worker says how long its runs took; only what it says with a result that the ledger accepted
//! counts, so whoever lies about it has at least done the work.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// Apps that are remembered: past it the one that was used longest ago goes.
pub const APPS_MAX: usize = 1_000;
/// Results of an app that count in full; each further one makes the earlier ones count less, so that the mean follows what changes.
const RESULTS_RECENT: u64 = 1_000;

/// What the results of an app took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTime {
    results: u64,
    items: u64,
    run_us: u64,
    /// When it was used last, on a clock that counts uses.
    used: u64,
}

impl RunTime {
    fn add(&mut self, items: u64, run_us: u64) {
        if self.results >= RESULTS_RECENT {
            // INVARIANT: that many results have at least as many items.
            (self.results, self.items, self.run_us) = (self.results / 2, self.items / 2, self.run_us / 2);
        }
        self.results += 1;
        self.items = self.items.saturating_add(items);
        self.run_us = self.run_us.saturating_add(run_us);
    }

    /// The mean, in milliseconds.
    fn item_ms(&self) -> f64 {
        self.run_us as f64 / 1e3 / self.items.max(1) as f64
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
        for (app, time) in known {
            times.by_app.insert(app, time);
            times.touch(app);
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

    /// The mean time of an item of an app, in milliseconds, if it is known. It is in use then.
    pub fn item_ms(&mut self, app: Address) -> Option<f64> {
        let mean = self.by_app.get(&app)?.item_ms();
        self.touch(app);
        Some(mean)
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|app| (app, self.by_app.get(&app).copied())).collect()
    }

    fn touch(&mut self, app: Address) {
        let Some(time) = self.by_app.get_mut(&app) else { return };
        if self.by_use.get(&time.used) == Some(&app) {
            self.by_use.remove(&time.used);
        }
        self.uses += 1;
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
    fn the_mean_is_by_item_and_follows_what_changes() {
        let mut times = ItemTimes::default();
        assert_eq!(times.item_ms(app(1)), None);
        times.add(app(1), 10, 20_000);
        times.add(app(1), 30, 100_000);
        assert_eq!((times.item_ms(app(1)), times.item_ms(app(2))), (Some(3.0), None));
        times.add(app(1), 0, 5);
        times.add(app(1), 5, 0);
        assert_eq!(times.item_ms(app(1)), Some(3.0), "what says nothing does not count");
        for _ in 0..20 * RESULTS_RECENT {
            times.add(app(1), 10, 500_000);
        }
        assert!((times.item_ms(app(1)).unwrap() - 50.0).abs() < 0.1, "{:?}", times.item_ms(app(1)));
        times.add(app(1), u64::MAX, u64::MAX);
        assert!(times.item_ms(app(1)).unwrap().is_finite());
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
        assert_eq!((changes[&app(1)], times.by_app.len(), times.by_use.len()), (None, APPS_MAX, APPS_MAX));
        // After a restart it goes on in the same order.
        let mut again = ItemTimes::recall(times.by_app.clone());
        again.add(app(6_000), 1, 1_000);
        assert_eq!(again.item_ms(app(2)), None);
        assert!(again.item_ms(app(0)).is_some() && again.item_ms(app(3)).is_some());
    }
}
