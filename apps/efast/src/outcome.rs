//! The files of a task: written by `map`, read again by `reduce`.
//!
//! `window.csv` (what was studied), `counts.csv` (who shared a cluster how often), `members.csv` (a line a stock), `tree.csv` (the tree of
//! the whole window) and `correlation.csv`. The last two are for people and checks; the reduction does not need them.

use crate::args::Settings;
use crate::cluster::Matrix;
use crate::error::Failure;
use crate::table::{self, Rows};
use crate::window::Study;
use std::path::Path;

/// Version of the files' layout.
const FORMAT: &str = "1";
const MEMBERS_HEADER: [&str; 4] = ["ticker", "cluster", "alone", "volatility"];

impl Study {
    /// Writes the files of the task into `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        let files = [
            ("window.csv", self.window_csv()),
            ("counts.csv", table::square("together", &self.tickers, |i, j| format!("{}", self.together.at(i, j)))),
            ("members.csv", self.members_csv()),
            ("tree.csv", self.tree_csv()),
            (
                "correlation.csv",
                table::square("correlation", &self.tickers, |i, j| decimal(self.correlation.at(i, j), 6)),
            ),
        ];
        files.iter().try_for_each(|(name, text)| table::write(dir, name, text.as_bytes()))
    }

    fn window_csv(&self) -> String {
        let mut text = table::line(&["key", "value"]);
        let settings = &self.settings;
        let values = [
            ("application", "efast".to_string()),
            ("format", FORMAT.to_string()),
            ("task", self.task.to_string()),
            ("tasks", self.tasks.to_string()),
            ("first_day", self.first_day.clone()),
            ("last_day", self.last_day.clone()),
            ("window_days", settings.window_days.to_string()),
            ("samples", settings.samples.to_string()),
            ("block_days", settings.block_days.to_string()),
            ("clusters", settings.clusters.to_string()),
            ("seed", settings.seed.to_string()),
            ("market", if settings.remove_market { "remove" } else { "keep" }.to_string()),
            ("prices_crc32", format!("{:08x}", self.prices_crc)),
            ("mean_correlation", decimal(self.mean_correlation, 6)),
        ];
        values.iter().for_each(|(key, value)| text.push_str(&table::line(&[*key, value.as_str()])));
        text
    }

    fn members_csv(&self) -> String {
        let mut text = table::line(&MEMBERS_HEADER);
        for (place, ticker) in self.tickers.iter().enumerate() {
            text.push_str(&table::line(&[
                ticker.clone(),
                (self.labels[place] + 1).to_string(),
                self.alone[place].to_string(),
                decimal(self.volatility[place], 6),
            ]));
        }
        text
    }

    fn tree_csv(&self) -> String {
        let mut text = table::line(&["step", "left", "right", "height", "leaves"]);
        for (step, merge) in self.tree.iter().enumerate() {
            text.push_str(&format!("{},{},{},{},{}\n", step, merge.left, merge.right, merge.height, merge.leaves));
        }
        text
    }
}

/// A number with so many decimals (at most 9), halves rounded away from zero, never `-0`. Written out, because how std rounds a half
/// has changed between its versions.
pub fn decimal(value: f64, places: u32) -> String {
    let unit = 10u64.pow(places);
    let scaled = (value.abs() * unit as f64 + 0.5) as u64;
    let sign = if value < 0.0 && scaled > 0 { "-" } else { "" };
    if places == 0 {
        return format!("{sign}{scaled}");
    }
    format!("{sign}{}.{:0width$}", scaled / unit, scaled % unit, width = places as usize)
}

/// What the reduction needs of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The options the task ran under.
    pub settings: Settings,
    /// Index of the window, and how many there are.
    pub task: u64,
    /// See `task`.
    pub tasks: u64,
    /// First and last day of the window.
    pub first_day: String,
    /// See `first_day`.
    pub last_day: String,
    /// CRC-32 of the prices, as text.
    pub prices_crc: String,
    /// Names of the stocks.
    pub tickers: Vec<String>,
    /// Mean correlation of two stocks in the window.
    pub mean_correlation: f64,
    /// In how many samples two stocks share a cluster.
    pub together: Matrix,
    /// In how many samples a stock is alone.
    pub alone: Vec<u64>,
    /// Yearly volatility.
    pub volatility: Vec<f64>,
}

impl Outcome {
    /// Reads the files of the task from `dir`.
    pub fn read(dir: &Path) -> Result<Outcome, Failure> {
        let (tickers, together) = read_counts(&dir.join("counts.csv"))?;
        let (alone, volatility) = read_members(&dir.join("members.csv"), &tickers)?;
        let path = dir.join("window.csv");
        let rows = table::read(&path, &["key", "value"])?;
        let text = |key: &str| value(&path, &rows, key);
        if text("application")? != "efast" || text("format")? != FORMAT {
            return Err(Failure::content(&path, format!("not a result of efast in format {FORMAT}")));
        }
        let settings = Settings {
            samples: table::parse(&path, text("samples")?)?,
            window_days: table::parse(&path, text("window_days")?)?,
            clusters: table::parse(&path, text("clusters")?)?,
            block_days: table::parse(&path, text("block_days")?)?,
            seed: table::parse(&path, text("seed")?)?,
            remove_market: text("market")? == "remove",
        };
        let counts_fit = (0..tickers.len()).all(|i| together.at(i, i) == settings.samples as f64);
        if settings.samples == 0 || !counts_fit {
            return Err(Failure::content(&path, "its samples do not fit counts.csv"));
        }
        Ok(Outcome {
            settings,
            task: table::parse(&path, text("task")?)?,
            tasks: table::parse(&path, text("tasks")?)?,
            first_day: text("first_day")?.to_string(),
            last_day: text("last_day")?.to_string(),
            prices_crc: text("prices_crc32")?.to_string(),
            tickers,
            mean_correlation: finite(&path, text("mean_correlation")?)?,
            together,
            alone,
            volatility,
        })
    }
}

fn value<'a>(path: &Path, rows: &'a Rows, key: &str) -> Result<&'a str, Failure> {
    let row = rows.iter().find(|row| row[0] == key);
    row.map(|row| row[1].as_str()).ok_or_else(|| Failure::content(path, format!("has no line `{key}`")))
}

fn finite(path: &Path, cell: &str) -> Result<f64, Failure> {
    let number: f64 = table::parse(path, cell)?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(Failure::content(path, format!("`{cell}` is not a number")))
    }
}

fn read_counts(path: &Path) -> Result<(Vec<String>, Matrix), Failure> {
    let rows = table::read_any(path)?;
    let tickers: Vec<String> = rows[0][1..].to_vec();
    let named =
        rows.len() == tickers.len() + 1 && rows[1..].iter().zip(&tickers).all(|(row, ticker)| &row[0] == ticker);
    if !named || tickers.len() < 2 {
        return Err(Failure::content(path, "not a square table of stocks"));
    }
    let mut together = Matrix::zero(tickers.len());
    for i in 0..tickers.len() {
        for j in 0..=i {
            let count: u32 = table::parse(path, &rows[i + 1][j + 1])?;
            if rows[j + 1][i + 1] != rows[i + 1][j + 1] {
                return Err(Failure::content(path, "not symmetric"));
            }
            together.set(i, j, f64::from(count));
        }
    }
    Ok((tickers, together))
}

fn read_members(path: &Path, tickers: &[String]) -> Result<(Vec<u64>, Vec<f64>), Failure> {
    let rows = table::read(path, &MEMBERS_HEADER)?;
    if rows.len() != tickers.len() + 1 || rows[1..].iter().zip(tickers).any(|(row, ticker)| &row[0] != ticker) {
        return Err(Failure::content(path, "its stocks are not those of counts.csv"));
    }
    let alone = rows[1..].iter().map(|row| table::parse(path, &row[2])).collect::<Result<_, _>>()?;
    let volatility = rows[1..].iter().map(|row| finite(path, &row[3])).collect::<Result<_, _>>()?;
    Ok((alone, volatility))
}
