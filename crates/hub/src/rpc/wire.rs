//! The JSON of answers, as far as it is needed here.

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ledger::{BlockHead, Log, News, Receipt};

#[derive(Debug, Deserialize)]
pub(super) struct WireResponse {
    #[serde(default)]
    pub id: Option<u64>,
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    #[serde(default)]
    pub error: Option<WireError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireError {
    pub code: i64,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    data: Option<Value>,
}

impl WireError {
    /// The bytes with which a contract reverted: servers give them as text, or inside an object.
    pub fn revert_data(&self) -> Option<Bytes> {
        let data = self.data.as_ref()?;
        let text = data.as_str().or_else(|| data.get("data")?.as_str())?;
        if self.code != 3 && !self.message.to_ascii_lowercase().contains("revert") {
            return None;
        }
        text.parse().ok()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireBlock {
    number: U64,
    hash: B256,
    timestamp: U64,
    #[serde(default)]
    base_fee_per_gas: Option<U256>,
}

impl WireBlock {
    pub fn base_fee(&self) -> Option<u128> {
        self.base_fee_per_gas.map(|fee| fee.saturating_to())
    }
}

impl From<WireBlock> for BlockHead {
    fn from(block: WireBlock) -> Self {
        Self { number: block.number.to(), hash: block.hash, timestamp: block.timestamp.to() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireReceipt {
    transaction_hash: B256,
    block_number: U64,
    #[serde(default)]
    status: Option<U64>,
    gas_used: U64,
    #[serde(default)]
    contract_address: Option<Address>,
    #[serde(default)]
    logs: Vec<WireLog>,
}

impl From<WireReceipt> for Receipt {
    fn from(receipt: WireReceipt) -> Self {
        Self {
            tx_hash: receipt.transaction_hash,
            block: receipt.block_number.to(),
            success: receipt.status.is_none_or(|status| !status.is_zero()),
            gas_used: receipt.gas_used.to(),
            contract: receipt.contract_address,
            logs: receipt.logs.into_iter().map(Log::from).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    #[serde(default)]
    block_timestamp: Option<U64>,
    transaction_hash: B256,
    log_index: U64,
}

impl From<WireLog> for Log {
    fn from(log: WireLog) -> Self {
        Self {
            address: log.address,
            topics: log.topics,
            data: log.data,
            block: log.block_number.to(),
            timestamp: log.block_timestamp.map(|timestamp| timestamp.to()),
            tx_hash: log.transaction_hash,
            index: log.log_index.to(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireNews {
    head: U64,
    before: Option<WireBlock>,
    last: Option<WireBlock>,
    logs: Vec<WireLog>,
}

impl From<WireNews> for News {
    fn from(news: WireNews) -> Self {
        Self {
            head: news.head.to(),
            before: news.before.map(BlockHead::from),
            last: news.last.map(BlockHead::from),
            logs: news.logs.into_iter().map(Log::from).collect(),
        }
    }
}
