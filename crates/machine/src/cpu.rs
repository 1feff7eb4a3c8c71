//! The processor: `/proc/cpuinfo`, which processors are online, and which this process may use.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::places::{Places, clean, value_of};

/// Processors of a machine that are counted.
const PROCESSORS_MAX: u32 = 8_192;
/// Kinds of cores of an ARM machine that are named: large and small ones, rarely three kinds.
const PARTS_MAX: usize = 4;

/// Which level of the x86-64 psABI a processor reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every x86-64.
    V1,
    /// About 2009: SSE 4.2, POPCNT.
    V2,
    /// About 2013: AVX2, FMA, BMI.
    V3,
    /// AVX-512 F, BW, CD, DQ, VL.
    V4,
}

/// What each level adds, by the kernel's names: `pni` is SSE3, `abm` has LZCNT, and `xsave` is only shown where the kernel uses it.
const LEVELS: [(Level, &[&str]); 4] = [
    (Level::V1, &["cmov", "cx8", "fpu", "fxsr", "lm", "mmx", "sse", "sse2", "syscall"]),
    (Level::V2, &["cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"]),
    (Level::V3, &["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"]),
    (Level::V4, &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"]),
];

/// The features that a program may want to know of, by the kernel's names. The others say more about the kernel than about the
/// machine, and a full list would tell machines apart that are alike.
#[rustfmt::skip]
const X86_FEATURES: &[&str] = &[
    "abm", "adx", "aes", "amx_bf16", "amx_int8", "amx_tile", "avx", "avx2", "avx512_bf16", "avx512_fp16", "avx512_vbmi2",
    "avx512_vnni", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512ifma", "avx512vbmi", "avx512vl", "avx_vnni", "bmi1", "bmi2",
    "cx16", "f16c", "fma", "gfni", "lahf_lm", "movbe", "pclmulqdq", "pni", "popcnt", "rdrand", "rdseed", "sha_ni", "sse4_1", "sse4_2",
    "ssse3", "vaes", "vpclmulqdq", "xsave",
];
#[rustfmt::skip]
const ARM_FEATURES: &[&str] = &[
    "aes", "asimd", "asimddp", "asimdfhm", "asimdhp", "atomics", "bf16", "crc32", "dcpop", "fcma", "flagm", "fp", "fphp", "i8mm",
    "jscvt", "lrcpc", "paca", "pmull", "rng", "sha1", "sha2", "sha3", "sha512", "sm3", "sm4", "sme", "sve", "sve2", "svebf16",
    "svei8mm", "uscat",
];

/// What is known of the processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Its name, as the kernel writes it; on ARM the implementer and part of each kind of core.
    pub model: Option<String>,
    /// `cpu family` of x86.
    pub family: Option<u64>,
    /// `model` of x86, the number.
    pub model_number: Option<u64>,
    /// The microcode's version.
    pub microcode: Option<String>,
    /// Level of x86-64. `None` on another architecture, or where the kernel does not list features.
    pub level: Option<Level>,
    /// Features that programs ask for and all cores have, by the kernel's names, sorted.
    pub features: Vec<&'static str>,
    /// Whether the processor says that a hypervisor runs it; `None` where processors do not.
    pub under_hypervisor: Option<bool>,
    /// Processors that are switched on.
    pub online: Option<u32>,
    /// Those of them that this process may run on.
    pub allowed: Option<u32>,
}

impl fmt::Display for Level {
    /// `x86_64-v3`: HTCondor's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x86_64-v{}", *self as u8 + 1)
    }
}

impl Cpu {
    pub(crate) fn look(places: &Places) -> Self {
        let info = places.text("proc/cpuinfo").unwrap_or_default();
        let flags = common_flags(&info);
        let x86 = places.architecture == "x86_64";
        let known = match places.architecture {
            "x86_64" => X86_FEATURES,
            "aarch64" => ARM_FEATURES,
            _ => &[],
        };
        let (online, allowed) = counts(places, &info);
        Self {
            model: value_of(&info, "model name").and_then(clean).or_else(|| arm_parts(&info)),
            family: value_of(&info, "cpu family").and_then(|text| text.parse().ok()),
            model_number: value_of(&info, "model").and_then(|text| text.parse().ok()),
            microcode: value_of(&info, "microcode").and_then(clean),
            level: flags.as_ref().filter(|_| x86).and_then(level),
            features: known
                .iter()
                .copied()
                .filter(|name| flags.as_ref().is_some_and(|flags| flags.contains(name)))
                .collect(),
            under_hypervisor: flags.as_ref().filter(|_| x86).map(|flags| flags.contains("hypervisor")),
            online,
            allowed,
        }
    }
}

/// What all cores have: a task may be moved from a large core to a small one. `None` if no core says.
fn common_flags(info: &str) -> Option<BTreeSet<&str>> {
    let mut common: Option<BTreeSet<&str>> = None;
    let mut before = "";
    for line in info.lines() {
        let Some((key, flags)) = line.split_once(':') else { continue };
        // Cores are alike, mostly, and a machine may have a thousand of them.
        if !matches!(key.trim(), "flags" | "Features") || flags == before {
            continue;
        }
        before = flags;
        let flags: BTreeSet<&str> = flags.split_whitespace().collect();
        common = Some(match common {
            None => flags,
            Some(common) => common.intersection(&flags).copied().collect(),
        });
    }
    common.filter(|flags| !flags.is_empty())
}

fn level(flags: &BTreeSet<&str>) -> Option<Level> {
    let reached = LEVELS.iter().take_while(|(_, adds)| adds.iter().all(|name| flags.contains(name)));
    reached.last().map(|(level, _)| *level)
}

/// `ARM 0x41:0xd03 0x41:0xd09`: the kinds of cores, sorted.
fn arm_parts(info: &str) -> Option<String> {
    let mut parts = BTreeSet::new();
    let mut implementer = None;
    for line in info.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.trim() {
            "CPU implementer" => implementer = Some(value.trim()),
            "CPU part" => {
                parts.insert(format!("{}:{}", implementer?, value.trim()));
            }
            _ => {}
        }
    }
    let parts: Vec<String> = parts.into_iter().take(PARTS_MAX).collect();
    if parts.is_empty() { None } else { clean(&format!("ARM {}", parts.join(" "))) }
}

/// Online processors, and those of them that this process may run on. The kernel lists among the allowed ones also such as could be
/// plugged in one day, so only those count that are online.
fn counts(places: &Places, info: &str) -> (Option<u32>, Option<u32>) {
    let online = places.text("sys/devices/system/cpu/online").and_then(|text| processors(&text));
    let online = online.or_else(|| {
        let listed = info.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| key.trim() == "processor");
        let numbers: BTreeSet<u32> = listed.filter_map(|(_, number)| number.trim().parse().ok()).collect();
        (!numbers.is_empty() && numbers.iter().all(|number| *number < PROCESSORS_MAX)).then_some(numbers)
    });
    let status = places.text("proc/self/status").unwrap_or_default();
    let allowed = value_of(&status, "Cpus_allowed_list").and_then(processors);
    let usable = match (&online, &allowed) {
        (Some(online), Some(allowed)) => Some(online.intersection(allowed).count()),
        (known, None) | (None, known) => known.as_ref().map(BTreeSet::len),
    };
    let count = |number: usize| u32::try_from(number).ok().filter(|count| *count > 0);
    (online.and_then(|online| count(online.len())), usable.and_then(count))
}

/// `0-3,8`: the numbers of processors, as the kernel lists them.
fn processors(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= PROCESSORS_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}
