//! The four kinds of order, with their EIP-712 hashes (domain "iExecODB", version "5.0.0").

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};
use serde::{Deserialize, Serialize};

use crate::id::OrderHash;

sol! {
    /// An app provider's offer: run this app for a price.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct AppOrder {
        address app;
        uint256 appprice;
        uint256 volume;
        bytes32 tag;
        address datasetrestrict;
        address workerpoolrestrict;
        address requesterrestrict;
        bytes32 salt;
    }

    /// A dataset provider's offer: use this dataset for a price.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct DatasetOrder {
        address dataset;
        uint256 datasetprice;
        uint256 volume;
        bytes32 tag;
        address apprestrict;
        address workerpoolrestrict;
        address requesterrestrict;
        bytes32 salt;
    }

    /// A pool's offer: so many tasks of a category at a trust, for a price each.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct WorkerpoolOrder {
        address workerpool;
        uint256 workerpoolprice;
        uint256 volume;
        bytes32 tag;
        uint256 category;
        uint256 trust;
        address apprestrict;
        address datasetrestrict;
        address requesterrestrict;
        bytes32 salt;
    }

    /// A requester's wish: so many tasks of this app, at these prices at most.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct RequestOrder {
        address app;
        uint256 appmaxprice;
        address dataset;
        uint256 datasetmaxprice;
        address workerpool;
        uint256 workerpoolmaxprice;
        address requester;
        uint256 volume;
        bytes32 tag;
        uint256 category;
        uint256 trust;
        address beneficiary;
        address callback;
        string params;
        bytes32 salt;
    }
}

/// An order with its signature (65 bytes r ++ s ++ v, or empty when presigned on the ledger).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// The order.
    pub order: T,
    /// The signature of the order's owner.
    pub sign: Bytes,
}

/// The EIP-712 domain of the hub at `hub` on chain `chain_id`.
pub fn domain(chain_id: u64, hub: Address) -> Eip712Domain {
    eip712_domain! {
        name: "iExecODB",
        version: "5.0.0",
        chain_id: chain_id,
        verifying_contract: hub,
    }
}

/// The hash that is signed and under which the hub counts an order's use.
pub fn order_hash<T: SolStruct>(order: &T, domain: &Eip712Domain) -> OrderHash {
    OrderHash(order.eip712_signing_hash(domain))
}

/// An order's salt of zeros: makes equal orders equal. Orders that must differ take 32 random bytes instead.
pub const NO_SALT: B256 = B256::ZERO;
