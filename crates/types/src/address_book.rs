//! Where the parts of a network listen and live.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// What a client must know of a network. Written as `address.json` into the data folder, and served by the ledger as
/// `gristmill_network`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressBook {
    /// JSON-RPC of the ledger, `http://HOST:PORT`.
    pub rpc: String,
    /// Chain id of the ledger.
    pub chain_id: u64,
    /// The hub's contract.
    pub hub: Address,
    /// `grist://HOST:PORT/KEYHASH` of the pools, the default first.
    pub pools: Vec<String>,
    /// The store's base, `http://HOST:PORT`.
    pub store: String,
    /// The market's base, `http://HOST:PORT`: order book and result gateway for iExec's clients; absent without a market.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<String>,
    /// Key file of the requester this network made for its own user; absent on what the network serves to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
}
