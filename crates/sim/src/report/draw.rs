//! Which plots a report has.

use super::Report;
use crate::plot::{Bars, Lines, Series};

/// Points of a distribution's curve.
const CURVE_POINTS: usize = 200;

/// Every plot: file name, SVG.
pub(super) fn plots(report: &Report) -> Vec<(&'static str, String)> {
    let mut plots = vec![("hosts.svg", hosts(report)), ("tasks.svg", tasks(report)), ("waits.svg", waits(report))];
    plots.push(("tails.svg", tails(report)));
    plots.push(("kinds.svg", kinds(report)));
    plots
}

fn over_time(report: &Report, value: fn(&crate::measure::Sample) -> u64) -> Vec<(f64, f64)> {
    report.samples.iter().map(|sample| (sample.after_ms as f64 / 3_600_000.0, value(sample) as f64)).collect()
}

fn hosts(report: &Report) -> String {
    let series = vec![
        Series { name: "hosts that are there", points: over_time(report, |sample| sample.available) },
        Series { name: "runs under way", points: over_time(report, |sample| sample.busy) },
    ];
    let title = format!("{}: hosts", report.name);
    Lines { title, x: "hours", y: "hosts", series }.svg()
}

fn tasks(report: &Report) -> String {
    let series = vec![
        Series { name: "completed", points: over_time(report, |sample| sample.completed) },
        Series { name: "open", points: over_time(report, |sample| sample.open) },
        Series { name: "failed", points: over_time(report, |sample| sample.failed) },
    ];
    let title = format!("{}: tasks", report.name);
    Lines { title, x: "hours", y: "tasks", series }.svg()
}

fn waits(report: &Report) -> String {
    let values = report.lease_waits_ms.iter().map(|ms| *ms as f64 / 1000.0).collect::<Vec<_>>();
    let series = vec![Series { name: "tasks", points: distribution(&values) }];
    let title = format!("{}: from ready to the first lease", report.name);
    Lines { title, x: "seconds", y: "share of the tasks (%)", series }.svg()
}

fn tails(report: &Report) -> String {
    let whole = report.bags.iter().filter(|bag| bag.failed == 0);
    let mut values = whole.filter_map(super::BagReport::tail_slowdown).collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    let series = vec![Series { name: "bags", points: distribution(&values) }];
    let title = format!("{}: slowdown by the tail", report.name);
    Lines { title, x: "time over ideal time", y: "share of the bags (%)", series }.svg()
}

/// The share of ascending values that stay below each, in percent.
fn distribution(values: &[f64]) -> Vec<(f64, f64)> {
    let step = values.len().div_ceil(CURVE_POINTS).max(1);
    let at = |index: usize| (values[index], 100.0 * (index + 1) as f64 / values.len() as f64);
    let mut points = (0..values.len()).step_by(step).map(at).collect::<Vec<_>>();
    points.extend(values.len().checked_sub(1).map(at));
    points
}

fn kinds(report: &Report) -> String {
    let each = |ngrist: u128, hosts: u64| ngrist as f64 / 1e9 / hosts.max(1) as f64;
    let groups = report.kinds.iter().map(|kind| {
        let values = vec![each(kind.gained_ngrist, kind.hosts), each(kind.lost_ngrist, kind.hosts)];
        (kind.kind.name().to_owned(), values)
    });
    let title = format!("{}: what a host of each kind gained and lost", report.name);
    Bars { title, y: "GRIST a host", names: vec!["gained", "lost"], groups: groups.collect() }.svg()
}
