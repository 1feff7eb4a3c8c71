//! What is remembered of one worker, and of an account.

use serde::{Deserialize, Serialize};

use crate::belief::Record;
use crate::event::Cause;
use crate::origin::Origin;

/// A worker that joined once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub origin: Origin,
    pub joined: bool,
    pub score: u64,
    pub record: Record,
    /// Checks that made the record.
    pub checks: u32,
    /// Answers that were accepted, checked or not.
    pub accepted: u64,
    /// Answers that it withheld.
    pub withheld: u64,
    /// Replicas of open tasks.
    pub in_flight: u32,
    pub ban: Option<Cause>,
    /// It came when there were enough proven workers: of which such are bad is counted apart, since those who were blacklisted
    /// and came back under a new name are among them.
    pub late: bool,
}

/// An account behind workers: owner or source of stake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Wrong results of its workers.
    pub faults: u32,
    /// Its workers that passed their probation and are there.
    pub proven: u32,
}

/// How those who came at the same stage of the pool's life turned out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cohort {
    /// Blacklisted for a wrong result.
    pub failed: u64,
    /// Passed a check, and not failed.
    pub passed: u64,
    /// There, on probation.
    pub unproven: u32,
}

/// How many workers the assumption weighs against what a cohort showed.
const PRIOR_WORKERS: f64 = 8.0;
/// No cohort is believed to be worse.
const PRIOR_MAX: f64 = 0.95;

impl Cohort {
    /// The fraction of saboteurs in it: what is assumed, or more if more was seen.
    pub fn saboteurs(&self, assumed: f64) -> f64 {
        let (failed, passed) = (self.failed as f64, self.passed as f64);
        let seen = (failed + PRIOR_WORKERS * assumed) / (failed + passed + PRIOR_WORKERS);
        seen.clamp(assumed, PRIOR_MAX)
    }
}

impl Worker {
    pub fn new(origin: Origin, score: u64, late: bool) -> Self {
        Self {
            origin,
            joined: true,
            score,
            record: Record::BLANK,
            checks: 0,
            accepted: 0,
            withheld: 0,
            in_flight: 0,
            ban: None,
            late,
        }
    }

    /// Nothing is known of it.
    pub fn is_blank(&self) -> bool {
        self.checks == 0 && self.accepted == 0 && self.withheld == 0 && self.in_flight == 0 && self.ban.is_none()
    }

    /// All that spoke for it is gone.
    pub fn begin_anew(&mut self) {
        self.record = Record::BLANK;
        self.checks = 0;
        self.accepted = 0;
    }

    /// It keeps more than a fifth of its answers to itself, and at least so many.
    pub fn withholds(&self, withheld_max: u32) -> bool {
        self.withheld >= u64::from(withheld_max) && self.withheld.saturating_mul(4) > self.accepted
    }
}
