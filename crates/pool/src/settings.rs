//! Read what the operator wrote down: `pool.toml`.
//!
//! Every key has a default, and no file at all is as good as an empty one. A flag of the command line goes before the file, the file
//! before the default. An unknown key is an error: a price that was misspelt would be none. The file is read when the pool starts, and
//! again when its operator says so ([`crate::control::Ask::Reload`]): then all of it holds, or nothing of it.

mod fields;
mod held;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill_datadir::{BoundedError, read_bounded};
use gristmill_scheduler::Policy;
use gristmill_types::Needs;
use serde::{Deserialize, Serialize};

use crate::config::{ORDER_TRUST, ORDER_VOLUME};
pub use fields::{AMOUNT_GRIST_MAX, Grist, GristError};
use fields::{percent, share, within};
pub use held::{Base, Change, Held, Origin, Said, Sources};
pub use template::TEMPLATE;

/// The file's name in the data folder of the pool, or of the network that it belongs to.
pub const SETTINGS_FILE: &str = "pool.toml";
/// A settings file is read up to so many bytes.
const SETTINGS_BYTES_MAX: u64 = 256 << 10;
/// The section of what only a start can change: what was learnt of workers so far was learnt under it.
const AT_START: &str = "credibility";

/// What a `pool.toml` says. Amounts are in GRIST, durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What the pool keeps of each reward, in percent, 0 to 100. Default: as it is on the ledger; 1 for a new pool.
    #[serde(deserialize_with = "percent", skip_serializing_if = "Option::is_none")]
    pub fee_percent: Option<u64>,
    /// What its account is filled up to from its tokens, at a start and when this changes. Default 1000.
    pub stake: Grist,
    /// Processor time of a settlement, in milliseconds, 0 to 60,000: requesters pack so many items into a task that it is small against
    /// their run time. Default [`SETTLEMENT_MS`].
    #[serde(deserialize_with = "within::<_, _, 0, 60_000>")]
    pub settlement_ms: u64,
    /// What a task of a size class costs. Default: 0.1 for XS, the others in proportion to their time.
    pub price: BTreeMap<String, Grist>,
    /// The orders in which it offers its work.
    pub order: OrderSettings,
    /// What its workers may offer besides a processor: orders for tasks that need it are kept too.
    pub offer: OfferSettings,
    /// How it schedules.
    pub scheduler: SchedulerSettings,
    /// How far it believes its workers.
    pub credibility: CredibilitySettings,
}

/// The orders in which a pool offers its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderSettings {
    /// Tasks that one order offers; it is published anew when it is used up. 1 to 1,000,000,000, the default.
    #[serde(deserialize_with = "within::<_, _, 1, ORDER_VOLUME>")]
    pub volume: u64,
    /// The highest trust at which it may be matched. 1 to 1,000,000, the default.
    #[serde(deserialize_with = "within::<_, _, 1, ORDER_TRUST>")]
    pub trust_max: u64,
}

impl Default for OrderSettings {
    fn default() -> Self {
        Self { volume: ORDER_VOLUME, trust_max: ORDER_TRUST }
    }
}

/// What workers may offer besides a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfferSettings {
    /// A way out to the public network.
    pub network: bool,
    /// A graphics processor.
    pub gpu: bool,
}

impl OfferSettings {
    /// The same as tasks ask for it.
    pub fn needs(self) -> Needs {
        Needs { gpu: self.gpu, network: self.network }
    }
}

/// What an operator may set of the scheduler's [`Policy`], by the same names, which say more. The rest follows from how the ledger, the
/// links and the workers are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerSettings {
    /// 3,000 (3 s) to 3,600,000 (an hour).
    #[serde(deserialize_with = "within::<_, _, 3_000, 3_600_000>")]
    pub lease_duration_ms: u64,
    /// 0 to 600,000 (10 min).
    #[serde(deserialize_with = "within::<_, _, 0, 600_000>")]
    pub reconnect_grace_ms: u64,
    /// 1 to 10: past 10 T a task is over.
    #[serde(deserialize_with = "within::<_, _, 1, 10>")]
    pub run_limit_ratio: u64,
    /// 4,000 (4 s) to 3,600,000 (an hour).
    #[serde(deserialize_with = "within::<_, _, 4_000, 3_600_000>")]
    pub contribution_wait_ms: u64,
    /// 0 to 100.
    #[serde(deserialize_with = "within::<_, _, 0, 100>")]
    pub host_fault_retries: u32,
    /// 1 to 1,000.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000>")]
    pub faulty_contributions_max: u32,
    /// 0: until it is pardoned. To 31,536,000,000 (a year).
    #[serde(deserialize_with = "within::<_, _, 0, 31_536_000_000>")]
    pub ban_duration_ms: u64,
    /// 1 to 1,000.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000>")]
    pub silent_leases_max: u32,
    /// 0 to 86,400,000 (a day).
    #[serde(deserialize_with = "within::<_, _, 0, 86_400_000>")]
    pub aside_ms: u64,
    /// 0 to 86,400,000 (a day).
    #[serde(deserialize_with = "within::<_, _, 0, 86_400_000>")]
    pub aside_ms_max: u64,
    /// 0 to 10.
    #[serde(deserialize_with = "within::<_, _, 0, 10>")]
    pub reserve_replicas: u32,
    /// 0 to 10,000.
    #[serde(deserialize_with = "within::<_, _, 0, 10_000>")]
    pub late_percent: u64,
    /// 0 to 3,600,000 (an hour).
    #[serde(deserialize_with = "within::<_, _, 0, 3_600_000>")]
    pub late_ms_min: u64,
    /// 0 to 16.
    #[serde(deserialize_with = "within::<_, _, 0, 16>")]
    pub copies_max: u32,
    /// 0 to 100.
    #[serde(deserialize_with = "within::<_, _, 0, 100>")]
    pub end_percent: u64,
    /// 0 to 1,000.
    #[serde(deserialize_with = "within::<_, _, 0, 1_000>")]
    pub gain_percent: u64,
    /// 0 to 16.
    #[serde(deserialize_with = "within::<_, _, 0, 16>")]
    pub end_copies_max: u32,
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self::of(&default_policy())
    }
}

/// How a pool schedules unless it is told.
pub fn default_policy() -> Policy {
    // As long as a worker gives a run before it calls it a fault of its host.
    Policy { run_limit_ratio: 6, ..Policy::default() }
}

impl SchedulerSettings {
    /// What of a policy can be set.
    pub fn of(policy: &Policy) -> Self {
        Self {
            lease_duration_ms: policy.lease_duration_ms,
            reconnect_grace_ms: policy.reconnect_grace_ms,
            run_limit_ratio: policy.run_limit_ratio,
            contribution_wait_ms: policy.contribution_wait_ms,
            host_fault_retries: policy.host_fault_retries,
            faulty_contributions_max: policy.faulty_contributions_max,
            ban_duration_ms: policy.ban_duration_ms.unwrap_or(0),
            silent_leases_max: policy.silent_leases_max,
            aside_ms: policy.aside_ms,
            aside_ms_max: policy.aside_ms_max,
            reserve_replicas: policy.reserve_replicas,
            late_percent: policy.late_percent,
            late_ms_min: policy.late_ms_min,
            copies_max: policy.copies_max,
            end_percent: policy.end_percent,
            gain_percent: policy.gain_percent,
            end_copies_max: policy.end_copies_max,
        }
    }

    /// `policy` with what is set here.
    pub fn over(self, policy: Policy) -> Policy {
        Policy {
            lease_duration_ms: self.lease_duration_ms,
            reconnect_grace_ms: self.reconnect_grace_ms,
            run_limit_ratio: self.run_limit_ratio,
            contribution_wait_ms: self.contribution_wait_ms,
            host_fault_retries: self.host_fault_retries,
            faulty_contributions_max: self.faulty_contributions_max,
            ban_duration_ms: (self.ban_duration_ms > 0).then_some(self.ban_duration_ms),
            silent_leases_max: self.silent_leases_max,
            aside_ms: self.aside_ms,
            aside_ms_max: self.aside_ms_max,
            reserve_replicas: self.reserve_replicas,
            late_percent: self.late_percent,
            late_ms_min: self.late_ms_min,
            copies_max: self.copies_max,
            end_percent: self.end_percent,
            gain_percent: self.gain_percent,
            end_copies_max: self.end_copies_max,
            ..policy
        }
    }
}

/// What an operator may set of the [policy](gristmill_credibility::Policy) by which a pool believes its workers, by the same names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredibilitySettings {
    /// `false`: whatever the hub's rule accepts is believed.
    pub on: bool,
    /// 0.001 to 0.45.
    #[serde(deserialize_with = "share::<_, 1, 450>")]
    pub saboteurs: f64,
    /// 0.001 to 1.
    #[serde(deserialize_with = "share::<_, 1, 1_000>")]
    pub check_share: f64,
    /// A replica at a time.
    pub one_by_one: bool,
    /// 1 to 1,000.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000>")]
    pub probation_checks: u32,
    /// 1 to 1,000,000.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000_000>")]
    pub founders: u32,
    /// 0 (excluded) to 0.5.
    #[serde(deserialize_with = "share::<_, 0, 500>")]
    pub verdict_error: f64,
    /// 1 to 1,000,000.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000_000>")]
    pub owner_faults_max: u32,
    /// 1 to 1,000,000.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000_000>")]
    pub withheld_max: u32,
}

impl Default for CredibilitySettings {
    fn default() -> Self {
        Self::of(true, &gristmill_credibility::Policy::private())
    }
}

impl CredibilitySettings {
    /// What of a policy can be set.
    pub fn of(on: bool, policy: &gristmill_credibility::Policy) -> Self {
        Self {
            on,
            saboteurs: policy.saboteurs,
            check_share: policy.check_share,
            one_by_one: policy.one_by_one,
            probation_checks: policy.probation_checks,
            founders: policy.founders,
            verdict_error: policy.verdict_error,
            owner_faults_max: policy.owner_faults_max,
            withheld_max: policy.withheld_max,
        }
    }

    /// `policy` with what is set here; `None` where it is off.
    pub fn over(self, policy: gristmill_credibility::Policy) -> Option<gristmill_credibility::Policy> {
        self.on.then_some(gristmill_credibility::Policy {
            saboteurs: self.saboteurs,
            check_share: self.check_share,
            one_by_one: self.one_by_one,
            probation_checks: self.probation_checks,
            founders: self.founders,
            verdict_error: self.verdict_error,
            owner_faults_max: self.owner_faults_max,
            withheld_max: self.withheld_max,
            ..policy
        })
    }
}

/// Processor time that one task costs ledger, pool, store, worker and sandbox besides its run, in milliseconds: measured by the benchmark
/// `settlement` of the crate `network` (docs/pool.md).
pub const SETTLEMENT_MS: u64 = 25;
/// What a pool's account is filled up to unless it is told.
const STAKE_GRIST: u64 = 1_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            fee_percent: None,
            stake: Grist(gristmill_types::Amount::from_grist(STAKE_GRIST)),
            settlement_ms: SETTLEMENT_MS,
            price: BTreeMap::new(),
            order: OrderSettings::default(),
            offer: OfferSettings::default(),
            scheduler: SchedulerSettings::default(),
            credibility: CredibilitySettings::default(),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{} has more than {SETTINGS_BYTES_MAX} bytes: it is no settings file of a pool", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, or has a key that is not known or a value that makes no sense; the text names line and column.
    #[error("{} is refused: {text}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        text: String,
    },
    /// What was said on the command line, or the defaults with it, is out of bounds.
    #[error("the flags of the command line, or the pool's defaults, are refused: {text}")]
    Flags {
        /// What is wrong.
        text: String,
    },
    /// A price of a size class that the hub does not have, or a second one of the same.
    #[error("{whence} is refused: price.{name}: {text}")]
    Price {
        /// The file with line and column, or the flag.
        whence: String,
        /// The class.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// Something changed that cannot while the pool runs.
    #[error("nothing is changed: {changes} needs a restart")]
    Restart {
        /// What, from what to what.
        changes: String,
    },
}

/// The text of a file, of bounded size; `None` if there is none.
fn read_text(path: &Path) -> Result<Option<String>, SettingsError> {
    read_bounded(path, SETTINGS_BYTES_MAX).map_err(|error| match error {
        BoundedError::Read(source) => SettingsError::Read { path: path.to_path_buf(), source },
        _ => SettingsError::TooLarge { path: path.to_path_buf() },
    })
}

#[cfg(test)]
mod tests;
