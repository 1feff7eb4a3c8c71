//! Name all that an outcome can depend on besides the work itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The engine's version. Part of the profile: another version may generate other code.
pub const WASMTIME_VERSION: &str = "48.0.8";
/// Version of the host interface of this crate: the functions offered, their fuel, the virtual world, the witness.
/// Whoever changes what a guest can notice raises it.
pub const HOST_VERSION: u32 = 2;

/// What the outcome of a run can depend on apart from its inputs: engine version, processor features, the treatment of NaN, and the
/// host interface's version. Replicas of a task must have the same; the deal fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EngineProfile {
    /// Who has to agree.
    pub reach: Reach,
    /// What the compiled code may use.
    pub cpu: CpuFeatures,
}

/// Which hosts agree on a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Hosts of any architecture: every NaN that a guest can look at is the canonical one.
    Portable,
    /// Hosts of one architecture and one set of features. They run the same machine code, which makes the same NaNs, so that
    /// nothing is spent on them.
    SameArchitecture,
}

/// Processor features that compiled code may use. They are pinned: code never depends on what else a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuFeatures {
    /// x86-64 with AVX2, FMA, BMI: what PCs have had since about 2015, and the default on hosts that have it.
    X86_64V3,
    /// Any x86-64. SIMD guests take half as long again.
    X86_64,
    /// The baseline of another architecture, that of this host.
    Other,
}

/// A profile that this host cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Its processor lacks features.
    #[error("the engine profile {profile} needs processor features that this host lacks: {missing}")]
    Features {
        /// The profile.
        profile: EngineProfile,
        /// The features, by the names that processors' manuals use.
        missing: String,
    },
    /// It is for another architecture.
    #[error("the engine profile {profile} is for another architecture than {}, this host's", std::env::consts::ARCH)]
    Architecture {
        /// The profile.
        profile: EngineProfile,
    },
    /// The name is that of another version, or of none.
    #[error("this version of gristmill has no engine profile {name}: its own are like {}", EngineProfile::default())]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl EngineProfile {
    /// The portable one with the best features that this host has and the set knows.
    pub fn portable() -> Self {
        Self { reach: Reach::Portable, cpu: CpuFeatures::of_host() }
    }

    /// The same-architecture one with the best features that this host has and the set knows.
    pub fn same_architecture() -> Self {
        Self { reach: Reach::SameArchitecture, cpu: CpuFeatures::of_host() }
    }

    /// Says whether this host can run guests under this profile. Ask before a lease is taken.
    ///
    /// # Errors
    /// When the processor is another one or lacks features, which are named.
    pub fn supported(self) -> Result<(), ProfileError> {
        if (self.cpu == CpuFeatures::Other) == cfg!(target_arch = "x86_64") {
            return Err(ProfileError::Architecture { profile: self });
        }
        let missing = match self.cpu {
            CpuFeatures::X86_64V3 => missing_v3(),
            CpuFeatures::X86_64 | CpuFeatures::Other => Vec::new(),
        };
        if missing.is_empty() {
            return Ok(());
        }
        Err(ProfileError::Features { profile: self, missing: missing.join(", ") })
    }
}

impl Default for EngineProfile {
    /// [`EngineProfile::portable`].
    fn default() -> Self {
        Self::portable()
    }
}

impl fmt::Display for EngineProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nan = match self.reach {
            Reach::Portable => "nan-canonical",
            Reach::SameArchitecture => "same-architecture",
        };
        write!(f, "wasmtime-{WASMTIME_VERSION}/{}/{nan}/host-{HOST_VERSION}", self.cpu.name())
    }
}

impl FromStr for EngineProfile {
    type Err = ProfileError;

    fn from_str(name: &str) -> Result<Self, ProfileError> {
        let reaches = [Reach::Portable, Reach::SameArchitecture];
        let all = CpuFeatures::ALL.into_iter().flat_map(|cpu| reaches.map(|reach| Self { reach, cpu }));
        all.into_iter()
            .find(|profile| profile.to_string() == name)
            .ok_or_else(|| ProfileError::Unknown { name: name.to_owned() })
    }
}

impl CpuFeatures {
    const ALL: [Self; 3] = [Self::X86_64V3, Self::X86_64, Self::Other];

    /// The best set that this host has. A host below x86-64-v3 falls back to the baseline, and so serves other deals: mixing the
    /// two within a deal is sound for portable results, but the pool need not know that.
    fn of_host() -> Self {
        match () {
            () if !cfg!(target_arch = "x86_64") => Self::Other,
            () if missing_v3().is_empty() => Self::X86_64V3,
            () => Self::X86_64,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::X86_64V3 => "x86-64-v3",
            Self::X86_64 => "x86-64",
            Self::Other => std::env::consts::ARCH,
        }
    }
}

/// The name of this host's default profile.
pub fn engine_profile() -> String {
    EngineProfile::default().to_string()
}

/// The features of x86-64-v3 that the code generator knows and this processor lacks.
#[cfg(target_arch = "x86_64")]
fn missing_v3() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    [
        ("sse3", has!("sse3")),
        ("ssse3", has!("ssse3")),
        ("sse4.1", has!("sse4.1")),
        ("sse4.2", has!("sse4.2")),
        ("popcnt", has!("popcnt")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("bmi1", has!("bmi1")),
        ("bmi2", has!("bmi2")),
        ("lzcnt", has!("lzcnt")),
    ]
    .into_iter()
    .filter_map(|(name, has)| (!has).then_some(name))
    .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn missing_v3() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_the_engine_that_is_linked() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry), "WASMTIME_VERSION is not the version in Cargo.lock");
        assert!(engine_profile().starts_with(&format!("wasmtime-{WASMTIME_VERSION}/")));
    }

    #[test]
    fn names_are_read_back_and_others_are_refused() {
        for profile in [EngineProfile::portable(), EngineProfile::same_architecture()] {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            assert_eq!(profile.supported(), Ok(()));
        }
        assert_ne!(EngineProfile::portable().to_string(), EngineProfile::same_architecture().to_string());
        let old = engine_profile().replace("host-", "host-9");
        assert!(matches!(old.parse::<EngineProfile>(), Err(ProfileError::Unknown { name }) if name == old));
    }

    #[test]
    fn a_foreign_architecture_is_refused_with_its_name() {
        let cpu = if cfg!(target_arch = "x86_64") { CpuFeatures::Other } else { CpuFeatures::X86_64V3 };
        let error = EngineProfile { cpu, ..EngineProfile::default() }.supported().unwrap_err();
        assert!(
            matches!(error, ProfileError::Architecture { .. }) && error.to_string().contains(std::env::consts::ARCH)
        );
    }
}
