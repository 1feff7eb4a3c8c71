//! One window of time: its correlations, its tree, and which stocks stay together when its days are drawn again (the bootstrap).

use crate::args::Settings;
use crate::cluster::{average_linkage, cut, Matrix, Merge};
use crate::error::Failure;
use crate::maths::{ln, sum};
use crate::prices::Prices;
use crate::rng::Rng;

/// Trading days of a year, for the yearly volatility.
const DAYS_A_YEAR: f64 = 252.0;

/// What a task finds out.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// The options it ran under.
    pub settings: Settings,
    /// Index of the window, and how many there are.
    pub task: u64,
    /// See `task`.
    pub tasks: u64,
    /// First and last day with a return in the window.
    pub first_day: String,
    /// See `first_day`.
    pub last_day: String,
    /// CRC-32 of the prices.
    pub prices_crc: u32,
    /// Names of the stocks.
    pub tickers: Vec<String>,
    /// Mean correlation of two stocks, before the market's move is removed.
    pub mean_correlation: f64,
    /// Correlations the tree is made of.
    pub correlation: Matrix,
    /// The tree of the whole window.
    pub tree: Vec<Merge>,
    /// Cluster of each stock in that tree.
    pub labels: Vec<usize>,
    /// In how many bootstrap samples two stocks share a cluster; the diagonal is the number of samples.
    pub together: Matrix,
    /// In how many bootstrap samples a stock is alone in its cluster.
    pub alone: Vec<u64>,
    /// Standard deviation of a year's log return.
    pub volatility: Vec<f64>,
}

/// Studies window `task` of `tasks`.
pub fn study(prices: &Prices, settings: &Settings, task: u64, tasks: u64) -> Result<Study, Failure> {
    let (start, end) = bounds(prices, settings, task, tasks)?;
    let days = end - start;
    let returns = log_returns(prices, start, end);
    let (mut series, deviation) = standardise(returns);
    let mut sample = Sample::new(prices.tickers.len(), days);
    let mean_correlation = mean_off_diagonal(&sample.correlation(&series, |day| day));
    if settings.remove_market {
        remove_market(&mut series);
    }
    let correlation = sample.correlation(&series, |day| day);
    let tree = average_linkage(&correlation.map(distance));
    let labels = cut(&tree, settings.clusters);
    let (together, alone) = bootstrap(&series, settings, task, &mut sample);
    Ok(Study {
        settings: settings.clone(),
        task,
        tasks,
        first_day: prices.days[start + 1].clone(),
        last_day: prices.days[end].clone(),
        prices_crc: prices.crc,
        tickers: prices.tickers.clone(),
        mean_correlation,
        correlation,
        tree,
        labels,
        together,
        alone,
        volatility: deviation.iter().map(|sd| sd * DAYS_A_YEAR.sqrt()).collect(),
    })
}

/// The window's first and last price: the windows are spread evenly from the first day to the last. A bag of one task gets the last window.
fn bounds(prices: &Prices, settings: &Settings, task: u64, tasks: u64) -> Result<(usize, usize), Failure> {
    let returns = prices.days.len() - 1;
    let days = settings.window_days;
    let problem = if task >= tasks {
        format!("task {task} of a bag of {tasks}: give the number of all windows with --tasks N")
    } else if days > returns {
        format!("a window of {days} days is longer than the {returns} daily returns of the prices: choose a smaller --window")
    } else if settings.block_days > days {
        format!("a block of {} days is longer than the window of {days}: choose a smaller --block", settings.block_days)
    } else if settings.clusters > prices.tickers.len() {
        format!("{} clusters of {} stocks: choose a smaller --clusters", settings.clusters, prices.tickers.len())
    } else {
        let spare = (returns - days) as u64;
        let start = if tasks == 1 { spare } else { spare * task / (tasks - 1) } as usize;
        return Ok((start, start + days));
    };
    Err(Failure::Settings(problem))
}

/// Log returns of each stock, a column a stock.
fn log_returns(prices: &Prices, start: usize, end: usize) -> Vec<Vec<f64>> {
    (0..prices.tickers.len())
        .map(|stock| (start..end).map(|day| ln(prices.row(day + 1)[stock] / prices.row(day)[stock])).collect())
        .collect()
}

/// Brings each column to mean 0 and deviation 1, so that a nervous stock does not weigh more than a calm one; the deviations too.
/// A stock that never moves becomes all zero.
fn standardise(mut columns: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut deviations = Vec::with_capacity(columns.len());
    for column in &mut columns {
        let count = column.len() as f64;
        let mean = sum(column) / count;
        let variance = column.iter().fold(0.0, |total, x| total + (x - mean) * (x - mean)) / count;
        let deviation = variance.sqrt();
        let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
        column.iter_mut().for_each(|x| *x = (*x - mean) * scale);
        deviations.push(deviation);
    }
    (columns, deviations)
}

/// Takes each day's mean over the stocks away: what is left is how a stock moved against the others. Without this step the common ups
/// and downs of the market hide which stocks belong together.
fn remove_market(columns: &mut [Vec<f64>]) {
    let stocks = columns.len() as f64;
    for day in 0..columns[0].len() {
        let mean = columns.iter().fold(0.0, |total, column| total + column[day]) / stocks;
        columns.iter_mut().for_each(|column| column[day] -= mean);
    }
}

/// The metric distance of a correlation (at most 1): 0 for stocks that move as one, 2 for opposite ones.
pub fn distance(correlation: f64) -> f64 {
    (2.0 * (1.0 - correlation)).sqrt()
}

/// Counts shared clusters over the samples. A sample is made of blocks of following days, drawn with replacement from the window seen
/// as a ring (circular block bootstrap, Politis and Romano 1992), so that the dependence between near days survives.
fn bootstrap(series: &[Vec<f64>], settings: &Settings, task: u64, sample: &mut Sample) -> (Matrix, Vec<u64>) {
    let stocks = series.len();
    let days = settings.window_days;
    let mut together = vec![0u64; stocks * stocks];
    let mut alone = vec![0u64; stocks];
    let mut starts = vec![0usize; (days + settings.block_days - 1) / settings.block_days];
    for number in 0..settings.samples {
        let mut rng = Rng::stream(settings.seed, task, number);
        starts.iter_mut().for_each(|start| *start = rng.below(days));
        let correlation = sample.correlation(series, |day| {
            let drawn = starts[day / settings.block_days] + day % settings.block_days;
            if drawn >= days {
                drawn - days
            } else {
                drawn
            }
        });
        let labels = cut(&average_linkage(&correlation.map(distance)), settings.clusters);
        for (i, label) in labels.iter().enumerate() {
            let mut mates = 0;
            for (j, other) in labels.iter().enumerate() {
                let shared = u64::from(label == other);
                together[i * stocks + j] += shared;
                mates += shared;
            }
            alone[i] += u64::from(mates == 1);
        }
    }
    let mut counts = Matrix::zero(stocks);
    for i in 0..stocks {
        (0..stocks).for_each(|j| counts.set(i, j, together[i * stocks + j] as f64));
    }
    (counts, alone)
}

/// Room for one sample, used again for the next.
struct Sample {
    columns: Vec<Vec<f64>>,
    picks: Vec<usize>,
}

impl Sample {
    fn new(stocks: usize, days: usize) -> Sample {
        Sample { columns: vec![vec![0.0; days]; stocks], picks: vec![0; days] }
    }

    /// Correlations of the days `pick(0)`, `pick(1)`, ... A stock that does not move has correlation 0 with all others.
    fn correlation(&mut self, series: &[Vec<f64>], pick: impl Fn(usize) -> usize) -> Matrix {
        let count = self.picks.len() as f64;
        self.picks.iter_mut().enumerate().for_each(|(day, picked)| *picked = pick(day));
        let mut scale = Vec::with_capacity(series.len());
        for (column, source) in self.columns.iter_mut().zip(series) {
            column.iter_mut().zip(&self.picks).for_each(|(cell, &day)| *cell = source[day]);
            let mean = sum(column) / count;
            column.iter_mut().for_each(|cell| *cell -= mean);
            let norm = dot(column, column).sqrt();
            scale.push(if norm > 0.0 { 1.0 / norm } else { 0.0 });
        }
        let mut correlation = Matrix::zero(series.len());
        for i in 0..series.len() {
            correlation.set(i, i, 1.0);
            for j in 0..i {
                let value = dot(&self.columns[i], &self.columns[j]) * scale[i] * scale[j];
                correlation.set(i, j, value.clamp(-1.0, 1.0));
            }
        }
        correlation
    }
}

/// Sum of products in four running sums: shorter chains of additions, in an order that is the program's, not the compiler's.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0f64; 4];
    let (a_chunks, b_chunks) = (a.chunks_exact(4), b.chunks_exact(4));
    let tails = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let tail = tails.fold(0.0, |total, (x, y)| total + x * y);
    for (x, y) in a_chunks.zip(b_chunks) {
        sums[0] += x[0] * y[0];
        sums[1] += x[1] * y[1];
        sums[2] += x[2] * y[2];
        sums[3] += x[3] * y[3];
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + tail
}

fn mean_off_diagonal(matrix: &Matrix) -> f64 {
    let mut total = 0.0;
    for i in 0..matrix.size {
        for j in 0..i {
            total += matrix.at(i, j);
        }
    }
    let pairs = matrix.size * (matrix.size - 1) / 2;
    total / pairs as f64
}
