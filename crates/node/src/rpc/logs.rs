//! Methods about logs, and the filters that are polled for them.

use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, FilterChanges, Log};
use gristmill_evm::{LogQuery, View};
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;

use crate::rpc::convert::{self, Arguments};
use crate::rpc::filters::Kind;
use crate::rpc::{Context, RpcResult, add, errors, limits};

/// Hashes that one answer of a block filter may have.
const BLOCK_HASHES_MAX: u64 = 10_000;

pub(crate) fn register(module: &mut RpcModule<Context>) {
    add(module, "eth_getLogs", get_logs);
    add(module, "eth_newFilter", new_filter);
    add(module, "eth_newBlockFilter", new_block_filter);
    add(module, "eth_getFilterChanges", filter_changes);
    add(module, "eth_getFilterLogs", filter_logs);
    add(module, "eth_uninstallFilter", uninstall_filter);
}

fn get_logs(context: &Context, params: Params<'_>) -> RpcResult<Vec<Log>> {
    let filter: Filter = Arguments::of(&params).next()?;
    let query = log_query(&filter)?;
    let view = context.view()?;
    let (from, to) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = view.number_of(hash).map_err(errors::store)?;
            let number = number.ok_or_else(|| errors::server("unknown block"))?;
            (number, number)
        }
        FilterBlockOption::Range { from_block, to_block } => (
            from_block.map_or(view.head(), |number| convert::number_of(&view, number)),
            to_block.map_or(view.head(), |number| convert::number_of(&view, number)),
        ),
    };
    if from > to {
        return Err(errors::invalid("invalid block range: fromBlock is after toBlock"));
    }
    find(&view, &query, from, to)
}

/// What a filter asks for, apart from the blocks.
pub(crate) fn log_query(filter: &Filter) -> RpcResult<LogQuery> {
    let query = LogQuery {
        addresses: filter.address.iter().copied().collect(),
        topics: std::array::from_fn(|position| {
            filter.topics.get(position).map(|set| set.iter().copied().collect()).unwrap_or_default()
        }),
    };
    let longest = query.topics.iter().map(Vec::len).max().unwrap_or(0).max(query.addresses.len());
    if longest > limits::FILTER_TERMS_MAX {
        let message = format!("more than {} addresses or topics", limits::FILTER_TERMS_MAX);
        return Err(errors::limit(message));
    }
    Ok(query)
}

pub(crate) fn find(view: &View, query: &LogQuery, from: u64, to: u64) -> RpcResult<Vec<Log>> {
    let to = to.min(view.head());
    let open = query.addresses.is_empty() && query.topics.iter().all(Vec::is_empty);
    if open && to.saturating_sub(from) >= limits::OPEN_LOGS_BLOCKS_MAX {
        return Err(errors::limit(format!(
            "query spans more than {} blocks: name a contract or a topic, or ask for fewer blocks",
            limits::OPEN_LOGS_BLOCKS_MAX
        )));
    }
    let found = view.logs(query, from, to, limits::LOGS_MAX).map_err(errors::logs)?;
    Ok(found.into_iter().map(convert::log).collect())
}

fn new_filter(context: &Context, params: Params<'_>) -> RpcResult<U256> {
    let filter: Filter = Arguments::of(&params).next()?;
    let query = log_query(&filter)?;
    let view = context.view()?;
    let FilterBlockOption::Range { from_block, to_block } = filter.block_option else {
        return Err(errors::invalid("a filter spans blocks by number, not by hash"));
    };
    let from = from_block.map_or(view.head(), |number| convert::number_of(&view, number));
    let to = to_block.and_then(|number| number.as_number());
    let next = from.max(view.head() + 1);
    install(context, Kind::Logs { query, from, to }, next)
}

fn new_block_filter(context: &Context, _: Params<'_>) -> RpcResult<U256> {
    let next = context.view()?.head() + 1;
    install(context, Kind::Blocks, next)
}

fn install(context: &Context, kind: Kind, next: u64) -> RpcResult<U256> {
    let now_ms = context.source.now_ms();
    context
        .filters
        .install(kind, next, now_ms)
        .ok_or_else(|| errors::limit(format!("more than {} filters", limits::FILTERS_MAX)))
}

fn filter_changes(context: &Context, params: Params<'_>) -> RpcResult<FilterChanges> {
    let (id, kind, next) = filter(context, &params)?;
    let view = context.view()?;
    let head = view.head();
    match kind {
        Kind::Logs { query, to, .. } => {
            let to = to.unwrap_or(u64::MAX).min(head);
            let logs = if next <= to { find(&view, &query, next, to)? } else { Vec::new() };
            context.filters.advance(id, head + 1);
            Ok(FilterChanges::Logs(logs))
        }
        Kind::Blocks => {
            let first = next.max((head + 1).saturating_sub(BLOCK_HASHES_MAX));
            let mut hashes: Vec<B256> = Vec::new();
            for number in first..=head {
                let header = view.header(number).map_err(errors::store)?;
                hashes.extend(header.map(|header| header.hash()));
            }
            context.filters.advance(id, head + 1);
            Ok(FilterChanges::Hashes(hashes))
        }
    }
}

fn filter_logs(context: &Context, params: Params<'_>) -> RpcResult<Vec<Log>> {
    let (_, kind, _) = filter(context, &params)?;
    let view = context.view()?;
    match kind {
        Kind::Logs { query, from, to } => find(&view, &query, from, to.unwrap_or(view.head())),
        Kind::Blocks => Err(errors::server("filter not found")),
    }
}

fn filter(context: &Context, params: &Params<'_>) -> RpcResult<(U256, Kind, u64)> {
    let id: U256 = Arguments::of(params).next()?;
    let found = context.filters.get(id, context.source.now_ms());
    let (kind, next) = found.ok_or_else(|| errors::server("filter not found"))?;
    Ok((id, kind, next))
}

fn uninstall_filter(context: &Context, params: Params<'_>) -> RpcResult<bool> {
    Ok(context.filters.remove(Arguments::of(&params).next()?))
}
