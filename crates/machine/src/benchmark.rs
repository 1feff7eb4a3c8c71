//! Measure how quick one core is, in units of the reference machine's.

mod kernels;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::drift::Fingerprint;
use kernels::{Answer, Memory};

/// The reference machine, whose speeds are 1, by the rounds of each kernel that one core of it does in a second: a server of x86-64-v3
/// at 2.45 GHz, `AMD EPYC` in `/proc/cpuinfo` (family 25, model 1, 512 KiB of second-level and 32 MiB of third-level cache), as a
/// virtual machine, under a program built for plain x86-64. The figures are medians of those 31 of 85 runs in which the core was not
/// shared; while a neighbour used its other hardware thread it did 0.7 of them in the first two kernels, and 0.97 in the third.
pub const REFERENCE: [(Kernel, f64); 3] = [(Kernel::Integer, 495.0), (Kernel::Float, 660.0), (Kernel::Memory, 631.0)];

/// A kernel is repeated so long: three of them, and making the buffers, take less than a second together.
pub const KERNEL_TIME_MAX: Duration = Duration::from_millis(220);
/// Rounds of a kernel at least, on however slow a machine.
const ROUNDS_MIN: usize = 3;
/// Rounds of a kernel at most, on however quick a machine.
const ROUNDS_MAX: usize = 10_000;
/// A stored benchmark has at most so many bytes.
pub const ENCODED_BYTES_MAX: usize = 4_096;
/// Raised with any change of the kernels or of the reference: figures of other versions are not to be compared.
pub const BENCHMARK_VERSION: u32 = 1;
/// Speeds beyond this, or below its inverse, are a broken clock's.
const SPEED_MAX: f64 = 1_000.0;
/// Digits after the point that are kept: what is beyond is noise.
const DECIMALS: f64 = 1_000.0;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Whole numbers and branches.
    Integer,
    /// Floating point, double precision.
    Float,
    /// Memory beyond the caches: its latency and its bandwidth.
    Memory,
}

/// How quick one core of a machine is: each figure a multiple of the reference machine's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// [`BENCHMARK_VERSION`] of who measured.
    pub version: u32,
    /// Whole numbers and branches.
    pub integer: f64,
    /// Floating point.
    pub float: f64,
    /// Memory.
    pub memory: f64,
    /// When it was measured, in milliseconds since 1970.
    pub measured_at_ms: u64,
    /// What was measured.
    pub fingerprint: Fingerprint,
}

/// There is no benchmark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchmarkError {
    /// The machine computes wrongly.
    #[error(
        "this machine computes wrongly: the benchmark's {kernel:?} kernel gave {got:#x} instead of {expected:#x}. Its results would \
         not agree with others': test its memory and processor, and undo overclocking, before it works"
    )]
    Wrong {
        /// What was computed.
        kernel: Kernel,
        /// What came out.
        got: u64,
        /// What had to.
        expected: u64,
    },
    /// What was stored is no benchmark.
    #[error("the stored benchmark is not readable: run it again")]
    Malformed(#[source] serde_json::Error),
    /// What was stored is too long to be one.
    #[error("the stored benchmark has {got} bytes, more than {ENCODED_BYTES_MAX}: run it again")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// It was made by another version of the kernels.
    #[error("the stored benchmark is of version {got}, this program's is {BENCHMARK_VERSION}: run it again")]
    Version {
        /// Its version.
        got: u32,
    },
    /// A figure that no machine has.
    #[error("the benchmark's speed of {speed} is that of no machine: run it again")]
    Range {
        /// The figure.
        speed: f64,
    },
}

impl Benchmark {
    /// Measures one core, the one that this thread is on; takes less than a second on most machines. Best on an idle one: the quicker
    /// quarter of the rounds counts, which passes over interruptions, but nothing makes up for a neighbour that fills the caches.
    ///
    /// # Errors
    /// [`BenchmarkError::Wrong`]: a machine that computes wrongly should not work. [`BenchmarkError::Range`]: a broken clock.
    pub fn run(fingerprint: Fingerprint, now_ms: u64) -> Result<Self, BenchmarkError> {
        let rates = rates()?;
        let [integer, float, memory] = std::array::from_fn(|at| {
            let speed = rates[at] / REFERENCE[at].1;
            (speed * DECIMALS).round() / DECIMALS
        });
        let benchmark =
            Self { version: BENCHMARK_VERSION, integer, float, memory, measured_at_ms: now_ms, fingerprint };
        benchmark.check()?;
        Ok(benchmark)
    }

    /// The one figure: the geometric mean of the three, so that it does not matter which machine is the reference.
    pub fn speed(&self) -> f64 {
        let mean = (self.integer * self.float * self.memory).cbrt();
        (mean * DECIMALS).round() / DECIMALS
    }

    /// As JSON, for a file.
    pub fn encode(&self) -> String {
        // INVARIANT: numbers that passed `check`, and text: there is nothing that JSON cannot say.
        serde_json::to_string_pretty(self).expect("a benchmark is JSON")
    }

    /// Reads what [`Benchmark::encode`] wrote.
    ///
    /// # Errors
    /// [`BenchmarkError`] for all else: run it again then.
    pub fn decode(text: &str) -> Result<Self, BenchmarkError> {
        if text.len() > ENCODED_BYTES_MAX {
            return Err(BenchmarkError::TooLong { got: text.len() });
        }
        let benchmark: Self = serde_json::from_str(text).map_err(BenchmarkError::Malformed)?;
        benchmark.check()?;
        Ok(benchmark)
    }

    fn check(&self) -> Result<(), BenchmarkError> {
        if self.version != BENCHMARK_VERSION {
            return Err(BenchmarkError::Version { got: self.version });
        }
        let possible = |speed: f64| speed >= SPEED_MAX.recip() && speed <= SPEED_MAX;
        match [self.integer, self.float, self.memory].into_iter().find(|speed| !possible(*speed)) {
            Some(speed) => Err(BenchmarkError::Range { speed }),
            None => Ok(()),
        }
    }
}

/// Rounds in a second of each kernel, in the order of [`REFERENCE`]. What [`Benchmark::run`] divides by the reference's.
///
/// # Errors
/// [`BenchmarkError::Wrong`].
pub fn rates() -> Result<[f64; 3], BenchmarkError> {
    let integer = rate(Kernel::Integer, kernels::integer)?;
    let float = rate(Kernel::Float, kernels::float)?;
    let mut memory = Memory::new();
    Ok([integer, float, rate(Kernel::Memory, || memory.round())?])
}

fn rate(kernel: Kernel, mut round: impl FnMut() -> Answer) -> Result<f64, BenchmarkError> {
    // The first round finds cold caches and a sleeping clock: it is not timed.
    check(kernel, round())?;
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < ROUNDS_MIN || (times.len() < ROUNDS_MAX && began.elapsed() < KERNEL_TIME_MAX) {
        let start = Instant::now();
        let answer = round();
        times.push(start.elapsed());
        check(kernel, answer)?;
    }
    times.sort_unstable();
    // A round of no time at all is a broken clock's, and gives a speed that no machine has.
    Ok(times[times.len() / 4].as_secs_f64().recip())
}

fn check(kernel: Kernel, answer: Answer) -> Result<(), BenchmarkError> {
    let Answer { got, expected } = answer;
    if got == expected { Ok(()) } else { Err(BenchmarkError::Wrong { kernel, got, expected }) }
}

#[cfg(test)]
mod tests;
