//! Say how many items make a task, by what a pool has measured of the app.
//!
//! Few items a task cost settlements, many leave workers idle at the end and may not fit into the size class. The rule, for `n` items
//! of `i` ms each, a settlement of `s` ms, and replicas and slots as the pool sees them, is a task of
//!
//! - as many items as keep `s` at [`SETTLEMENT_PERCENT_MAX`] percent of the task's run time,
//! - but no more than leave each slot [`RUNS_A_SLOT`] runs,
//! - no fewer than make [`TASKS_DEFAULT_MAX`] tasks,
//! - and never more than take a quarter ([`PART_OF_T`]) of the class's T.

use std::fmt;

use serde::Serialize;

use crate::items::TASKS_DEFAULT_MAX;

/// What a settlement may cost, in percent of the run time of the task that it settles.
pub const SETTLEMENT_PERCENT_MAX: u64 = 5;
/// Each slot of the machines that match is to get so many runs, so that none idles for long while the last ones end.
pub const RUNS_A_SLOT: u64 = 4;
/// A task is expected to take T, divided by this, at most: on a slow machine it still fits, and a lost one costs little.
pub const PART_OF_T: u64 = 4;

/// What a pool knows of an app and of its machines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// How long an item runs, in milliseconds; 0 if it is not known.
    pub item_ms: f64,
    /// Processor time of a settlement, in milliseconds.
    pub settlement_ms: f64,
    /// Slots of the machines that match; 0 if there are none now.
    pub slots: u64,
    /// Runs of a task.
    pub replicas: u64,
}

/// What decided on the number of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Settling is to be cheap.
    Settlement,
    /// All machines are to have work.
    Sharing,
    /// There are to be few tasks.
    TasksMax,
    /// A task is to fit into its size class.
    Category,
}

/// How items are packed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Packing {
    /// Items in all.
    pub items: u64,
    /// Tasks.
    pub tasks: u64,
    /// Items of the largest task.
    pub items_a_task: u64,
    /// How long an item runs, in milliseconds.
    pub item_ms: f64,
    /// Processor time of a settlement, in milliseconds.
    pub settlement_ms: f64,
    /// What decided.
    pub binding: Binding,
}

/// The packing of so many items for a size class of this T; `None` while nothing is known of the app.
pub fn by_run_time(items: u64, work_clock_s: u64, measured: &Measured) -> Option<Packing> {
    let Measured { item_ms, settlement_ms, slots, replicas } = *measured;
    if items == 0 || !item_ms.is_finite() || item_ms <= 0.0 || !settlement_ms.is_finite() {
        return None;
    }
    // A cast of what is too large, or below zero, is the nearest that fits.
    let cheap = (settlement_ms * 100.0 / SETTLEMENT_PERCENT_MAX as f64 / item_ms).ceil() as u64;
    let fitting = (work_clock_s as f64 * 1e3 / PART_OF_T as f64 / item_ms).floor() as u64;
    let tasks_shared = slots.saturating_mul(RUNS_A_SLOT).div_ceil(replicas.max(1)).max(1);
    let shared = (items / tasks_shared).max(1);
    let fewest = items.div_ceil(TASKS_DEFAULT_MAX);
    let (mut each, mut binding) = (cheap, Binding::Settlement);
    if shared < each {
        (each, binding) = (shared, Binding::Sharing);
    }
    if fewest > each {
        (each, binding) = (fewest, Binding::TasksMax);
    }
    if fitting < each {
        (each, binding) = (fitting, Binding::Category);
    }
    let tasks = items.div_ceil(each.clamp(1, items));
    Some(Packing { items, tasks, items_a_task: items.div_ceil(tasks), item_ms, settlement_ms, binding })
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let (items, tasks, each) = (self.items, self.tasks, self.items_a_task);
        write!(f, "{} item{} in {} task{}", grouped(items), plural(items), grouped(tasks), plural(tasks))?;
        write!(f, " of {}: an item takes {}", grouped(each), Milliseconds(self.item_ms))?;
        write!(f, ", a settlement {}", Milliseconds(self.settlement_ms))?;
        f.write_str(match self.binding {
            Binding::Settlement => "",
            Binding::Sharing => "; more items a task would leave workers idle",
            Binding::TasksMax => "; fewer would make too many tasks",
            Binding::Category => "; more would be long for the size class",
        })
    }
}

/// A number with commas between the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in the unit that fits it.
struct Milliseconds(f64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 10.0 => write!(f, "{ms:.1} ms"),
            ms if ms < 10_000.0 => write!(f, "{ms:.0} ms"),
            ms => write!(f, "{:.0} s", ms / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T_S: u64 = 300;

    /// Items, an item's time, a settlement's, slots, replicas: tasks, items of each, what decided.
    #[test]
    fn items_are_packed_so_that_settling_is_cheap_and_nobody_idles() {
        use Binding::{Category, Settlement, Sharing, TasksMax};
        let cases = [
            // 40 items of 12.5 ms are 500 ms, of which 25 ms are 5 %.
            ((10_000, 12.5, 25.0, 4, 1), (250, 40, Settlement)),
            ((10_000, 12.5, 25.0, 4, 3), (250, 40, Settlement)),
            // 4 runs a slot: 60 slots with 3 replicas want 80 tasks.
            ((1_000, 1.0, 25.0, 60, 3), (84, 12, Sharing)),
            ((1_000, 1.0, 25.0, 60, 1), (250, 4, Sharing)),
            ((400, 2.0, 30.0, 1, 1), (4, 100, Sharing)),
            // Nobody is there to share it.
            ((400, 2.0, 30.0, 0, 1), (2, 200, Settlement)),
            // Long items are tasks of their own, up to so many.
            ((30, 2_000.0, 25.0, 4, 1), (30, 1, Settlement)),
            ((9_000, 600.0, 25.0, 4, 1), (1_000, 9, TasksMax)),
            // A quarter of 300 s is 75 s.
            ((9_000, 25_000.0, 25.0, 4, 1), (3_000, 3, Category)),
            ((9, 80_000.0, 25.0, 1, 1), (9, 1, Category)),
            ((100_000, 0.001, 25.0, 1, 1), (4, 25_000, Sharing)),
            ((1, 0.5, 25.0, 9, 1), (1, 1, Sharing)),
        ];
        for ((items, item_ms, settlement_ms, slots, replicas), expected) in cases {
            let measured = Measured { item_ms, settlement_ms, slots, replicas };
            let packing = by_run_time(items, T_S, &measured).unwrap();
            assert_eq!((packing.tasks, packing.items_a_task, packing.binding), expected, "{items} {measured:?}");
        }
    }

    #[test]
    fn the_bounds_hold_whatever_was_measured() {
        for items in [1, 2, 31, 32, 33, 1_000, 4_097, 100_000] {
            for item_ms in [1e-6, 0.3, 7.0, 900.0, 4e4, 1e9] {
                for settlement_ms in [0.0, 25.0, 1e12] {
                    for (slots, replicas) in [(0, 0), (1, 1), (7, 3), (5_000, 1), (u64::MAX, 2)] {
                        let measured = Measured { item_ms, settlement_ms, slots, replicas };
                        let packing = by_run_time(items, T_S, &measured).unwrap();
                        let Packing { tasks, items_a_task, .. } = packing;
                        assert!((1..=items).contains(&tasks) && items_a_task * tasks >= items, "{packing:?}");
                        let task_ms = items_a_task as f64 * item_ms;
                        assert!(items_a_task == 1 || task_ms <= T_S as f64 * 250.0, "{packing:?}");
                        let over = tasks > TASKS_DEFAULT_MAX;
                        assert!(!over || packing.binding == Binding::Category, "{packing:?}");
                    }
                }
            }
        }
        let unknown = Measured { item_ms: 0.0, settlement_ms: 25.0, slots: 4, replicas: 1 };
        for item_ms in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(by_run_time(10, T_S, &Measured { item_ms, ..unknown }), None);
        }
        assert_eq!(by_run_time(10, T_S, &Measured { item_ms: 1.0, settlement_ms: f64::NAN, ..unknown }), None);
        assert_eq!(by_run_time(0, T_S, &Measured { item_ms: 1.0, ..unknown }), None);
    }

    #[test]
    fn it_is_said_how_and_why() {
        let measured = Measured { item_ms: 12.4, settlement_ms: 25.0, slots: 4, replicas: 1 };
        let text = by_run_time(10_000, T_S, &measured).unwrap().to_string();
        assert_eq!(text, "10,000 items in 244 tasks of 41: an item takes 12 ms, a settlement 25 ms");
        let text = by_run_time(400, T_S, &Measured { item_ms: 0.25, ..measured }).unwrap().to_string();
        assert!(
            text.starts_with("400 items in 16 tasks of 25: an item takes 0.2 ms") && text.ends_with("idle"),
            "{text}"
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(Milliseconds(12_345.0).to_string(), "12 s");
    }
}
