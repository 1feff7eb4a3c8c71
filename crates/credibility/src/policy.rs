//! Set how much a pool believes.

use gristmill_poco::consensus::CONTRIBUTORS_MAX;
use serde::{Deserialize, Serialize};

/// The largest fraction of saboteurs that can be assumed: at one half, agreement says nothing.
pub const SABOTEURS_MAX: f64 = 0.45;

/// The largest doubt with which a verdict can be called sure: that of the lowest trust at which anybody is outvoted.
const VERDICT_ERROR_MAX: f64 = 0.5;

/// What a pool assumes of its workers and asks of them. Shares are 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The fraction of workers that are assumed to be saboteurs, all of them in collusion: Sarmenta's f. The confidence that is
    /// paid for is kept as long as there are no more. Default 0.2.
    pub saboteurs: f64,
    /// Strangers work here: replicas of one task never go to one owner, range of addresses or source of stake, and nobody computes
    /// tasks of its own. `false` for a lab whose machines are all its own. Default `true`.
    pub public: bool,
    /// The share of accepted tasks that get one replica more than the confidence needs, at least. Default 0.05.
    pub check_share: f64,
    /// The next replica of a task is asked for when the one before has handed in: takes as many runs' times as there are
    /// replicas, and leaves colluders who hold the same task in doubt whether they are alone with it. Checks always are. Default
    /// `false`.
    pub one_by_one: bool,
    /// Checks that a newcomer passes before it has a vote, once [`Policy::founders`] have passed as many. Default 2.
    pub probation_checks: u32,
    /// Different owners whose workers have passed their probation, from which on newcomers have no vote. Default 16.
    pub founders: u32,
    /// A loser is blacklisted if it lost to a result that is wrong with at most this probability; else it only loses its record.
    /// Default 0.01.
    pub verdict_error: f64,
    /// Proven wrong results of an owner's workers, after which all of them are blacklisted. Default 3.
    pub owner_faults_max: u32,
    /// Leases without an answer after which a worker may be blacklisted: if they also are more than a fifth of all. Default 3.
    pub withheld_max: u32,
    /// Replicas of a task, at most; the hub takes no more. Default 32.
    pub replicas_max: u32,
    /// Open tasks, at most. Default 1,000,000.
    pub tasks_max: u32,
    /// Workers that are remembered, at most. Default 250,000.
    pub workers_max: u32,
}

/// A policy that cannot be kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A share is out of its range.
    #[error("`{field}` is {got}; it must be from {min} to {max}")]
    Share {
        /// Which.
        field: &'static str,
        /// What was given.
        got: f64,
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// A bound is out of its range.
    #[error("`{field}` is {got}; it must be from 1 to {max}")]
    Bound {
        /// Which.
        field: &'static str,
        /// What was given.
        got: u32,
        /// The most.
        max: u32,
    },
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            saboteurs: 0.2,
            public: true,
            check_share: 0.05,
            one_by_one: false,
            probation_checks: 2,
            founders: 16,
            verdict_error: 0.01,
            owner_faults_max: 3,
            withheld_max: 3,
            replicas_max: 32,
            tasks_max: 1_000_000,
            workers_max: 250_000,
        }
    }
}

impl Policy {
    /// Of a pool whose machines belong to one house: they may share owner, network and stake, and whoever loses a vote has lied.
    pub fn private() -> Self {
        Self { public: false, verdict_error: VERDICT_ERROR_MAX, ..Self::default() }
    }

    /// The same policy, if it can be kept.
    pub fn checked(self) -> Result<Self, PolicyError> {
        let shares = [
            ("saboteurs", self.saboteurs, 0.001, SABOTEURS_MAX),
            ("check_share", self.check_share, 0.001, 1.0),
            ("verdict_error", self.verdict_error, 1e-9, VERDICT_ERROR_MAX),
        ];
        for (field, got, min, max) in shares {
            if !(min..=max).contains(&got) {
                return Err(PolicyError::Share { field, got, min, max });
            }
        }
        let replicas_max = u32::try_from(CONTRIBUTORS_MAX).unwrap_or(u32::MAX);
        let bounds = [
            ("probation_checks", self.probation_checks, 1_000),
            ("founders", self.founders, u32::MAX),
            ("owner_faults_max", self.owner_faults_max, u32::MAX),
            ("withheld_max", self.withheld_max, u32::MAX),
            ("replicas_max", self.replicas_max, replicas_max),
            ("tasks_max", self.tasks_max, u32::MAX),
            ("workers_max", self.workers_max, u32::MAX),
        ];
        for (field, got, max) in bounds {
            if !(1..=max).contains(&got) {
                return Err(PolicyError::Bound { field, got, max });
            }
        }
        Ok(self)
    }
}
