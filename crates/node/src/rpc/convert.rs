//! Turns what the ledger knows into the shapes of JSON-RPC, and back.

use alloy_consensus::{Eip658Value, Header as ConsensusHeader, Receipt, ReceiptEnvelope, Transaction as _};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::U256;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt, Withdrawals};
use gristmill_evm::{ExecutedBlock, FoundLog, MinedTransaction, SignedTransaction, StoredBlock, View};
use jsonrpsee::types::Params;
use serde::de::DeserializeOwned;

use crate::rpc::{RpcResult, errors};

/// A number as JSON-RPC writes it.
pub(crate) fn quantity(value: u64) -> String {
    format!("{value:#x}")
}

/// The parameters of a call, one after the other.
pub(crate) struct Arguments<'a>(jsonrpsee::types::params::ParamsSequence<'a>);

impl<'a> Arguments<'a> {
    pub fn of(params: &'a Params<'a>) -> Self {
        Self(params.sequence())
    }

    /// The next parameter, which must be there.
    pub fn next<T: DeserializeOwned>(&mut self) -> RpcResult<T> {
        self.0.next()
    }

    /// The next parameter, if it is there and not null.
    pub fn optional<T: DeserializeOwned>(&mut self) -> RpcResult<Option<T>> {
        self.0.optional_next()
    }
}

/// A block as a parameter of a state method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Latest, safe, finalized or pending: the last block.
    Latest,
    /// This block.
    Number(u64),
}

/// Finds the block that a parameter means; without one it is the last.
pub(crate) fn block_at(view: &View, id: Option<BlockId>) -> RpcResult<At> {
    match id {
        None => Ok(At::Latest),
        Some(BlockId::Number(number)) => match block_number(view, number) {
            Some(number) => Ok(At::Number(number)),
            None => Ok(At::Latest),
        },
        Some(BlockId::Hash(hash)) => match view.number_of(hash.block_hash) {
            Ok(Some(number)) => Ok(At::Number(number)),
            Ok(None) => Err(errors::no_block()),
            Err(error) => Err(errors::store(error)),
        },
    }
}

/// The number that a parameter means; `None` for the tags of the last block.
fn block_number(_view: &View, number: BlockNumberOrTag) -> Option<u64> {
    match number {
        BlockNumberOrTag::Number(number) => Some(number),
        BlockNumberOrTag::Earliest => Some(0),
        _ => None,
    }
}

/// The number of the block that a parameter of a block method means.
pub(crate) fn number_of(view: &View, number: BlockNumberOrTag) -> u64 {
    block_number(view, number).unwrap_or_else(|| view.head())
}

/// A header.
pub(crate) fn header(block: &ExecutedBlock) -> Header {
    header_of(block.header.inner().clone(), block.header.hash(), None)
}

fn header_of(inner: ConsensusHeader, hash: alloy_primitives::B256, size: Option<u64>) -> Header {
    Header { hash, inner, total_difficulty: Some(U256::ZERO), size: size.map(U256::from) }
}

/// A block, with whole transactions or with their hashes.
pub(crate) fn block(block: StoredBlock, full: bool) -> Block {
    let StoredBlock { header, transactions, size } = block;
    let transactions = if full {
        let place = |(index, transaction)| {
            let index = index as u64;
            waiting(transaction, Some((header.number, header.hash(), header.timestamp, index)))
        };
        BlockTransactions::Full(transactions.into_iter().enumerate().map(place).collect())
    } else {
        let hashes = transactions.iter().map(|transaction| *transaction.inner().tx_hash());
        BlockTransactions::Hashes(hashes.collect())
    };
    let hash = header.hash();
    Block {
        header: header_of(header.into_inner(), hash, Some(size)),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Withdrawals::default()),
    }
}

/// A transaction; without a place it is one that waits in the pool.
pub(crate) fn waiting(
    transaction: SignedTransaction,
    place: Option<(u64, alloy_primitives::B256, u64, u64)>,
) -> Transaction {
    Transaction {
        inner: transaction,
        block_hash: place.map(|place| place.1),
        block_number: place.map(|place| place.0),
        transaction_index: place.map(|place| place.3),
        effective_gas_price: place.map(|_| 0),
        block_timestamp: place.map(|place| place.2),
    }
}

/// A transaction that is in a block.
pub(crate) fn transaction(mined: MinedTransaction) -> Transaction {
    let place = (mined.block_number, mined.block_hash, mined.block_timestamp, u64::from(mined.index));
    waiting(mined.transaction, Some(place))
}

/// The receipt of a transaction that is in a block.
pub(crate) fn receipt(mined: &MinedTransaction) -> TransactionReceipt {
    let hash = *mined.transaction.inner().tx_hash();
    let index = u64::from(mined.index);
    let logs = mined.receipt.logs.iter().zip(mined.receipt.first_log_index..);
    let logs: Vec<Log> = logs
        .map(|(log, log_index)| Log {
            inner: log.clone(),
            block_hash: Some(mined.block_hash),
            block_number: Some(mined.block_number),
            block_timestamp: Some(mined.block_timestamp),
            transaction_hash: Some(hash),
            transaction_index: Some(index),
            log_index: Some(log_index),
            removed: false,
        })
        .collect();
    let receipt = Receipt {
        status: Eip658Value::Eip658(mined.receipt.success),
        cumulative_gas_used: mined.receipt.cumulative_gas_used,
        logs,
    }
    .with_bloom();
    TransactionReceipt {
        inner: match mined.receipt.kind {
            0 => ReceiptEnvelope::Legacy(receipt),
            1 => ReceiptEnvelope::Eip2930(receipt),
            2 => ReceiptEnvelope::Eip1559(receipt),
            3 => ReceiptEnvelope::Eip4844(receipt),
            _ => ReceiptEnvelope::Eip7702(receipt),
        },
        transaction_hash: hash,
        transaction_index: Some(index),
        block_hash: Some(mined.block_hash),
        block_number: Some(mined.block_number),
        gas_used: mined.receipt.gas_used,
        effective_gas_price: 0,
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.transaction.signer(),
        to: mined.transaction.to(),
        contract_address: mined.created(),
    }
}

/// A log found on the ledger.
pub(crate) fn log(found: FoundLog) -> Log {
    Log {
        inner: found.log,
        block_hash: Some(found.block_hash),
        block_number: Some(found.block_number),
        block_timestamp: Some(found.block_timestamp),
        transaction_hash: Some(found.transaction_hash),
        transaction_index: Some(u64::from(found.transaction_index)),
        log_index: Some(found.log_index),
        removed: false,
    }
}
