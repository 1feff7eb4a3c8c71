//! The states of a task and of a contribution, numbered as the hub numbers them.

use serde::{Deserialize, Serialize};

/// Where a task stands on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum TaskStatus {
    /// Not initialised yet.
    Unset = 0,
    /// Contributions are taken.
    Active = 1,
    /// Consensus is there; its holders reveal.
    Revealing = 2,
    /// Finalised and paid.
    Completed = 3,
    /// Claimed or conceded; the requester was refunded.
    Failed = 4,
}

/// Where a worker's contribution stands on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ContributionStatus {
    /// None.
    Unset = 0,
    /// Committed to a hash, stake locked.
    Contributed = 1,
    /// Revealed the digest.
    Proved = 2,
    /// Wrong or silent: stake gone.
    Rejected = 3,
}

/// A status number that the hub never uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} is no {what} status")]
pub struct UnknownStatus {
    /// Of what.
    pub what: &'static str,
    /// The number met.
    pub got: u8,
}

impl TryFrom<u8> for TaskStatus {
    type Error = UnknownStatus;

    fn try_from(got: u8) -> Result<Self, UnknownStatus> {
        [Self::Unset, Self::Active, Self::Revealing, Self::Completed, Self::Failed]
            .into_iter()
            .find(|status| *status as u8 == got)
            .ok_or(UnknownStatus { what: "task", got })
    }
}

impl TryFrom<u8> for ContributionStatus {
    type Error = UnknownStatus;

    fn try_from(got: u8) -> Result<Self, UnknownStatus> {
        [Self::Unset, Self::Contributed, Self::Proved, Self::Rejected]
            .into_iter()
            .find(|status| *status as u8 == got)
            .ok_or(UnknownStatus { what: "contribution", got })
    }
}

impl TaskStatus {
    /// Completed or failed: nothing happens to it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}
