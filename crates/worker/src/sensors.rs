//! Read the machine: time, load of other programs, power, heat, and whether somebody is there.
//!
//! Everything comes from files that Linux keeps: no library, no daemon, no privilege. What cannot be known is `None`, and a policy
//! that asks for it says so instead of guessing. The folders are parameters ([`Roots`]): a container may see its host's elsewhere.

mod cpu;
mod heat;
mod local_time;
mod power;
mod touch;

use std::path::{Path, PathBuf};
use std::time::Instant;

use gristmill_owner::{Moment, Sensors};
use serde::{Deserialize, Serialize};

use crate::guard::Senses;

/// A file of a sensor is read up to so many bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Entries of a folder of sensors that are looked at.
const ENTRIES_MAX: usize = 4_096;
/// Power and heat change slowly, and some chips take milliseconds to answer: they are asked so often, in milliseconds.
const SLOW_EVERY_MS: u64 = 1_000;

/// Where the kernel's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roots {
    /// Processes and times: `stat`, `net/unix`.
    pub proc: PathBuf,
    /// Devices: `class/power_supply`, `class/thermal`, `class/hwmon`.
    pub sys: PathBuf,
    /// Device files: `input/event*`, `tty*`, `pts/*`.
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), dev: "/dev".into() }
    }
}

/// The machine that this program runs on.
#[derive(Debug)]
pub struct Machine {
    roots: Roots,
    began: Instant,
    cpu: cpu::Meter,
    touch: touch::Watch,
    slow: Option<Slow>,
}

/// What was read of power and heat, and when.
#[derive(Clone, Copy, Debug)]
struct Slow {
    at_ms: u64,
    power: power::Power,
    temperature: Option<f64>,
}

impl Machine {
    /// Reads below these folders.
    pub fn new(roots: Roots) -> Self {
        let (cpu, touch) = (cpu::Meter::new(roots.proc.clone()), touch::Watch::new(&roots));
        Self { roots, began: Instant::now(), cpu, touch, slow: None }
    }
}

impl Senses for Machine {
    fn moment(&mut self) -> Moment {
        let (weekday, minute) = local_time::now();
        Moment { monotonic_ms: self.began.elapsed().as_millis() as u64, weekday, minute }
    }

    fn sensors(&mut self, now: Moment) -> Sensors {
        let now_ms = now.monotonic_ms;
        let slow = match self.slow {
            Some(slow) if now_ms.saturating_sub(slow.at_ms) < SLOW_EVERY_MS => slow,
            _ => {
                let (power, temperature) = (power::read(&self.roots.sys), heat::read(&self.roots.sys));
                *self.slow.insert(Slow { at_ms: now_ms, power, temperature })
            }
        };
        Sensors {
            untouched_ms: self.touch.untouched_ms(now_ms),
            load: self.cpu.load(now_ms),
            mains: slow.power.mains,
            charge: slow.power.charge,
            temperature: slow.temperature,
        }
    }
}

/// A small file of the kernel's, without the line's end; `None` when it is not there or does not answer.
fn text_of(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}

/// A number in such a file.
fn number_in(path: &Path) -> Option<i64> {
    text_of(path)?.parse().ok()
}

/// The entries of a folder whose names begin so, sorted; none when there is no such folder.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)))
        .map(|entry| entry.path())
        .take(ENTRIES_MAX)
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests;
