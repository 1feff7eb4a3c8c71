//! `gristmill_events`: what a program that follows a contract needs of the next blocks, in one request that waits for them.
//!
//! With the methods of Ethereum it takes three or four requests a block, and one every few milliseconds while there is none.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U64};
use alloy_rpc_types_eth::Log;
use gristmill_evm::{LogQuery, View};
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::rpc::convert::Arguments;
use crate::rpc::logs::find;
use crate::rpc::{Context, RpcResult, errors, limits};

pub(crate) fn register(module: &mut RpcModule<Context>) {
    module
        .register_async_method("gristmill_events", |params, context, _| async move { events(context, params).await })
        .expect("INVARIANT: every method name is registered once");
}

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Query {
    /// The first block.
    from_block: U64,
    /// Blocks of this answer at most, 1 or more.
    blocks: u64,
    /// Only of these contracts; all when empty.
    address: Vec<Address>,
    /// How long to wait for the first block, in milliseconds; [`limits::EVENTS_WAIT_MAX`] at most.
    wait_ms: u64,
}

/// The events of some blocks.
#[derive(Debug, Clone, Serialize)]
struct News {
    /// The number of the newest block.
    head: U64,
    /// The block before the first one; `null` before block 0, and when the ledger does not reach so far.
    before: Option<Named>,
    /// The last block of the answer; `null` if the first one is not there yet.
    last: Option<Named>,
    /// The events, in their order.
    logs: Vec<Log>,
}

#[derive(Debug, Clone, Serialize)]
struct Named {
    number: U64,
    hash: B256,
    timestamp: U64,
}

async fn events(context: Arc<Context>, params: Params<'static>) -> RpcResult<News> {
    let query: Query = Arguments::of(&params).next()?;
    if query.blocks == 0 {
        return Err(errors::invalid("`blocks` is at least 1"));
    }
    if query.address.len() > limits::FILTER_TERMS_MAX {
        return Err(errors::limit(format!("more than {} addresses", limits::FILTER_TERMS_MAX)));
    }
    let wait = Duration::from_millis(query.wait_ms).min(limits::EVENTS_WAIT_MAX);
    if !wait.is_zero() {
        // What it ends with is read below in any case.
        let _ = timeout_at(Instant::now() + wait, block_is_there(&context, query.from_block.to())).await;
    }
    tokio::task::spawn_blocking(move || read(&context, &query))
        .await
        .map_err(|_| errors::internal("the events could not be read"))?
}

/// Waits until the ledger has a block of this number, or the node shuts down.
async fn block_is_there(context: &Context, number: u64) {
    // Listening starts before looking, so that the block cannot be missed.
    let mut blocks = context.blocks.subscribe();
    let mut stopping = context.stopping.clone();
    while context.chain.head().number < number {
        tokio::select! {
            // Whoever missed blocks, or is told that no more come, finds at the next look what there is.
            block = blocks.recv() => if matches!(block, Err(tokio::sync::broadcast::error::RecvError::Closed)) { return },
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

fn read(context: &Context, query: &Query) -> RpcResult<News> {
    let view = context.view()?;
    let (from, head) = (query.from_block.to::<u64>(), view.head());
    let before = match from.checked_sub(1) {
        Some(before) => named(&view, before)?,
        None => None,
    };
    if from > head {
        return Ok(News { head: U64::from(head), before, last: None, logs: Vec::new() });
    }
    let to = head.min(from.saturating_add(query.blocks - 1));
    let wanted = LogQuery { addresses: query.address.clone(), ..LogQuery::default() };
    let logs = find(&view, &wanted, from, to)?;
    Ok(News { head: U64::from(head), before, last: named(&view, to)?, logs })
}

fn named(view: &View, number: u64) -> RpcResult<Option<Named>> {
    let header = view.header(number).map_err(errors::store)?;
    Ok(header.map(|header| Named {
        number: U64::from(number),
        hash: header.hash(),
        timestamp: U64::from(header.timestamp),
    }))
}
