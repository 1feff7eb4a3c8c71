//! Say when the benchmark has to be run again.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::benchmark::Benchmark;

/// A benchmark holds so long: a week, in milliseconds.
pub const AGE_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;
/// Finished tasks over which run times are compared with what was expected.
pub const DRIFT_WINDOW: usize = 20;
/// Run times may be off by so much, in the median of the window.
pub const DRIFT_MAX: f64 = 0.2;
/// A benchmark younger than this is not run again for the tasks' run times, in milliseconds.
pub const DRIFT_PAUSE_MS: u64 = 3_600 * 1_000;
/// A new benchmark within so much of the last says that the machine is the same.
const SAME_SPEED: f64 = 0.1;
/// A benchmark may be from the future by so much, in milliseconds: clocks are set.
pub const CLOCK_SLACK_MS: u64 = 3_600 * 1_000;

/// What a benchmark depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Its microcode: an update may cost a tenth.
    pub microcode: Option<String>,
    /// Cores that can be used.
    pub cores: Option<u32>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// This program's version: another compiler makes other code of the benchmark.
    pub program: String,
}

/// Why the benchmark has to be run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rerun {
    /// There is none yet.
    Never,
    /// It is another machine, or has another kernel or program: what differs.
    Changed(&'static str),
    /// It is older than [`AGE_MS_MAX`].
    Old {
        /// Its age in milliseconds.
        age_ms: u64,
    },
    /// It is from the future: the clock was wrong, then or now.
    Future,
    /// Tasks take longer, or less long, than expected or than is usual by now.
    Drifted {
        /// The median of measured to expected run time.
        ratio: f64,
    },
}

impl fmt::Display for Rerun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("this machine was not measured yet"),
            Self::Changed(what) => write!(f, "{what} is another than when this machine was measured"),
            Self::Old { age_ms } => write!(f, "it was measured {} days ago", age_ms / (24 * 3_600 * 1_000)),
            Self::Future => f.write_str("it was measured in the future: the clock was wrong, then or now"),
            Self::Drifted { ratio } => write!(f, "tasks take {:.0} % of the time that was expected", ratio * 100.0),
        }
    }
}

/// Keeps the benchmark, and watches whether it still tells the truth. No clock: the caller says what time it is.
///
/// Run times may be off for ever without the machine being another: all cores at once are slower than the one that was measured, or
/// somebody expects too little. So if tasks drift and the new benchmark is like the last, then what they took becomes what is usual.
#[derive(Clone, Debug)]
pub struct Drift {
    benchmark: Option<Benchmark>,
    /// The multiple of the expected run time that is no news any more.
    usual: f64,
    /// Measured to expected run time of the last tasks, the newest last.
    ratios: VecDeque<f64>,
}

impl Drift {
    /// Begins with what was stored, if anything was.
    pub fn new(stored: Option<Benchmark>) -> Self {
        Self { benchmark: stored, usual: 1.0, ratios: VecDeque::new() }
    }

    /// The benchmark that holds now.
    pub fn benchmark(&self) -> Option<&Benchmark> {
        self.benchmark.as_ref()
    }

    /// Takes a new one, against which tasks are measured from now on.
    pub fn renew(&mut self, benchmark: Benchmark) {
        let before = self.benchmark.as_ref().map(Benchmark::speed);
        let same = before.is_some_and(|before| (benchmark.speed() / before - 1.0).abs() <= SAME_SPEED);
        self.usual = match self.median() {
            Some(ratio) if same => ratio,
            None if same => self.usual,
            _ => 1.0,
        };
        self.benchmark = Some(benchmark);
        self.ratios.clear();
    }

    /// Takes in how long a finished task took, as a multiple of what was expected of it on this machine. What is no positive number
    /// is left out: nothing was expected, or nothing measured.
    pub fn observe(&mut self, ratio: f64) {
        if !(ratio.is_finite() && ratio > 0.0) {
            return;
        }
        if self.ratios.len() == DRIFT_WINDOW {
            self.ratios.pop_front();
        }
        self.ratios.push_back(ratio);
    }

    /// Whether the benchmark has to be run again, and why. `now_ms` counts from 1970, in milliseconds.
    pub fn rerun(&self, now: &Fingerprint, now_ms: u64) -> Option<Rerun> {
        let Some(benchmark) = &self.benchmark else { return Some(Rerun::Never) };
        if let Some(what) = difference(&benchmark.fingerprint, now) {
            return Some(Rerun::Changed(what));
        }
        if benchmark.measured_at_ms > now_ms.saturating_add(CLOCK_SLACK_MS) {
            return Some(Rerun::Future);
        }
        let age_ms = now_ms.saturating_sub(benchmark.measured_at_ms);
        if age_ms > AGE_MS_MAX {
            return Some(Rerun::Old { age_ms });
        }
        let ratio = self.median().filter(|_| age_ms >= DRIFT_PAUSE_MS)?;
        ((ratio / self.usual - 1.0).abs() > DRIFT_MAX).then_some(Rerun::Drifted { ratio })
    }

    /// The median of a full window: a few tasks that waited for a disk do not move it.
    fn median(&self) -> Option<f64> {
        if self.ratios.len() < DRIFT_WINDOW {
            return None;
        }
        let mut sorted: Vec<f64> = self.ratios.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

fn difference(then: &Fingerprint, now: &Fingerprint) -> Option<&'static str> {
    let differs = [
        (then.cpu != now.cpu, "the processor"),
        (then.microcode != now.microcode, "the processor's microcode"),
        (then.cores != now.cores, "the number of cores"),
        (then.kernel != now.kernel, "the kernel"),
        (then.program != now.program, "this program's version"),
    ];
    differs.iter().find(|(differs, _)| *differs).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests;
