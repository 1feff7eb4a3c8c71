//! What the last tenth of a bag takes, with speculative copies and without.
//!
//! The bag is that of `configs/tail.toml`: 1,000 tasks on volatile hosts. A few seeds; `GRISTMILL_SLOW_TESTS=1` takes a hundred.

use gristmill_sim::{Config, Report};

use crate::check;

const SEEDS_FAST: u64 = 15;
const SEEDS_SLOW: u64 = 100;
/// The last tenth takes so many times as long as ideal, at most, in the median.
const SLOWDOWN_MAX: f64 = 1.3;
/// So many results for a completed task, at most, in the mean: what copies waste.
const RESULTS_MAX: f64 = 1.02;

fn bag(seed: u64, copies: bool) -> Report {
    let text = include_str!("../../configs/tail.toml");
    let mut config = Config { seed, ..Config::parse(text).unwrap_or_else(|error| panic!("{error}")) };
    if !copies {
        config.scheduler.late_percent = 0;
    }
    let report = check(&config);
    assert_eq!(report.totals.completed, 1_000, "seed {seed}");
    report
}

fn slowdown(report: &Report) -> f64 {
    let last_tenth = report.bags.first().and_then(|bag| bag.last_tenth());
    last_tenth.unwrap_or_else(|| panic!("seed {}: no task was completed", report.seed)).slowdown()
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count() as f64
}

fn median(reports: &[Report]) -> f64 {
    let mut slowdowns = reports.iter().map(slowdown).collect::<Vec<_>>();
    slowdowns.sort_by(f64::total_cmp);
    slowdowns[slowdowns.len() / 2]
}

#[test]
fn the_last_tenth_of_a_bag_takes_little_more_than_its_ideal_time() {
    let seeds = if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { SEEDS_SLOW } else { SEEDS_FAST };
    let run = |copies| (1..=seeds).map(|seed| bag(seed, copies)).collect::<Vec<_>>();
    let (with, without) = (run(true), run(false));
    println!("seeds 1 to {seeds}: {:.2} times its ideal time, {:.2} without copies", median(&with), median(&without));
    let worst = with.iter().max_by(|one, other| slowdown(one).total_cmp(&slowdown(other)));
    let worst = worst.map(|report| (report.seed, slowdown(report)));
    assert!(median(&with) <= SLOWDOWN_MAX, "seeds 1 to {seeds}: {}, the worst {worst:?}", median(&with));
    assert!(median(&without) > 3.0 * median(&with), "seeds 1 to {seeds}: {} without copies", median(&without));
    let makespan = |reports: &[Report]| mean(reports.iter().map(|report| report.bags[0].makespan_ms as f64));
    assert!(makespan(&with) < 0.8 * makespan(&without), "seeds 1 to {seeds}");
    // What copies compute in vain is no more than what slow machines would have been busy with.
    let results = mean(with.iter().map(Report::results_per_task));
    assert!(results <= RESULTS_MAX, "seeds 1 to {seeds}: {results} results for a task");
    let busy = |reports: &[Report]| mean(reports.iter().map(|report| report.totals.busy_ms as f64));
    assert!(busy(&with) <= 1.02 * busy(&without), "seeds 1 to {seeds}: {} of {}", busy(&with), busy(&without));
}
