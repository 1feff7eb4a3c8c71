//! Say what is simulated: a TOML file, typed, unknown keys refused.
//!
//! Every key has a default, except those of a `[[jobs]]` or `[[saboteurs]]` table that say what it is. An error names line
//! and key.

use std::path::Path;

use gristmill_credibility as credibility;
use gristmill_scheduler::Policy;
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_types::{Amount, Trust};
use serde::Deserialize;

use crate::dice::Law;

mod values;

pub use values::{Positive, Share};

/// The most hosts of a run: their numbers are 32 bits, and a million fit the memory of a desktop.
pub const HOSTS_MAX: u32 = 2_000_000;
/// The most tasks of a run: the ledger's books keep each.
pub const TASKS_MAX: u64 = 20_000_000;
/// The longest simulated time: a year.
pub const DURATION_S_MAX: u32 = 366 * 86_400;

/// What is simulated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is shown as the run's name. Default "a market".
    pub name: String,
    /// All chance follows from it: the same seed, the same run. Default 1.
    pub seed: u64,
    /// Jobs arrive, and hosts are measured, for so long; then the run goes on until every task has ended. Seconds, a year at
    /// most. Default 86,400: a day.
    #[serde(deserialize_with = "values::duration_s")]
    pub duration_s: u64,
    /// The machines.
    pub hosts: Hosts,
    /// What lies between them and the pool.
    pub network: Network,
    /// The ledger.
    pub ledger: Ledger,
    /// What breaks besides.
    pub faults: Faults,
    /// How the pool schedules: the keys of `Policy` of the crate `scheduler`, in milliseconds, with its defaults but one:
    /// `lease_duration_ms` is 900,000, so that 10,000 hosts do not send a heartbeat every three seconds of the day.
    #[serde(deserialize_with = "values::policy")]
    pub scheduler: Policy,
    /// How far the pool believes its workers: the keys of `Policy` of the crate `credibility`, with its defaults.
    #[serde(deserialize_with = "values::credibility")]
    pub credibility: credibility::Policy,
    /// The pool believes what the hub's rule alone accepts, and `credibility` is not asked. Default `false`.
    pub by_hub_alone: bool,
    /// The jobs that arrive. Default: none.
    #[serde(deserialize_with = "values::jobs")]
    pub jobs: Vec<Jobs>,
    /// The hosts that are not honest. Their fractions add up to 1 at most; all other hosts are honest. Default: none.
    #[serde(deserialize_with = "values::saboteurs")]
    pub saboteurs: Vec<Saboteurs>,
}

/// The machines of a market.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hosts {
    /// How many, 1 to 2,000,000. Default 50.
    #[serde(deserialize_with = "values::host_count")]
    pub count: u32,
    /// Tasks that a host runs at once, each at its full speed. Default 1.
    #[serde(deserialize_with = "values::slots")]
    pub slots: u32,
    /// Speeds are drawn from those of 3.5 million hosts of 2016, times this. Default 1.
    pub speed_factor: Positive,
    /// The speed of the machine in whose seconds a job's `work_s` is told, after `speed_factor`, in GFLOPS. Default 3.36: the
    /// median host of 2016.
    pub reference_gflops: Positive,
    /// How long a host is available, in hours. Default a Weibull law, shape 0.393, scale 2.964 h (SETI@home, as ComBoS has it).
    pub available: Law,
    /// How long it is not. Default a log-normal law, mu -0.586, sigma 2.444 (the same source).
    pub unavailable: Law,
    /// The fraction of hosts that are always available. Default 0.
    pub always_on: Share,
    /// What becomes of a run when its host goes away: `lost`, or `paused` until it comes back. Default `lost`.
    pub interruption: Interruption,
    /// What each host deposits at the hub. Default "20 GRIST".
    #[serde(deserialize_with = "values::amount")]
    pub deposit: Amount,
}

/// What becomes of a run when its host goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruption {
    /// It is gone.
    #[default]
    Lost,
    /// It goes on where it was once the host is back, if the pool still wants it.
    Paused,
}

/// What lies between hosts, pool and store.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// From a host to the pool, one way, at least. Default 20 ms.
    pub latency_ms: u64,
    /// On top of it, uniformly. Default 30 ms.
    pub jitter_ms: u64,
    /// The probability that a message is lost (acknowledgements, heartbeats and handshakes too). Default 0.001.
    pub loss: Share,
    /// The probability that a message overtakes none and is overtaken by what follows within a second. Default 0.
    pub reorder: Share,
    /// A message that was not acknowledged so long after it was sent has its connection cut. Default 5,000 ms.
    pub ack_timeout_ms: u64,
    /// After a cut a worker dials again so much later. Default 1,000 ms.
    pub redial_ms: u64,
    /// The pool notices so late that a host went away without a word. Default 10,000 ms.
    pub silence_ms: u64,
    /// From the store to a host. Default 10 Mbit/s.
    pub down_mbps: Positive,
    /// From a host to the store. Default 2 Mbit/s.
    pub up_mbps: Positive,
    /// How long the pool takes to open a sealed upload and hash it. Default 200 ms.
    pub open_ms: u64,
}

/// The ledger.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// Blocks come at multiples of it, those without transactions left out. Default 1,000 ms.
    #[serde(deserialize_with = "values::block_ms")]
    pub block_ms: u64,
    /// From whoever sends a transaction to the ledger, and from the ledger to the pool. Default 100 ms.
    pub latency_ms: u64,
    /// Transactions of a block, at most; the others wait. Default 10,000.
    #[serde(deserialize_with = "values::transactions_max")]
    pub transactions_max: u32,
}

/// What breaks besides hosts that go away.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The worker's process dies so often while its host is there: mean hours, exponential; 0: never. Default 0.
    pub worker_crash_h: NonNegative,
    /// It is started again after so many seconds. Default 10.
    pub worker_restart_s: u64,
    /// The pool dies so often: mean hours, exponential; 0: never. Default 0.
    pub pool_crash_h: NonNegative,
    /// It is started again after so many seconds. Default 30.
    pub pool_restart_s: u64,
}

pub use values::NonNegative;

/// Jobs of one kind, each a bag of tasks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// What tables call them.
    pub name: String,
    /// How many bags.
    #[serde(deserialize_with = "values::bags")]
    pub bags: u32,
    /// Tasks of a bag.
    #[serde(deserialize_with = "values::bag_tasks")]
    pub tasks: u32,
    /// The category, which gives T: "XS", "S", "M", "L", "XL" or "DEV".
    #[serde(deserialize_with = "values::category")]
    pub category: String,
    /// What a task computes, in seconds of the reference machine.
    pub work_s: Positive,
    /// The sigma of the log-normal law by which tasks of a bag differ; 0: they do not. Default 0.
    #[serde(default)]
    pub spread: NonNegative,
    /// Trust of the requests. Default 5 (80 %).
    #[serde(default)]
    pub trust: Trust,
    /// When the first bag arrives. Default 0 s.
    #[serde(default)]
    pub first_s: u64,
    /// Time between bags: a law, in hours. Default: all at once.
    #[serde(default)]
    pub between: Option<Law>,
    /// What a worker downloads for a task. Default 1 MB.
    #[serde(default = "values::one_mb")]
    pub input_mb: NonNegative,
    /// What it uploads. Default 1 MB.
    #[serde(default = "values::one_mb")]
    pub output_mb: NonNegative,
    /// What the pool asks for a task. Default "1 GRIST".
    #[serde(default = "values::one_grist", deserialize_with = "values::amount")]
    pub price: Amount,
    /// What a contribution locks of its worker's stake. Default "0.3 GRIST".
    #[serde(default = "values::stake", deserialize_with = "values::amount")]
    pub stake: Amount,
}

/// Hosts of one kind that are not honest.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saboteurs {
    /// Which kind.
    pub kind: Kind,
    /// Of all hosts.
    pub fraction: Share,
    /// How often they do what their kind does: of their tasks, or of all tasks for those that collude. Default 1.
    #[serde(default = "values::always")]
    pub rate: Share,
}

/// How a host behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Computes, contributes, reveals.
    Honest,
    /// Does not compute, and answers at once what it takes for the cheapest answer: the same as all other lazy ones.
    Lazy,
    /// Answers something of its own.
    Random,
    /// Agrees with the others of its kind on which tasks to sabotage, and with what.
    Colluding,
    /// Honest most of the time, and now and then with an answer of its own.
    Intermittent,
    /// Colludes, and comes back under a new name once it is banned.
    Whitewashing,
    /// Contributes the truth and does not reveal it.
    Withholding,
}

impl Kind {
    /// All, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::Honest,
        Self::Lazy,
        Self::Random,
        Self::Colluding,
        Self::Intermittent,
        Self::Whitewashing,
        Self::Withholding,
    ];

    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Lazy => "lazy",
            Self::Random => "random",
            Self::Colluding => "colluding",
            Self::Intermittent => "intermittent",
            Self::Whitewashing => "whitewashing",
            Self::Withholding => "withholding",
        }
    }

    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default()
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML, has an unknown key or a value out of its range. Line and key are in the text.
    #[error("the configuration cannot be used: {0}")]
    Text(#[from] toml::de::Error),
}

/// The configurations that come with this program: name and text.
pub const BUILTIN: [(&str, &str); 4] = [
    ("lab", include_str!("../configs/lab.toml")),
    ("day", include_str!("../configs/day.toml")),
    ("saboteurs", include_str!("../configs/saboteurs.toml")),
    ("tail", include_str!("../configs/tail.toml")),
];

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError::Text`], with line and key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Config::parse`], and [`ConfigError::Read`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = std::fs::read_to_string(path);
        Self::parse(&read.map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?)
    }

    /// Tasks of all bags.
    pub fn tasks(&self) -> u64 {
        self.jobs.iter().map(|jobs| u64::from(jobs.bags).saturating_mul(u64::from(jobs.tasks))).sum()
    }
}

impl Jobs {
    /// T of the category.
    pub fn work_clock_s(&self) -> u64 {
        let found = GENESIS_CATEGORIES.iter().find(|(name, _)| *name == self.category);
        found.map_or(GENESIS_CATEGORIES[0].1, |(_, work_clock_s)| *work_clock_s)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "a market".to_owned(),
            seed: 1,
            duration_s: 86_400,
            hosts: Hosts::default(),
            network: Network::default(),
            ledger: Ledger::default(),
            faults: Faults::default(),
            scheduler: values::default_policy(),
            credibility: credibility::Policy::default(),
            by_hub_alone: false,
            jobs: Vec::new(),
            saboteurs: Vec::new(),
        }
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            count: 50,
            slots: 1,
            speed_factor: Positive(1.0),
            reference_gflops: Positive(3.36),
            available: Law::Weibull { shape: Positive(0.393), scale_h: Positive(2.964) },
            unavailable: Law::LogNormal { mu: -0.586, sigma: NonNegative(2.444) },
            always_on: Share(0.0),
            interruption: Interruption::Lost,
            deposit: Amount::from_grist(20),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency_ms: 20,
            jitter_ms: 30,
            loss: Share(0.001),
            reorder: Share(0.0),
            ack_timeout_ms: 5_000,
            redial_ms: 1_000,
            silence_ms: 10_000,
            down_mbps: Positive(10.0),
            up_mbps: Positive(2.0),
            open_ms: 200,
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { block_ms: 1_000, latency_ms: 100, transactions_max: 10_000 }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            worker_crash_h: NonNegative(0.0),
            worker_restart_s: 10,
            pool_crash_h: NonNegative(0.0),
            pool_restart_s: 30,
        }
    }
}

#[cfg(test)]
mod tests;
