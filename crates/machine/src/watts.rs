//! Measure what the processor draws, by the energy counters (RAPL) of Intel's and AMD's processors.
//!
//! The counters know the processors' packages, not the rest of the machine: what a plug would show is more. They can be read by root
//! only, since 2020, and virtual machines have none.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::places::{Places, read};

/// The kernel's folder of counters.
const FOLDER: &str = "sys/class/powercap";
/// Packages of a machine that are looked at.
const PACKAGES_MAX: usize = 64;
/// No package draws more. By this is judged whether a counter may have wrapped twice, or has been reset.
const PACKAGE_WATTS_MAX: f64 = 1_000.0;
/// Counters are updated about once in a millisecond: over less than so long a measurement says little.
pub const MEASURE_MIN: Duration = Duration::from_millis(50);

/// Why it is not known what the machine draws.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WattsError {
    /// There is no counter.
    #[error(
        "this machine has no energy counter that the kernel shows (/{FOLDER}/intel-rapl:*): tell its watts instead"
    )]
    NoCounter,
    /// There is one, and it cannot be read.
    #[error("cannot read the energy counter {}: let the worker's user read it, or tell the watts instead", path.display())]
    Closed {
        /// The counter's file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
    /// What it says is no number of its range.
    #[error("the energy counter {} does not give a number within its range", path.display())]
    Nonsense {
        /// The counter's file.
        path: PathBuf,
    },
    /// The time between both looks was too short or too long.
    #[error("energy cannot be measured over {} ms: from {} ms to {} ms can", took.as_millis(), MEASURE_MIN.as_millis(), longest.as_millis())]
    Interval {
        /// The time between both looks.
        took: Duration,
        /// Over more than this a counter may wrap twice.
        longest: Duration,
    },
}

/// A measurement that has begun.
#[derive(Debug)]
pub struct Watts {
    began: Instant,
    packages: Vec<Package>,
}

/// A counter and where it stood, in microjoules.
#[derive(Debug)]
struct Package {
    counter: PathBuf,
    range: u64,
    before: u64,
}

impl Watts {
    /// Begins.
    ///
    /// # Errors
    /// [`WattsError`] where it cannot be measured.
    pub fn begin(places: &Places) -> Result<Self, WattsError> {
        let names = places.names(FOLDER).into_iter().filter(|name| is_package(places, name)).take(PACKAGES_MAX);
        let packages: Vec<Package> = names.map(|name| Package::begin(places, &name)).collect::<Result<_, _>>()?;
        if packages.is_empty() {
            return Err(WattsError::NoCounter);
        }
        Ok(Self { began: Instant::now(), packages })
    }

    /// What all packages together have drawn since, in watts on average.
    ///
    /// # Errors
    /// [`WattsError`] when a counter does not answer any more, or too little or too much time has passed.
    pub fn end(self) -> Result<f64, WattsError> {
        let took = self.began.elapsed();
        self.end_after(took)
    }

    pub(crate) fn end_after(self, took: Duration) -> Result<f64, WattsError> {
        let range = self.packages.iter().map(|package| package.range).min().unwrap_or_default();
        let longest = Duration::from_secs_f64(range as f64 / 1e6 / PACKAGE_WATTS_MAX);
        if took < MEASURE_MIN || took > longest {
            return Err(WattsError::Interval { took, longest });
        }
        let mut joules = 0.0;
        for package in self.packages {
            let used = package.used()? as f64 / 1e6;
            if used > PACKAGE_WATTS_MAX * took.as_secs_f64() {
                return Err(WattsError::Nonsense { path: package.counter });
            }
            joules += used;
        }
        Ok(joules / took.as_secs_f64())
    }
}

impl Package {
    fn begin(places: &Places, name: &str) -> Result<Self, WattsError> {
        let counter = places.at(&format!("{FOLDER}/{name}/energy_uj"));
        let range = places.number(&format!("{FOLDER}/{name}/max_energy_range_uj")).filter(|range| *range > 0);
        let range = range.ok_or_else(|| WattsError::Nonsense { path: counter.clone() })?;
        let mut package = Self { counter, range, before: 0 };
        package.before = package.now()?;
        Ok(package)
    }

    fn now(&self) -> Result<u64, WattsError> {
        let text = read(&self.counter).map_err(|source| WattsError::Closed { path: self.counter.clone(), source })?;
        let number = text.and_then(|text| text.parse().ok()).filter(|energy| *energy <= self.range);
        number.ok_or_else(|| WattsError::Nonsense { path: self.counter.clone() })
    }

    /// Microjoules since the beginning; the counter begins anew at 0 after its range.
    fn used(&self) -> Result<u64, WattsError> {
        let now = self.now()?;
        Ok(if now >= self.before { now - self.before } else { self.range - self.before + now })
    }
}

/// `intel-rapl:0` is a package or a whole platform, its name tells; `intel-rapl:0:1` is a part of a package, and
/// `intel-rapl-mmio:0` the same package by another way.
fn is_package(places: &Places, name: &str) -> bool {
    name.strip_prefix("intel-rapl:").is_some_and(|number| !number.contains(':'))
        && places.text(&format!("{FOLDER}/{name}/name")).is_some_and(|name| name.starts_with("package"))
}
