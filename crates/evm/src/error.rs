//! What can go wrong in the ledger's engine.

use alloy_primitives::{Address, B256, Bytes};
use gristmill_datadir::DbError;

use crate::trie::TrieError;

/// The ledger's store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The state trie is damaged.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// An entry that must be there is not, or does not decode.
    #[error("the ledger's table {table:?} is damaged: {problem}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong with which entry.
        problem: String,
    },
    /// State was asked for at a block that does not exist yet.
    #[error("block {number} does not exist; the last block is {head}")]
    UnknownBlock {
        /// The block asked for.
        number: u64,
        /// The last block.
        head: u64,
    },
}

impl revm::database_interface::DBErrorMarker for StoreError {}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store failed.
    #[error("the ledger cannot be opened")]
    Store(#[from] StoreError),
    /// The folder belongs to a network with another chain id.
    #[error("this ledger belongs to chain {found}, not to chain {expected}: give another data folder")]
    ChainId {
        /// The chain id in the store.
        found: u64,
        /// The chain id asked for.
        expected: u64,
    },
    /// The store was written by another version of the engine.
    #[error(
        "this ledger has format {found} and this program reads format {expected}: use the program that made it, or another data folder"
    )]
    Version {
        /// The format in the store.
        found: u64,
        /// The format of this program.
        expected: u64,
    },
    /// The ledger began with other accounts than the genesis at hand.
    #[error(
        "this ledger began with other accounts (state root {found}, the genesis given has {expected}): give its own genesis, or another data folder"
    )]
    Genesis {
        /// State root of block 0 in the store.
        found: B256,
        /// State root of the genesis given.
        expected: B256,
    },
    /// The genesis holds code that no EVM accepts.
    #[error("the genesis gives account {address} code that is not valid")]
    GenesisCode {
        /// The account.
        address: Address,
    },
}

/// Why a block could not be made. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The store failed.
    #[error("block {number} could not be made: the ledger's database failed")]
    Store {
        /// The block.
        number: u64,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// The rules of the block itself (not of one transaction) failed.
    #[error("block {number} could not be executed")]
    Execution {
        /// The block.
        number: u64,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a call or an estimate gave no answer. The texts are the ones that Ethereum clients match on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The contract reverted.
    #[error("execution reverted")]
    Reverted {
        /// What it returned: usually an ABI-encoded error.
        data: Bytes,
    },
    /// The execution was stopped (out of gas, a bad instruction, ...).
    #[error("{reason}")]
    Halted {
        /// Why, in words.
        reason: String,
    },
    /// The call cannot be executed at all.
    #[error("{reason}")]
    Invalid {
        /// Why, in words.
        reason: String,
    },
    /// No gas limit up to the bound makes the call succeed.
    #[error("gas required exceeds allowance ({allowance})")]
    GasExceedsAllowance {
        /// The bound, in gas.
        allowance: u64,
    },
}
