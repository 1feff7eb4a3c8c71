//! The machine as a whole.

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use crate::cdi;
use crate::cgroup::Limits;
use crate::cpu::Cpu;
use crate::drift::Fingerprint;
use crate::gpu::{self, Gpu};
use crate::places::{Places, clean, value_of};
use crate::system::{Substrate, System};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
/// Bytes of a region's name.
pub const REGION_BYTES_MAX: usize = 64;
/// What no single machine draws, in watts.
pub const WATTS_MAX: f64 = 100_000.0;

/// What the owner tells, because the machine cannot know it: part of a settings file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Told {
    /// Where it stands, in words that pools of this network use: `eu-west`, `CH`. Letters, digits, `-`, `_`, `.` and `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What it draws at work, in watts, above 0. Goes before what is measured, which leaves out all but the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
}

/// What the owner told makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ToldError {
    /// No name of a region.
    #[error("region = {region:?}: write 1 to {REGION_BYTES_MAX} letters, digits and - _ . /, such as eu-west")]
    Region {
        /// What was told.
        region: String,
    },
    /// No power that a machine can have.
    #[error("watts = {watts}: write a number above 0, at most {WATTS_MAX}")]
    Watts {
        /// What was told.
        watts: f64,
    },
}

impl Told {
    /// Looks whether it makes sense.
    ///
    /// # Errors
    /// [`ToldError`] names the first that does not.
    pub fn check(&self) -> Result<(), ToldError> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let named = |text: &str| (1..=REGION_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter);
        if let Some(region) = self.region.as_ref().filter(|region| !named(region)) {
            return Err(ToldError::Region { region: region.clone() });
        }
        match self.watts {
            Some(watts) if !(watts > 0.0 && watts <= WATTS_MAX) => Err(ToldError::Watts { watts }),
            _ => Ok(()),
        }
    }
}

/// What a machine is. Each part is `None` or empty where it cannot be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// By Rust's name: `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// The processor.
    pub cpu: Cpu,
    /// Cores that this process can keep busy, at least 1: those that are online and allowed, and no more than its cgroups give time for.
    pub cores: Option<u32>,
    /// The cgroups' limit of time, in cores.
    pub cpu_quota: Option<f64>,
    /// Memory of the machine, in MiB.
    pub memory_detected_mib: Option<u64>,
    /// What this process may use of it, in MiB, by its cgroups. What others use now is not taken off.
    pub memory_mib: Option<u64>,
    /// Free space where the worker's data is, for users that are not root, in MiB.
    pub disk_free_mib: Option<u64>,
    /// Graphics processors that could be given to a task, by place.
    pub gpus: Vec<Gpu>,
    /// Devices that are described for containers, as `vendor/class=device`, sorted.
    pub cdi_devices: Vec<String>,
    /// The operating system.
    pub system: System,
    /// Virtual or not.
    pub substrate: Option<Substrate>,
    /// What the owner told; what makes no sense of it is left out.
    pub told: Told,
}

impl Machine {
    /// Looks at the machine. Takes a few milliseconds, reads files only, and never fails: what cannot be known is left out.
    pub fn look(places: &Places, told: &Told) -> Self {
        let cpu = Cpu::look(places);
        let limits = Limits::look(places);
        let memory = places.text("proc/meminfo").as_deref().and_then(memory_total);
        let whole = limits.cores.map(|cores| cores.max(1.0) as u32);
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            architecture: places.architecture,
            cores: cpu.allowed.map(|cores| whole.map_or(cores, |whole| whole.min(cores))).or(whole),
            cpu_quota: limits.cores,
            memory_detected_mib: memory.map(|bytes| bytes / MIB),
            // A limit alone says nothing: version 1 writes a huge number for none.
            memory_mib: memory.and_then(|bytes| least(Some(bytes), limits.memory_bytes)).map(|bytes| bytes / MIB),
            disk_free_mib: disk_free(places),
            gpus: gpu::look(places),
            cdi_devices: cdi::look(places),
            system: System::look(places),
            substrate: Substrate::look(places, &cpu),
            told: sensible(told),
            cpu,
        }
    }

    /// What a benchmark of this machine is good for: the same machine with the same kernel and the same program.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            cpu: self.cpu.model.clone(),
            microcode: self.cpu.microcode.clone(),
            cores: self.cores,
            kernel: self.system.kernel.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The owner's words, each for itself.
fn sensible(told: &Told) -> Told {
    let region = Told { region: told.region.clone(), watts: None };
    let watts = Told { region: None, watts: told.watts };
    Told {
        region: region.check().is_ok().then_some(region.region).flatten().as_deref().and_then(clean),
        watts: watts.check().is_ok().then_some(watts.watts).flatten(),
    }
}

/// `MemTotal:       24683656 kB`, in bytes.
fn memory_total(text: &str) -> Option<u64> {
    let kib: u64 = value_of(text, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(KIB).filter(|bytes| *bytes > 0)
}

fn disk_free(places: &Places) -> Option<u64> {
    let disk = statvfs(&places.data).ok()?;
    // The types differ between architectures.
    #[allow(clippy::unnecessary_cast, reason = "narrower on other architectures")]
    let (blocks, size) = (disk.blocks_available() as u64, disk.fragment_size() as u64);
    Some(blocks.checked_mul(size)? / MIB)
}
