//! Write the machine down as an ad.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_classad::{ClassAd, Expr, Name, Value};

use crate::benchmark::Benchmark;
use crate::cdi;
use crate::cpu::Level;
use crate::gpu::Gpu;
use crate::look::{Machine, REGION_BYTES_MAX, WATTS_MAX};
use crate::places::{TEXT_BYTES_MAX, clean_to};
use crate::system::Substrate;

/// An ad has at most so many bytes as text, whatever the machine and its owner say. A usual one has about 1,500.
pub const AD_BYTES_MAX: usize = 32 << 10;
/// Bytes of the owner's `Start`, and of `Requirements`, each, as text.
pub const EXPRESSION_BYTES_MAX: usize = 2_048;
/// Graphics processors that are described; `GPUs` counts them all.
pub const GPUS_MAX: usize = 16;
/// Bytes of each text on a graphics processor.
const DEVICE_TEXT_BYTES_MAX: usize = 48;
/// Engine profiles that are listed.
pub const PROFILES_MAX: usize = 16;
/// Missing guarantees that are listed.
pub const GUARANTEES_MAX: usize = 16;
/// Bytes of the sentence that names one.
pub const GUARANTEE_BYTES_MAX: usize = 256;

/// HTCondor's names for features that it knows.
const HAS: [(&str, &str); 8] = [
    ("has_avx", "avx"),
    ("has_avx2", "avx2"),
    ("has_avx512_vnni", "avx512_vnni"),
    ("has_avx512dq", "avx512dq"),
    ("has_avx512f", "avx512f"),
    ("has_sse4_1", "sse4_1"),
    ("has_sse4_2", "sse4_2"),
    ("has_ssse3", "ssse3"),
];

/// What others than the machine itself know of it. All of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// What of it is lent.
    pub lent: Lent,
    /// How quick it is.
    pub benchmark: Option<Benchmark>,
    /// What was measured with [`crate::Watts`]. What the owner told goes before it.
    pub watts_measured: Option<f64>,
    /// The worker's score on the ledger.
    pub score: Option<u64>,
    /// What became of its tasks.
    pub history: Option<History>,
    /// Engine profiles that it can run, by their names.
    pub profiles: Vec<String>,
    /// Guarantees that its sandboxes cannot give here, a sentence each.
    pub guarantees_missing: Vec<String>,
    /// Whether a task may start, as the owner says.
    pub start: Option<Expr>,
    /// What a job must be like. If it is left out, `Start` says; without that, anything goes.
    pub requirements: Option<Expr>,
}

/// What the owner lends of the machine; all of it if nothing is said. More than there is counts as all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lent {
    /// Cores.
    pub cores: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Disk in MiB.
    pub disk_mib: Option<u64>,
}

/// How reliable the machine was until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Tasks that it took and brought to an accepted result.
    pub tasks_done: u64,
    /// Tasks that it took and did not.
    pub tasks_failed: u64,
}

/// An ad that cannot be made: what the owner wants must not be cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdError {
    /// An expression is too long.
    #[error("{attribute} has {got} bytes: an expression of a machine's ad may have {EXPRESSION_BYTES_MAX}")]
    Expression {
        /// `Start` or `Requirements`.
        attribute: &'static str,
        /// Its length in bytes.
        got: usize,
    },
}

impl Machine {
    /// The machine as an ad: the attributes that the table of this crate's documentation lists, sorted by name. What is not known is
    /// left out, and so `undefined` to whoever asks. The same machine and the same extras give the same ad.
    ///
    /// # Errors
    /// [`AdError`] when `start` or `requirements` is too long. Longer lists and names are cut.
    pub fn ad(&self, extras: &Extras) -> Result<ClassAd, AdError> {
        let mut draft = Draft::default();
        draft.text("MyType", Some("Machine"));
        draft.text("GristmillVersion", Some(env!("CARGO_PKG_VERSION")));
        self.write_processor(&mut draft);
        self.write_sizes(&mut draft, extras.lent);
        self.write_system(&mut draft);
        self.write_devices(&mut draft);
        self.write_power(&mut draft, extras.watts_measured);
        write_standing(&mut draft, extras);
        write_wishes(&mut draft, extras)?;
        Ok(draft.ad())
    }

    fn write_processor(&self, draft: &mut Draft) {
        let x86 = self.architecture == "x86_64";
        draft.text("Arch", Some(if x86 { "X86_64" } else { self.architecture }));
        draft.text("Microarch", self.cpu.level.map(|level: Level| level.to_string()).as_deref());
        draft.text("CpuModelName", self.cpu.model.as_deref());
        draft.count("CpuFamily", self.cpu.family);
        draft.count("CpuModel", self.cpu.model_number);
        // An empty list would say that there are none; but then the kernel has not told.
        if !self.cpu.features.is_empty() {
            draft.texts("Features", &self.cpu.features, usize::MAX, TEXT_BYTES_MAX);
            for (name, feature) in HAS.into_iter().filter(|_| x86) {
                draft.put(name, Value::from(self.cpu.features.contains(&feature)));
            }
        }
    }

    fn write_sizes(&self, draft: &mut Draft, lent: Lent) {
        let part = |all: Option<u64>, lent: Option<u64>| all.map(|all| lent.map_or(all, |lent| lent.min(all)));
        let cores = self.cores.map(u64::from);
        draft.count("DetectedCpus", self.cpu.online.map(u64::from));
        draft.count("TotalCpus", cores);
        draft.count("Cpus", part(cores, lent.cores.map(u64::from)));
        draft.real("CpuQuota", self.cpu_quota, 100.0);
        draft.count("DetectedMemory", self.memory_detected_mib);
        draft.count("TotalMemory", self.memory_mib);
        draft.count("Memory", part(self.memory_mib, lent.memory_mib));
        let kib = |mib: Option<u64>| mib.map(|mib| mib.saturating_mul(1_024));
        draft.count("TotalDisk", kib(self.disk_free_mib));
        draft.count("Disk", kib(part(self.disk_free_mib, lent.disk_mib)));
    }

    fn write_system(&self, draft: &mut Draft) {
        let system = &self.system;
        let name = system.name.as_deref();
        draft.text("OpSys", Some("LINUX"));
        draft.text("OpSysName", name);
        draft.text("OpSysLongName", system.long_name.as_deref());
        draft.count("OpSysMajorVer", system.major);
        draft.count("OpSysVer", system.major.map(|major| major * 100 + system.minor.unwrap_or(0)));
        let major = system.major.map(|major| major.to_string()).unwrap_or_default();
        draft.text("OpSysAndVer", name.map(|name| format!("{name}{major}")).as_deref());
        draft.text("UtsnameRelease", system.kernel.as_deref());
        if let Some(substrate) = &self.substrate {
            draft.put("VirtualMachine", Value::from(matches!(substrate, Substrate::Virtual(_))));
            if let Substrate::Virtual(hypervisor) = substrate {
                draft.text("Hypervisor", *hypervisor);
            }
        }
    }

    fn write_devices(&self, draft: &mut Draft) {
        draft.count("GPUs", Some(self.gpus.len() as u64));
        let gpus = self.gpus.iter().take(GPUS_MAX).map(|gpu| Value::Ad(Arc::new(gpu_ad(gpu))));
        draft.put("GPUDevices", Value::List(gpus.collect()));
        draft.texts("CDIDevices", &self.cdi_devices, cdi::DEVICES_MAX, cdi::NAME_BYTES_MAX);
    }

    fn write_power(&self, draft: &mut Draft, measured: Option<f64>) {
        let told = self.told.watts;
        let measured = measured.filter(|watts| *watts > 0.0 && *watts <= WATTS_MAX);
        draft.real("Watts", told.or(measured), 10.0);
        draft.text("WattsSource", told.map(|_| "told").or(measured.map(|_| "rapl")));
        draft.put_text("Region", self.told.region.as_deref(), REGION_BYTES_MAX);
    }
}

fn gpu_ad(gpu: &Gpu) -> ClassAd {
    let mut draft = Draft::default();
    draft.put_text("Vendor", gpu.vendor.as_deref(), DEVICE_TEXT_BYTES_MAX);
    draft.count("VendorId", gpu.vendor_id.map(u64::from));
    draft.count("DeviceId", gpu.device_id.map(u64::from));
    draft.put_text("DeviceName", gpu.name.as_deref(), DEVICE_TEXT_BYTES_MAX);
    draft.put_text("DevicePciBusId", gpu.bus.as_deref(), DEVICE_TEXT_BYTES_MAX);
    draft.put_text("Driver", gpu.driver.as_deref(), DEVICE_TEXT_BYTES_MAX);
    draft.count("GlobalMemoryMb", gpu.memory_mib);
    draft.ad()
}

/// What is known by watching it.
fn write_standing(draft: &mut Draft, extras: &Extras) {
    if let Some(benchmark) = &extras.benchmark {
        for (name, speed) in [
            ("Speed", benchmark.speed()),
            ("SpeedFloat", benchmark.float),
            ("SpeedInteger", benchmark.integer),
            ("SpeedMemory", benchmark.memory),
        ] {
            draft.real(name, Some(speed), 1_000.0);
        }
    }
    draft.count("Score", extras.score);
    draft.count("TasksDone", extras.history.map(|history| history.tasks_done));
    draft.count("TasksFailed", extras.history.map(|history| history.tasks_failed));
    draft.texts("Profiles", &extras.profiles, PROFILES_MAX, TEXT_BYTES_MAX);
    draft.texts("GuaranteesMissing", &extras.guarantees_missing, GUARANTEES_MAX, GUARANTEE_BYTES_MAX);
}

fn write_wishes(draft: &mut Draft, extras: &Extras) -> Result<(), AdError> {
    for (attribute, wish) in [("Start", &extras.start), ("Requirements", &extras.requirements)] {
        let Some(wish) = wish else { continue };
        let got = wish.to_string().len();
        if got > EXPRESSION_BYTES_MAX {
            return Err(AdError::Expression { attribute, got });
        }
        draft.put(attribute, wish.clone());
    }
    if extras.requirements.is_none() {
        // An ad without requirements matches nothing.
        let start = extras.start.as_ref().and_then(|_| Name::new("Start").ok());
        draft.put("Requirements", start.map_or_else(|| Expr::constant(Value::from(true)), Expr::attribute));
    }
    Ok(())
}

/// Attributes by name.
#[derive(Default)]
struct Draft(BTreeMap<String, (&'static str, Expr)>);

impl Draft {
    fn put(&mut self, name: &'static str, value: impl Into<Expr>) {
        self.0.insert(name.to_ascii_lowercase(), (name, value.into()));
    }

    fn count(&mut self, name: &'static str, count: Option<u64>) {
        if let Some(count) = count {
            self.put(name, Value::from(i64::try_from(count).unwrap_or(i64::MAX)));
        }
    }

    /// A number, kept to a part of 1 / `scale`.
    fn real(&mut self, name: &'static str, number: Option<f64>, scale: f64) {
        if let Some(number) = number.filter(|number| number.is_finite()) {
            self.put(name, Value::from((number * scale).round() / scale));
        }
    }

    fn text(&mut self, name: &'static str, text: Option<&str>) {
        self.put_text(name, text, TEXT_BYTES_MAX);
    }

    fn put_text(&mut self, name: &'static str, text: Option<&str>, bytes_max: usize) {
        if let Some(text) = text.and_then(|text| clean_to(text, bytes_max)) {
            self.put(name, Value::from(text));
        }
    }

    fn texts(&mut self, name: &'static str, texts: &[impl AsRef<str>], count_max: usize, bytes_max: usize) {
        let texts = texts.iter().filter_map(|text| clean_to(text.as_ref(), bytes_max)).take(count_max);
        self.put(name, Value::List(texts.map(Value::from).collect()));
    }

    fn ad(self) -> ClassAd {
        let mut ad = ClassAd::new();
        for (name, value) in self.0.into_values() {
            // INVARIANT: the names are ours, and some fifty: none is refused and there is room for all.
            ad.insert(name, value).expect("an attribute of ours fits into an ad");
        }
        ad
    }
}
