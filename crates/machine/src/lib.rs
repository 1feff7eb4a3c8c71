//! Say what a machine is: look at it, measure how quick one of its cores is, and write both down in an ad for pools.
//!
//! [`Machine::look`] reads the files in which Linux describes the machine: no library, no daemon, no privilege. What it finds is
//! what this process may use, not what the hardware has: a worker in a container offers what its cgroups and its affinity leave it.
//! [`Machine::ad`] makes the ad of it. [`Benchmark::run`] times three kernels in less than a second, in units of the reference
//! machine, so that a category's time means the same everywhere; [`Drift`] says when to run it again. [`Watts`] measures what the
//! processor draws, where it can be measured. [`CdiDevices`] reads what containers are to be given for a device.
//!
//! What cannot be known is left out, never guessed, and a file that makes no sense is one that says nothing.
//!
//! ```
//! use gristmill_classad::{ClassAd, matches};
//! use gristmill_machine::{Extras, Lent, Machine, Places, Told};
//!
//! let told = Told { region: Some("eu-west".into()), watts: None };
//! let machine = Machine::look(&Places::of_this_machine("."), &told);
//! let ad = machine.ad(&Extras { lent: Lent { cores: Some(1), ..Lent::default() }, ..Extras::default() })?;
//! let job = ClassAd::parse(r#"[ Requirements = OpSys == "LINUX" && Cpus == 1 && Region == "eu-west" && Watts is undefined ]"#)?;
//! assert!(matches(&ad, &job));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The ad
//!
//! Names, types and units are HTCondor's where it has the attribute (marked C). An attribute that is not known is not in the ad.
//! The host's name and serial numbers are never in it.
//!
//! | Attribute | | Unit, values | From |
//! |---|---|---|---|
//! | `Arch` | C | `"X86_64"`, `"aarch64"` | what the program was built for |
//! | `CDIDevices` | | list of `"vendor/class=device"` | descriptions in `/etc/cdi`, `/var/run/cdi` |
//! | `CpuFamily`, `CpuModel` | C | numbers of x86 | `/proc/cpuinfo` |
//! | `CpuModelName` | | text; on ARM `"ARM implementer:part ..."` | `/proc/cpuinfo` |
//! | `CpuQuota` | | cores' worth of time, real; absent without a limit | cgroup `cpu.max`, `cpu.cfs_quota_us` |
//! | `Cpus` | C | cores that are lent | `TotalCpus`, [`Lent`] |
//! | `DetectedCpus` | C | processors that are online | `/sys/devices/system/cpu/online`, `/proc/cpuinfo` |
//! | `DetectedMemory` | C | MiB | `/proc/meminfo` |
//! | `Disk` | C | KiB that are lent | `TotalDisk`, [`Lent`] |
//! | `Features` | | list, by the kernel's names; those that programs ask for and every core has | `/proc/cpuinfo` |
//! | `GPUs` | C | how many could be given to a task | nodes in `/dev/dri`, `/dev/nvidia*` |
//! | `GPUDevices` | | list of ads: `DeviceId`, `DeviceName`, `DevicePciBusId`, `Driver`, `GlobalMemoryMb` (MiB), `Vendor`, `VendorId` | `/sys/class/drm`, `/proc/driver/nvidia` |
//! | `GristmillVersion` | | text | this program |
//! | `GuaranteesMissing` | | list of sentences | [`Extras`] |
//! | `Hypervisor` | | `"kvm"`, `"xen"`, `"vmware"`, ... | `/sys/class/dmi`, `/sys/hypervisor` |
//! | `Memory` | C | MiB that are lent | `TotalMemory`, [`Lent`] |
//! | `Microarch` | C | `"x86_64-v1"` to `"x86_64-v4"` | `/proc/cpuinfo` |
//! | `MyType` | C | `"Machine"` | |
//! | `OpSys` | C | `"LINUX"` | |
//! | `OpSysAndVer`, `OpSysName`, `OpSysLongName` | C | `"Debian12"`, `"Debian"`, `"Debian GNU/Linux 12 (bookworm)"` | `/etc/os-release` |
//! | `OpSysMajorVer`, `OpSysVer` | C | 22, 2204 for 22.04 | `/etc/os-release` |
//! | `Profiles` | | list of names of engine profiles | [`Extras`] |
//! | `Region` | | text | [`Told`] |
//! | `Requirements`, `Start` | C | expressions; `Requirements` is `Start` if only that is given, and `true` without either | [`Extras`] |
//! | `Score` | | the worker's score on the ledger | [`Extras`] |
//! | `Speed` | | geometric mean of the three below | [`Benchmark`] |
//! | `SpeedFloat`, `SpeedInteger`, `SpeedMemory` | | one core, as a multiple of the reference machine's | [`Benchmark`] |
//! | `TasksDone`, `TasksFailed` | | tasks | [`Extras`] |
//! | `TotalCpus` | C | cores that can be used: online, allowed, within the quota | `/proc/self/status`, cgroups |
//! | `TotalDisk` | C | KiB that are free at the data folder | `statvfs` |
//! | `TotalMemory` | C | MiB that can be used | `/proc/meminfo`, cgroup `memory.max`, `memory.high`, `memory.limit_in_bytes` |
//! | `UtsnameRelease` | C | the kernel's release | `/proc/sys/kernel/osrelease` |
//! | `VirtualMachine` | | boolean | `/proc/cpuinfo`, `/sys/class/dmi`, `/proc/device-tree`, `/sys/hypervisor` |
//! | `Watts` | | W; processors only if measured | [`Told`], else [`Watts`] |
//! | `WattsSource` | | `"told"`, `"rapl"` | |
//! | `has_avx`, `has_avx2`, `has_avx512_vnni`, `has_avx512dq`, `has_avx512f`, `has_sse4_1`, `has_sse4_2`, `has_ssse3` | C | booleans, on x86 | `/proc/cpuinfo` |

mod ad;
mod benchmark;
mod cdi;
mod cgroup;
mod cpu;
mod drift;
mod gpu;
mod look;
mod places;
mod system;
#[cfg(test)]
mod tests;
mod watts;

pub use ad::{
    AD_BYTES_MAX, AdError, EXPRESSION_BYTES_MAX, Extras, GPUS_MAX, GUARANTEE_BYTES_MAX, GUARANTEES_MAX, History, Lent,
    PROFILES_MAX,
};
pub use benchmark::{
    BENCHMARK_VERSION, Benchmark, BenchmarkError, ENCODED_BYTES_MAX, KERNEL_TIME_MAX, Kernel, REFERENCE, rates,
};
pub use cdi::{CDI_BYTES_MAX, CDI_DEVICES_MAX, CdiDevice, CdiDevices, CdiError, CdiLink, CdiMount, CdiNode};
pub use cpu::{Cpu, Level};
pub use drift::{AGE_MS_MAX, CLOCK_SLACK_MS, DRIFT_MAX, DRIFT_PAUSE_MS, DRIFT_WINDOW, Drift, Fingerprint, Rerun};
pub use gpu::Gpu;
pub use look::{Machine, REGION_BYTES_MAX, Told, ToldError, WATTS_MAX};
pub use places::Places;
pub use system::{Substrate, System};
pub use watts::{MEASURE_MIN, Watts, WattsError};
