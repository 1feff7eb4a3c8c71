//! What a ledger starts from.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, U256};
use serde::{Deserialize, Serialize};

/// Gas that one block may use unless the genesis says otherwise.
pub const DEFAULT_GAS_LIMIT: u64 = 60_000_000;

/// The first block: which chain it is and who holds what.
///
/// Two ledgers with equal geneses have the same block 0, hash included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Chain id that transactions are signed for.
    pub chain_id: u64,
    /// Gas that one block may use. It stays the same for ever.
    #[serde(default = "default_gas_limit")]
    pub gas_limit: u64,
    /// Time of block 0, in seconds since 1970. A ledger that exists keeps its own.
    #[serde(default)]
    pub timestamp: u64,
    /// Accounts that exist from the start.
    #[serde(default)]
    pub alloc: BTreeMap<Address, GenesisAccount>,
}

/// An account that exists from the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Balance in the smallest unit of the chain's own coin.
    #[serde(default)]
    pub balance: U256,
    /// Transactions it has sent.
    #[serde(default)]
    pub nonce: u64,
    /// Code, as it runs (not the code that deploys it).
    #[serde(default)]
    pub code: Bytes,
    /// Storage slots that are not zero.
    #[serde(default)]
    pub storage: BTreeMap<U256, U256>,
}

impl Genesis {
    /// A genesis without accounts, at time 0, with the usual gas limit.
    pub fn new(chain_id: u64) -> Self {
        Self { chain_id, gas_limit: DEFAULT_GAS_LIMIT, timestamp: 0, alloc: BTreeMap::new() }
    }

    /// The same genesis with `balance` on `address`.
    pub fn fund(mut self, address: Address, balance: U256) -> Self {
        self.alloc.entry(address).or_default().balance = balance;
        self
    }
}

fn default_gas_limit() -> u64 {
    DEFAULT_GAS_LIMIT
}
