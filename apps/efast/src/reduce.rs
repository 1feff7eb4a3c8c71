//! Puts the windows together: how often two stocks share a cluster in all samples of all windows, and the clusters that follow.

use crate::cluster::{average_linkage, cut, leaf_order, Matrix, Merge};
use crate::error::Failure;
use crate::outcome::Outcome;
use crate::{figures, report, table};
use std::io::ErrorKind;
use std::path::Path;

/// Digits of a task's folder name.
const FOLDER_DIGITS: usize = 6;

/// A group of stocks that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its stocks, in the order of the picture.
    pub members: Vec<usize>,
    /// Mean share of samples in which two of its stocks are together; for a stock alone, the share in which it is alone.
    pub stability: f64,
    /// The two stocks of it that are together least often, and how often.
    pub weakest: Option<(usize, usize, f64)>,
    /// The stock that is together with the others most often.
    pub typical: usize,
    /// The cluster whose stocks are together with these most often, and how often.
    pub nearest: Option<(usize, f64)>,
    /// `stability` in each window.
    pub by_window: Vec<f64>,
}

/// What one window says on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    /// The task's files.
    pub outcome: Outcome,
    /// Share of the window's samples in which two stocks are together.
    pub share: Matrix,
    /// Cluster of each stock in this window.
    pub labels: Vec<usize>,
}

/// A task without a usable result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Index of the task.
    pub task: u64,
    /// What is wrong, in words that are the same on every host.
    pub why: String,
}

/// All windows together.
pub struct Consensus {
    /// Names of the stocks.
    pub tickers: Vec<String>,
    /// The windows, oldest first.
    pub periods: Vec<Period>,
    /// Tasks whose result is missing or cannot be used.
    pub missing: Vec<Missing>,
    /// Bootstrap samples in all windows.
    pub samples: u64,
    /// Share of all samples in which two stocks are together.
    pub share: Matrix,
    /// Share of all samples in which a stock is alone.
    pub alone: Vec<f64>,
    /// Mean yearly volatility of each stock.
    pub volatility: Vec<f64>,
    /// The tree made of 1 - share.
    pub tree: Vec<Merge>,
    /// The stocks as the tree orders them.
    pub order: Vec<usize>,
    /// The clusters, in that order.
    pub clusters: Vec<Cluster>,
    /// Cluster of each stock.
    pub labels: Vec<usize>,
}

/// Reads the task folders in `input_dir` and writes the final result into `output_dir`.
pub fn run(input_dir: &Path, output_dir: &Path) -> Result<(), Failure> {
    let (outcomes, missing) = read_all(input_dir)?;
    let consensus = Consensus::new(outcomes, missing);
    for (name, text) in report::files(&consensus) {
        table::write(output_dir, name, text.as_bytes())?;
    }
    for (name, bytes) in figures::files(&consensus) {
        table::write(output_dir, &name, &bytes)?;
    }
    Ok(())
}

/// Whether the folder holds results of tasks rather than a prices file: then `reduce` is what a run without a command does.
pub fn has_task_folders(input_dir: &Path) -> bool {
    task_folders(input_dir).map_or(false, |folders| !folders.is_empty())
}

/// All results that can be used, by task, and the reasons for the others. Results that contradict each other are an error.
fn read_all(input_dir: &Path) -> Result<(Vec<Outcome>, Vec<Missing>), Failure> {
    let folders = task_folders(input_dir)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut missing = Vec::new();
    for (task, name) in &folders {
        match Outcome::read(&input_dir.join(name)) {
            Ok(outcome) if outcome.task == *task => outcomes.push(outcome),
            Ok(outcome) => {
                let problem = format!("folder {name} holds the result of task {}", outcome.task);
                return Err(Failure::content(input_dir, problem));
            }
            // The path would differ from host to host; the report must not.
            Err(Failure::Content { problem, .. }) => missing.push(Missing { task: *task, why: problem }),
            Err(Failure::File { cause: ErrorKind::NotFound, .. }) => {
                missing.push(Missing { task: *task, why: "a file of the result is not there".into() });
            }
            Err(Failure::File { cause: ErrorKind::InvalidData, .. }) => {
                missing.push(Missing { task: *task, why: "a file of the result is not text".into() });
            }
            // Anything else is this host's trouble: it must not pass for a property of the result.
            Err(trouble) => return Err(trouble),
        }
    }
    let first = match outcomes.first() {
        Some(first) => first,
        None => {
            let found = folders.len();
            let problem = format!(
                "none of the {found} task folders in it holds a result of `efast map` (000000/counts.csv, ...)"
            );
            return Err(Failure::content(input_dir, problem));
        }
    };
    for other in &outcomes[1..] {
        let same =
            other.settings == first.settings && other.tasks == first.tasks && other.prices_crc == first.prices_crc;
        if !same || other.tickers != first.tickers {
            let problem = format!(
                "tasks {} and {} had other options or other prices: they cannot be put together",
                first.task, other.task
            );
            return Err(Failure::content(input_dir, problem));
        }
    }
    let known = |task: u64| outcomes.iter().any(|outcome| outcome.task == task);
    let absent = (0..first.tasks).filter(|&task| !known(task) && !folders.iter().any(|(folder, _)| *folder == task));
    missing.extend(absent.map(|task| Missing { task, why: "no folder".into() }));
    missing.sort();
    Ok((outcomes, missing))
}

fn task_folders(input_dir: &Path) -> Result<Vec<(u64, String)>, Failure> {
    let fail = |cause: std::io::Error| Failure::file(input_dir, "list the folder of the task results", &cause);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(input_dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let digits = name.len() == FOLDER_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
        if let (true, true, Ok(task)) = (digits, entry.path().is_dir(), name.parse()) {
            folders.push((task, name));
        }
    }
    folders.sort();
    Ok(folders)
}

impl Consensus {
    /// Puts the windows together; there is at least one.
    pub fn new(outcomes: Vec<Outcome>, missing: Vec<Missing>) -> Consensus {
        let tickers = outcomes[0].tickers.clone();
        let wanted = outcomes[0].settings.clusters;
        let windows = outcomes.len() as f64;
        let stocks = tickers.len();
        let samples = outcomes.iter().map(|outcome| outcome.settings.samples).sum::<u64>();
        let mut together = Matrix::zero(stocks);
        let (mut alone, mut volatility) = (vec![0.0; stocks], vec![0.0; stocks]);
        for outcome in &outcomes {
            for i in 0..stocks {
                alone[i] += outcome.alone[i] as f64;
                volatility[i] += outcome.volatility[i];
                (0..=i).for_each(|j| together.set(i, j, together.at(i, j) + outcome.together.at(i, j)));
            }
        }
        let total = samples as f64;
        let share = together.map(|count| count / total);
        alone.iter_mut().for_each(|count| *count /= total);
        volatility.iter_mut().for_each(|sum| *sum /= windows);
        let apart = share.map(|share| 1.0 - share);
        let tree = average_linkage(&apart);
        let order = leaf_order(&tree, &apart);
        let periods: Vec<Period> = outcomes.into_iter().map(Period::new).collect();
        let groups = groups_in_order(&cut(&tree, wanted), &order);
        let mut labels = vec![0; stocks];
        groups.iter().enumerate().for_each(|(label, members)| members.iter().for_each(|&stock| labels[stock] = label));
        let clusters = groups.iter().map(|members| Cluster::new(members, &groups, &share, &alone, &periods)).collect();
        Consensus { tickers, periods, missing, samples, share, alone, volatility, tree, order, clusters, labels }
    }

    /// Names of a cluster's stocks.
    pub fn names(&self, members: &[usize]) -> Vec<&str> {
        members.iter().map(|&stock| self.tickers[stock].as_str()).collect()
    }

    /// First day of the first window and last day of the last.
    pub fn days(&self) -> (&str, &str) {
        let first = self.periods.iter().map(|period| period.outcome.first_day.as_str()).min();
        let last = self.periods.iter().map(|period| period.outcome.last_day.as_str()).max();
        (first.unwrap_or_default(), last.unwrap_or_default())
    }

    /// Mean share of samples in which a stock is with the others of its cluster in one window, or alone if it has none.
    pub fn loyalty(&self, stock: usize, period: &Period) -> f64 {
        let members = &self.clusters[self.labels[stock]].members;
        let mates: Vec<usize> = members.iter().copied().filter(|&other| other != stock).collect();
        match mates.len() {
            0 => period.outcome.alone[stock] as f64 / period.outcome.settings.samples as f64,
            count => mates.iter().fold(0.0, |sum, &mate| sum + period.share.at(stock, mate)) / count as f64,
        }
    }
}

impl Period {
    fn new(outcome: Outcome) -> Period {
        let samples = outcome.settings.samples as f64;
        let share = outcome.together.map(|count| count / samples);
        let labels = cut(&average_linkage(&share.map(|share| 1.0 - share)), outcome.settings.clusters);
        Period { outcome, share, labels }
    }
}

impl Cluster {
    fn new(members: &[usize], groups: &[Vec<usize>], share: &Matrix, alone: &[f64], periods: &[Period]) -> Cluster {
        let stability = inside(members, share).unwrap_or_else(|| alone[members[0]]);
        let mut nearest: Option<(usize, f64)> = None;
        for (label, others) in groups.iter().enumerate().filter(|(_, others)| others[0] != members[0]) {
            let mean = between(members, others, share);
            if nearest.map_or(true, |(_, most)| mean > most) {
                nearest = Some((label, mean));
            }
        }
        let by_window = periods.iter().map(|period| {
            let lonely = || period.outcome.alone[members[0]] as f64 / period.outcome.settings.samples as f64;
            inside(members, &period.share).unwrap_or_else(lonely)
        });
        Cluster {
            members: members.to_vec(),
            stability,
            weakest: weakest(members, share),
            typical: typical(members, share),
            nearest,
            by_window: by_window.collect(),
        }
    }
}

/// The members of each cluster in the order of the leaves; the clusters too.
fn groups_in_order(labels: &[usize], order: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &stock in order {
        match groups.iter_mut().find(|members| labels[members[0]] == labels[stock]) {
            Some(members) => members.push(stock),
            None => groups.push(vec![stock]),
        }
    }
    groups
}

/// Mean share over the pairs of a group; none if it has no pair.
fn inside(members: &[usize], share: &Matrix) -> Option<f64> {
    let (mut sum, mut pairs) = (0.0, 0u32);
    for (place, &a) in members.iter().enumerate() {
        for &b in &members[place + 1..] {
            sum += share.at(a, b);
            pairs += 1;
        }
    }
    if pairs > 0 {
        Some(sum / f64::from(pairs))
    } else {
        None
    }
}

fn between(members: &[usize], others: &[usize], share: &Matrix) -> f64 {
    let mut sum = 0.0;
    for &a in members {
        others.iter().for_each(|&b| sum += share.at(a, b));
    }
    sum / (members.len() * others.len()) as f64
}

fn weakest(members: &[usize], share: &Matrix) -> Option<(usize, usize, f64)> {
    let mut found: Option<(usize, usize, f64)> = None;
    for (place, &a) in members.iter().enumerate() {
        for &b in &members[place + 1..] {
            let value = share.at(a, b);
            if found.map_or(true, |(_, _, least)| value < least) {
                found = Some((a, b, value));
            }
        }
    }
    found
}

/// The member with the greatest sum of shares with the others, the first of equals.
fn typical(members: &[usize], share: &Matrix) -> usize {
    let mut best = (members[0], f64::MIN);
    for &stock in members {
        let sum = members.iter().fold(0.0, |sum, &other| sum + share.at(stock, other));
        if sum > best.1 {
            best = (stock, sum);
        }
    }
    best.0
}
