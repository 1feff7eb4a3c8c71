//! The evidence of a task: everything needed to check it again against the ledger.

use alloy_primitives::{Address, B256};
use gristmill_types::{Amount, DealId, OrderHash, TaskId, TaskStatus};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Root, Witness};

/// What a requester keeps of a task. A receipt proves nothing by itself: `gristmill verify` recomputes root and digest
/// from the files and compares them with the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// 1.
    pub version: u32,
    /// Chain of the hub.
    pub chain_id: u64,
    /// The hub.
    pub hub: Address,
    /// The request order's hash.
    pub request: OrderHash,
    /// The deal.
    pub deal: DealId,
    /// The task.
    pub task: TaskId,
    /// Its index within the deal.
    pub index: u64,
    /// How it ended on the ledger.
    pub status: TaskStatus,
    /// What was settled.
    pub digest: Digest,
    /// Hash of the manifest of the files delivered.
    pub root: Root,
    /// Proof of having run it.
    pub witness: Witness,
    /// `callback-data`, in hex.
    #[serde(with = "alloy_primitives::hex")]
    pub answer: Vec<u8>,
    /// Trust asked for.
    pub trust: u64,
    /// What the requester paid for this task.
    pub paid: Amount,
    /// Everybody who contributed.
    pub contributions: Vec<ReceiptContribution>,
    /// The folder of its files, relative to the receipt.
    pub folder: String,
}

/// One worker's part in a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptContribution {
    /// Who.
    pub worker: Address,
    /// What they committed to: keccak256(task ++ digest).
    pub result_hash: B256,
    /// True when it is the accepted result.
    pub accepted: bool,
}
