//! JSON-RPC errors, with the codes and texts that Ethereum clients know.

use alloy_primitives::{B256, Bytes, hex};
use alloy_sol_types::RevertReason;
use gristmill_evm::{CallError, LogsError, StoreError};
use jsonrpsee::types::ErrorObjectOwned;
use tracing::error;

/// The transaction or the call cannot be done.
const SERVER: i32 = -32000;
/// A parameter is not what it should be.
const INVALID_PARAMS: i32 = -32602;
/// The node itself failed.
const INTERNAL: i32 = -32603;
/// More was asked for than is given.
const LIMIT: i32 = -32005;
/// The contract reverted; `data` is what it returned.
const REVERTED: i32 = 3;
/// EIP-7966: the receipt did not come in time; `data` is the transaction's hash.
const SYNC_TIMEOUT: i32 = 4;
/// EIP-7966: the transaction waits for another nonce; `data` is the nonce that is missing.
const SYNC_NONCE_GAP: i32 = 6;

pub(crate) fn server(message: impl ToString) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(SERVER, message.to_string(), None::<()>)
}

pub(crate) fn invalid(message: impl ToString) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INVALID_PARAMS, message.to_string(), None::<()>)
}

pub(crate) fn limit(message: impl ToString) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(LIMIT, message.to_string(), None::<()>)
}

pub(crate) fn internal(message: impl ToString) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INTERNAL, message.to_string(), None::<()>)
}

/// The block asked for is not there.
pub(crate) fn no_block() -> ErrorObjectOwned {
    server("header not found")
}

/// The caller hears that the ledger failed; how it failed is for the log.
pub(crate) fn store(cause: StoreError) -> ErrorObjectOwned {
    if let StoreError::UnknownBlock { .. } = cause {
        return no_block();
    }
    error!(error = &cause as &dyn std::error::Error, "the ledger cannot be read");
    internal("the ledger cannot be read: see the node's log")
}

pub(crate) fn call(cause: CallError) -> ErrorObjectOwned {
    match cause {
        CallError::Store(cause) => store(cause),
        CallError::Reverted { data } => reverted(&data),
        other => server(other),
    }
}

pub(crate) fn logs(cause: LogsError) -> ErrorObjectOwned {
    match cause {
        LogsError::Store(cause) => store(cause),
        other => limit(other),
    }
}

pub(crate) fn sync_timeout(hash: B256, seconds: f64) -> ErrorObjectOwned {
    let message = format!("transaction {hash} is in the pool but got into no block in {seconds} s");
    ErrorObjectOwned::owned(SYNC_TIMEOUT, message, Some(hash))
}

pub(crate) fn sync_nonce_gap(next: u64) -> ErrorObjectOwned {
    let message = format!("the transaction waits for nonce {next}");
    ErrorObjectOwned::owned(SYNC_NONCE_GAP, message, Some(format!("{next:#x}")))
}

fn reverted(data: &Bytes) -> ErrorObjectOwned {
    let message = match revert_reason(data) {
        Some(reason) => format!("execution reverted: {reason}"),
        None => "execution reverted".into(),
    };
    ErrorObjectOwned::owned(REVERTED, message, Some(hex::encode_prefixed(data)))
}

/// The text of `Error(string)` or of a `Panic(uint256)`.
fn revert_reason(data: &[u8]) -> Option<String> {
    match RevertReason::decode(data)? {
        RevertReason::ContractError(error) => match error {
            alloy_sol_types::GenericContractError::Revert(revert) => Some(revert.reason),
            alloy_sol_types::GenericContractError::Panic(panic) => Some(panic.to_string()),
        },
        RevertReason::RawString(_) => None,
    }
}
