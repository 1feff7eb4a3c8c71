//! Reads the command line.

use crate::error::Failure;

/// Tasks of a bag when nobody says otherwise.
pub const DEFAULT_TASKS: u64 = 12;
/// Most tasks of a bag: folder names have six digits.
const MAX_TASKS: u64 = 999_999;
/// Most bootstrap samples of a task.
const MAX_SAMPLES: u64 = 1_000_000;
/// Longest window in trading days (about four centuries).
const MAX_WINDOW: u64 = 100_000;

/// What `efast help` prints.
pub const USAGE: &str = "\
E-FAST: which stocks move together, how surely, and how that changed over the years.

usage: efast [map|reduce|all|help] [options]

  map     study one window of time: the task's own by IEXEC_BOT_TASK_INDEX
  reduce  put the results of all tasks together: IEXEC_IN holds a folder 000000, 000001, ... for each
  all     every task and the reduction in one process, into DIR/000000 ... and DIR/reduce

Without a command it is `reduce` if the input holds such folders, else `map`. `reduce` takes the options from
the tasks' results and ignores those on its own command line.

options
  --samples B       bootstrap samples of a window         (default 1000)
  --window DAYS     length of a window, in trading days   (default 1260: five years)
  --clusters K      clusters each tree is cut into        (default 7)
  --block DAYS      length of a bootstrap block           (default 21: a month)
  --seed S          seed of the bootstrap                 (default 2018)
  --market HOW      `remove` the market's common move before the correlation, or `keep` it (default remove)
  --tasks N         windows in all                        (default: the bag's size; 12 for `all`)
  --prices FILE     prices as CSV, plain or gzip          (default: the job's first input file)
  --out DIR         where `all` writes                    (default IEXEC_OUT)
";

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// One window.
    Map,
    /// All windows together.
    Reduce,
    /// Both, in one process.
    All,
    /// The usage.
    Help,
}

/// The options that decide the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bootstrap samples of a window.
    pub samples: u64,
    /// Daily returns in a window.
    pub window_days: usize,
    /// Clusters each tree is cut into.
    pub clusters: usize,
    /// Days of a bootstrap block.
    pub block_days: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Whether the day's common move is taken out before the correlation.
    pub remove_market: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { samples: 1000, window_days: 1260, clusters: 7, block_days: 21, seed: 2018, remove_market: true }
    }
}

/// A parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The command, if one was named.
    pub command: Option<Command>,
    /// The options that decide the numbers.
    pub settings: Settings,
    /// `--tasks`.
    pub tasks: Option<u64>,
    /// `--prices`.
    pub prices: Option<String>,
    /// `--out`.
    pub out: Option<String>,
}

/// Parses the words after the program's name. Options are `--name value` or `--name=value`; the last of two wins.
pub fn parse(words: &[String]) -> Result<Invocation, Failure> {
    let mut parsed = Invocation::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            if parsed.command.is_some() {
                return Err(Failure::Usage(format!("a second command `{word}`")));
            }
            parsed.command = Some(command(word)?);
            continue;
        }
        if word == "--help" || word == "-h" {
            parsed.command = Some(Command::Help);
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value.to_string()),
            None => match rest.next() {
                Some(value) => (word.as_str(), value.clone()),
                None => return Err(Failure::Usage(format!("`{word}` has no value"))),
            },
        };
        option(&mut parsed, name, value)?;
    }
    Ok(parsed)
}

fn command(word: &str) -> Result<Command, Failure> {
    match word {
        "map" => Ok(Command::Map),
        "reduce" => Ok(Command::Reduce),
        "all" => Ok(Command::All),
        "help" => Ok(Command::Help),
        _ => Err(Failure::Usage(format!("unknown command `{word}`"))),
    }
}

fn option(parsed: &mut Invocation, name: &str, value: String) -> Result<(), Failure> {
    let settings = &mut parsed.settings;
    match name {
        "--samples" => settings.samples = number(name, &value, 1, MAX_SAMPLES)?,
        "--window" => settings.window_days = number(name, &value, 2, MAX_WINDOW)? as usize,
        "--clusters" => settings.clusters = number(name, &value, 1, crate::prices::MAX_TICKERS as u64)? as usize,
        "--block" => settings.block_days = number(name, &value, 1, MAX_WINDOW)? as usize,
        "--seed" => settings.seed = number(name, &value, 0, u64::MAX)?,
        "--tasks" => parsed.tasks = Some(number(name, &value, 1, MAX_TASKS)?),
        "--prices" => parsed.prices = Some(value),
        "--out" => parsed.out = Some(value),
        "--market" => {
            settings.remove_market = match value.as_str() {
                "remove" => true,
                "keep" => false,
                _ => return Err(Failure::Usage(format!("--market is `remove` or `keep`, not `{value}`"))),
            }
        }
        _ => return Err(Failure::Usage(format!("unknown option `{name}`"))),
    }
    Ok(())
}

fn number(name: &str, value: &str, min: u64, max: u64) -> Result<u64, Failure> {
    match value.parse::<u64>() {
        Ok(number) if number >= min && number <= max => Ok(number),
        _ => Err(Failure::Usage(format!("{name} is a whole number from {min} to {max}, not `{value}`"))),
    }
}
