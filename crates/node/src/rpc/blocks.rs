//! Methods about blocks.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Block, FeeHistory, TransactionReceipt};
use gristmill_evm::View;
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use serde::Deserialize;

use crate::rpc::convert::{self, Arguments, At};
use crate::rpc::{Context, RpcResult, add, errors, limits};

pub(crate) fn register(module: &mut RpcModule<Context>) {
    add(module, "eth_getBlockByNumber", by_number);
    add(module, "eth_getBlockByHash", by_hash);
    add(module, "eth_getBlockTransactionCountByNumber", count_by_number);
    add(module, "eth_getBlockTransactionCountByHash", count_by_hash);
    add(module, "eth_getUncleCountByBlockNumber", uncles_by_number);
    add(module, "eth_getUncleCountByBlockHash", uncles_by_hash);
    add(module, "eth_getBlockReceipts", receipts);
    add(module, "eth_feeHistory", fee_history);
}

fn by_number(context: &Context, params: Params<'_>) -> RpcResult<Option<Block>> {
    let mut arguments = Arguments::of(&params);
    let number: BlockNumberOrTag = arguments.next()?;
    let full = arguments.optional()?.unwrap_or(false);
    let view = context.view()?;
    block(&view, Some(convert::number_of(&view, number)), full)
}

fn by_hash(context: &Context, params: Params<'_>) -> RpcResult<Option<Block>> {
    let mut arguments = Arguments::of(&params);
    let hash: B256 = arguments.next()?;
    let full = arguments.optional()?.unwrap_or(false);
    let view = context.view()?;
    let number = view.number_of(hash).map_err(errors::store)?;
    block(&view, number, full)
}

fn block(view: &View, number: Option<u64>, full: bool) -> RpcResult<Option<Block>> {
    let Some(number) = number else { return Ok(None) };
    let block = view.block(number).map_err(errors::store)?;
    Ok(block.map(|block| convert::block(block, full)))
}

fn count_by_number(context: &Context, params: Params<'_>) -> RpcResult<Option<String>> {
    let view = context.view()?;
    let number = convert::number_of(&view, Arguments::of(&params).next()?);
    let count = view.transaction_count(number).map_err(errors::store)?;
    Ok(count.map(convert::quantity))
}

fn count_by_hash(context: &Context, params: Params<'_>) -> RpcResult<Option<String>> {
    let view = context.view()?;
    let hash: B256 = Arguments::of(&params).next()?;
    let Some(number) = view.number_of(hash).map_err(errors::store)? else { return Ok(None) };
    let count = view.transaction_count(number).map_err(errors::store)?;
    Ok(count.map(convert::quantity))
}

fn uncles_by_number(context: &Context, params: Params<'_>) -> RpcResult<Option<String>> {
    Ok(count_by_number(context, params)?.map(|_| convert::quantity(0)))
}

fn uncles_by_hash(context: &Context, params: Params<'_>) -> RpcResult<Option<String>> {
    Ok(count_by_hash(context, params)?.map(|_| convert::quantity(0)))
}

fn receipts(context: &Context, params: Params<'_>) -> RpcResult<Option<Vec<TransactionReceipt>>> {
    let view = context.view()?;
    let id: BlockId = Arguments::of(&params).next()?;
    let number = match convert::block_at(&view, Some(id)) {
        Ok(At::Latest) => view.head(),
        Ok(At::Number(number)) => number,
        Err(error) if error == errors::no_block() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mined = view.mined_block(number).map_err(errors::store)?;
    Ok(mined.map(|mined| mined.iter().map(convert::receipt).collect()))
}

/// A number that clients send as a quantity, as decimal text or as a JSON number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl Count {
    fn value(&self) -> RpcResult<u64> {
        let value = match self {
            Count::Number(number) => Some(*number),
            Count::Text(text) => match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            },
        };
        value.ok_or_else(|| errors::invalid("the number of blocks is not a number"))
    }
}

fn fee_history(context: &Context, params: Params<'_>) -> RpcResult<FeeHistory> {
    let mut arguments = Arguments::of(&params);
    let wanted = arguments.next::<Count>()?.value()?.min(limits::FEE_HISTORY_BLOCKS_MAX);
    let newest: BlockNumberOrTag = arguments.next()?;
    let percentiles: Vec<f64> = arguments.optional()?.unwrap_or_default();
    let view = context.view()?;
    let newest = convert::number_of(&view, newest);
    if newest > view.head() {
        return Err(errors::server(format!("request beyond head block: requested {newest}, head {}", view.head())));
    }
    let count = wanted.min(newest + 1);
    let oldest = newest + 1 - count;
    let mut gas_used_ratio = Vec::with_capacity(count as usize);
    for number in oldest..=newest {
        let Some(header) = view.header(number).map_err(errors::store)? else { break };
        gas_used_ratio.push(header.gas_used as f64 / header.gas_limit.max(1) as f64);
        if gas_used_ratio.len() as u64 == count {
            break;
        }
    }
    let blocks = gas_used_ratio.len();
    Ok(FeeHistory {
        base_fee_per_gas: vec![0; blocks + 1],
        gas_used_ratio,
        base_fee_per_blob_gas: vec![1; blocks + 1],
        blob_gas_used_ratio: vec![0.0; blocks],
        oldest_block: oldest,
        reward: (!percentiles.is_empty()).then(|| vec![vec![0; percentiles.len()]; blocks]),
    })
}
