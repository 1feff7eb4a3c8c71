//! BOINC's adaptive replication, beside which ours is measured.
//!
//! Facts of BOINC's source (BOINC/boinc, commit c5c6cb7): per host and app version a count `consecutive_valid`; below ten a job is
//! replicated; else the host is trusted with probability `1 - 1/consecutive_valid`, and its result is taken alone. A valid result
//! counts only if the job was replicated; an invalid one sets the count to zero.

use serde::{Deserialize, Serialize};

/// Valid results in a row before a host may be trusted alone.
pub const CONSECUTIVE_VALID_MIN: u32 = 10;
/// Results that must agree when a job is replicated.
pub const QUORUM: usize = 2;

/// What BOINC remembers of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    consecutive_valid: u32,
}

impl Host {
    /// Valid results in a row, as far as they count.
    pub fn consecutive_valid(self) -> u32 {
        self.consecutive_valid
    }

    /// Whether this host's job is replicated, if `draw` (0 to below 1) is drawn.
    pub fn replicates(self, draw: f64) -> bool {
        self.consecutive_valid < CONSECUTIVE_VALID_MIN || draw < 1.0 / f64::from(self.consecutive_valid)
    }

    /// Its result was found valid.
    pub fn valid(&mut self, was_replicated: bool) {
        if was_replicated {
            self.consecutive_valid = self.consecutive_valid.saturating_add(1);
        }
    }

    /// Its result was found invalid, or ended in an error.
    pub fn invalid(&mut self) {
        self.consecutive_valid = 0;
    }
}
