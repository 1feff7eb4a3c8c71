//! What can go wrong when the hub is read.

use alloy_primitives::Address;

use crate::ledger::LedgerError;
use crate::revert::Revert;

/// The hub could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The ledger could not be asked, or the contract refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no hub at this address.
    #[error("there is no hub at {address} on chain {chain_id}: is the address right, and is this the right ledger?")]
    NoHub {
        /// The address looked at.
        address: Address,
        /// The ledger's chain id.
        chain_id: u64,
    },
    /// The hub's records hold something that no hub of ours writes.
    #[error("the hub's answer to {what} makes no sense: {why}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl HubError {
    pub(crate) fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }

    /// Whether asking again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Ledger(error) if error.is_transient())
    }

    /// The contract's refusal, if it is one.
    pub fn revert(&self) -> Option<&Revert> {
        match self {
            Self::Ledger(error) => error.revert(),
            _ => None,
        }
    }
}
