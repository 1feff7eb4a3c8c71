//! `gristmill sim`.

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use gristmill_sim::config::BUILTIN;
use gristmill_sim::report::KindReport;
use gristmill_sim::{Config, Progress, Report, run_showing};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::exit::Exit;
use crate::output;

const NGRIST: f64 = 1e9;

/// Simulate a whole market: thousands of hosts that come and go, saboteurs, crashes, lost messages
///
/// Scheduler, rules of the hub and sessions are the real ones; time, machines and the network are made up, from one seed: the
/// same configuration gives the same run on any machine, which the digest shows. No network is needed, and none is used.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// A configuration in TOML; or lab, day, saboteurs or tail, which come with the program (`--print` shows one to start from)
    #[arg(default_value = "lab")]
    config: PathBuf,
    /// Draw everything from another seed than the configuration's
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Write tables (CSV) and plots (SVG) into a folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the configuration instead of running it
    #[arg(long, conflicts_with_all = ["seed", "out"])]
    print: bool,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Simulated {
    name: String,
    seed: u64,
    /// Over all decisions of the scheduler and all events of the ledger.
    digest: String,
    figures: Vec<Figure>,
    kinds: Vec<Value>,
    /// Tables and plots that were written.
    files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: Value,
    unit: &'static str,
}

pub fn run(args: &SimArgs, json: bool) -> anyhow::Result<Exit> {
    let text = text_of(&args.config)?;
    if args.print {
        let printed = serde_json::json!({ "config": text });
        output::either(json, &printed, |_| text.clone())?;
        return Ok(Exit::Ok);
    }
    let mut config = Config::parse(&text).with_context(|| format!("{} is refused", args.config.display()))?;
    config.seed = args.seed.unwrap_or(config.seed);
    let report = simulate(&config)?;
    let files = match &args.out {
        Some(folder) => {
            report.write(folder).with_context(|| format!("the tables cannot be written into {}", folder.display()))?
        }
        None => Vec::new(),
    };
    output::either(json, &simulated(&report, files), describe)?;
    Ok(Exit::Ok)
}

/// A file goes before a configuration of the program that has its name.
fn text_of(config: &Path) -> anyhow::Result<String> {
    let builtin = BUILTIN.iter().find(|(name, _)| config.as_os_str() == *name);
    match (std::fs::read_to_string(config), builtin) {
        (Ok(text), _) => Ok(text),
        (Err(_), Some((_, text))) => Ok((*text).to_owned()),
        (Err(error), None) => {
            let names: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
            bail!(
                "{} cannot be read: {error}; name a file, or one of those that come with the program: {}",
                config.display(),
                names.join(", ")
            )
        }
    }
}

fn simulate(config: &Config) -> anyhow::Result<Report> {
    let bar = if stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:32} {msg} [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    let report = run_showing(config, &mut |at: Progress| {
        bar.set_length(at.duration_ms);
        bar.set_position(at.simulated_ms.min(at.duration_ms));
        let hours = |ms: u64| ms as f64 / 3_600_000.0;
        let (done, all) = (hours(at.simulated_ms), hours(at.duration_ms));
        bar.set_message(format!("{done:.1} of {all:.1} h, {} tasks open", at.open_tasks));
    });
    bar.finish_and_clear();
    Ok(report?)
}

fn simulated(report: &Report, files: Vec<PathBuf>) -> Simulated {
    // A figure without a value, as a median of nothing, is a dash in the table.
    let number = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
    let figures = report.figures().into_iter().map(|(name, value, unit)| Figure { name, value: number(value), unit });
    Simulated {
        name: report.name.clone(),
        seed: report.seed,
        digest: report.digest.to_string(),
        figures: figures.collect(),
        kinds: report.kinds.iter().map(kind).collect(),
        files,
    }
}

fn kind(kind: &KindReport) -> Value {
    serde_json::json!({
        "kind": kind.kind.name(),
        "hosts": kind.hosts,
        "names": kind.names,
        "runs": kind.runs,
        "contributions": kind.contributions,
        "wrong": kind.wrong,
        "caught": kind.caught,
        "contributions_until_caught": kind.contributions_until_caught,
        "gained_grist": kind.gained_ngrist as f64 / NGRIST,
        "lost_grist": kind.lost_ngrist as f64 / NGRIST,
    })
}

fn describe(run: &Simulated) -> String {
    let plain = |value: &Value| if value.is_null() { "-".to_owned() } else { value.to_string() };
    let rows = run.figures.iter().map(|figure| (figure.name, format!("{} {}", plain(&figure.value), figure.unit)));
    let figures = output::fields(rows);
    let keys = ["kind", "hosts", "names", "contributions", "wrong", "caught", "gained_grist", "lost_grist"];
    let cell = |value: &Value| value.as_str().map_or_else(|| plain(value), str::to_owned);
    let kinds: Vec<Vec<String>> =
        run.kinds.iter().map(|kind| keys.iter().map(|key| cell(&kind[*key])).collect()).collect();
    let kinds = output::table(&keys, &kinds);
    let files: String = run.files.iter().map(|file| format!("{}\n", file.display())).collect();
    let head = format!("{}, seed {}", run.name, run.seed);
    format!("{head}\n\n{figures}\n{kinds}\ndigest {}\n{files}", run.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(config: impl Into<PathBuf>) -> SimArgs {
        SimArgs { config: config.into(), seed: None, out: None, print: false }
    }

    #[test]
    fn a_configuration_is_a_file_or_one_that_comes_along() {
        for (name, text) in BUILTIN {
            assert_eq!(text_of(Path::new(name)).unwrap(), text);
            Config::parse(text).unwrap();
        }
        let refused = text_of(Path::new("nowhere.toml")).unwrap_err().to_string();
        assert!(
            refused.contains("nowhere.toml cannot be read") && refused.contains("lab, day, saboteurs"),
            "{refused}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("market.toml");
        std::fs::write(&file, "duration_s = 60\nhosts = { count = 1, colour = 2 }\n").unwrap();
        let refused = format!("{:#}", run(&args(&file), true).unwrap_err());
        assert!(refused.contains("market.toml is refused") && refused.contains("line 2"), "{refused}");
        assert!(refused.contains("colour"), "{refused}");
    }

    #[test]
    fn a_run_has_figures_tables_and_plots() {
        let folder = tempfile::tempdir().unwrap();
        let text = "duration_s = 3600\nhosts = { count = 8, always_on = 1 }\n[[jobs]]\nname = \"render\"\nbags = 1\n\
                    tasks = 20\ncategory = \"XS\"\nwork_s = 60\n";
        let report = simulate(&Config::parse(text).unwrap()).unwrap();
        let files = report.write(folder.path()).unwrap();
        let run = simulated(&report, files);
        let completed = run.figures.iter().find(|figure| figure.name == "completed").unwrap();
        assert_eq!(completed.value, 20);
        assert_eq!(run.kinds[0]["kind"], "honest");
        assert!(run.files.iter().any(|file| file.extension().is_some_and(|it| it == "svg")));
        let text = describe(&run);
        assert!(text.contains("digest 0x") && text.contains("tasks.svg") && text.contains("completed"), "{text}");
    }
}
