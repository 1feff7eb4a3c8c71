//! What the last tenth of a bag takes, with speculative copies and without: a configuration under many seeds.
//!
//! `cargo run --release -p gristmill-sim --example tail -- [SEEDS [CONFIG [CSV]]]`: by default 100 seeds of `configs/tail.toml`, and
//! no CSV.

use std::fmt::Write as _;

use gristmill_sim::report::LastTenth;
use gristmill_sim::{Config, run};

const TAIL: &str = include_str!("../configs/tail.toml");
const SEEDS: u64 = 100;

type Figure = fn(&Row) -> f64;

/// A run of a seed.
struct Row {
    seed: u64,
    copies: bool,
    failed: u32,
    makespan_s: f64,
    last_tenth: LastTenth,
    tail_slowdown: f64,
    results_per_task: f64,
    /// Host time spent in runs, for each completed task.
    busy_s: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seeds = args.next().map_or(Ok(SEEDS), |text| text.parse())?;
    let config = match args.next() {
        Some(path) => Config::load(path.as_ref())?,
        None => Config::parse(TAIL)?,
    };
    let mut csv = "seed,copies,failed,makespan_s,last_tenth_s,pace_s,run_s,slowdown,slowdown_of_pace,tail_slowdown,results_per_task,busy_s_per_task\n".to_owned();
    println!("{}, {seeds} seeds\n", config.name);
    for copies in [true, false] {
        let rows = (1..=seeds).map(|seed| row(&config, seed, copies)).collect::<Result<Vec<_>, _>>()?;
        rows.iter().try_for_each(|row| write_row(&mut csv, row))?;
        show(copies, &rows);
    }
    if let Some(path) = args.next() {
        std::fs::write(path, csv)?;
    }
    Ok(())
}

fn row(config: &Config, seed: u64, copies: bool) -> Result<Row, Box<dyn std::error::Error>> {
    let mut config = Config { seed, ..config.clone() };
    if !copies {
        config.scheduler.late_percent = 0;
    }
    let report = run(&config)?;
    let bag = report.bags.first().ok_or("the configuration has no bag")?;
    let last_tenth = bag.last_tenth().ok_or_else(|| format!("seed {seed}: no task was completed"))?;
    Ok(Row {
        seed,
        copies,
        failed: bag.failed,
        makespan_s: bag.makespan_ms as f64 / 1e3,
        last_tenth,
        tail_slowdown: bag.tail_slowdown().unwrap_or(f64::NAN),
        results_per_task: report.results_per_task(),
        busy_s: report.totals.busy_ms as f64 / 1e3 / f64::from(bag.completed.max(1)),
    })
}

fn write_row(csv: &mut String, row: &Row) -> std::fmt::Result {
    let Row { seed, copies, failed, makespan_s, last_tenth, tail_slowdown, results_per_task, busy_s } = row;
    let LastTenth { took_ms, pace_ms, run_ms } = *last_tenth;
    let (took_s, pace_s, run_s) = (took_ms as f64 / 1e3, pace_ms as f64 / 1e3, run_ms as f64 / 1e3);
    let (slowdown, of_pace) = (last_tenth.slowdown(), last_tenth.slowdown_of_pace());
    writeln!(
        csv,
        "{seed},{copies},{failed},{makespan_s:.3},{took_s:.3},{pace_s:.3},{run_s:.3},{slowdown:.4},{of_pace:.4},{tail_slowdown:.4},\
         {results_per_task:.4},{busy_s:.1}"
    )
}

fn show(copies: bool, rows: &[Row]) {
    println!("{}\n", if copies { "with copies" } else { "without" });
    println!("| | median | mean | 10 % | 90 % |\n|---|---|---|---|---|");
    let figures: [(&str, Figure); 10] = [
        ("last tenth over its ideal time", |row| row.last_tenth.slowdown()),
        ("last tenth over a ninth of the others", |row| row.last_tenth.slowdown_of_pace()),
        ("tail slowdown (SpeQuloS)", |row| row.tail_slowdown),
        ("last tenth, s", |row| row.last_tenth.took_ms as f64 / 1e3),
        ("a ninth of the others, s", |row| row.last_tenth.pace_ms as f64 / 1e3),
        ("median run, s", |row| row.last_tenth.run_ms as f64 / 1e3),
        ("makespan, s", |row| row.makespan_s),
        ("results per task", |row| row.results_per_task),
        ("host time per task, s", |row| row.busy_s),
        ("failed tasks", |row| f64::from(row.failed)),
    ];
    for (name, figure) in figures {
        let mut values = rows.iter().map(figure).collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values.get((values.len().saturating_sub(1) as f64 * share).round() as usize).copied();
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let of = |value: Option<f64>| value.unwrap_or(f64::NAN);
        println!("| {name} | {:.2} | {mean:.2} | {:.2} | {:.2} |", of(at(0.5)), of(at(0.1)), of(at(0.9)));
    }
    println!();
}
