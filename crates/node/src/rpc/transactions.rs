//! Methods that send and find transactions.

use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::Transaction as _;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{Index, Transaction, TransactionReceipt};
use gristmill_evm::{ExecutedBlock, check_transaction, decode_transaction};
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, timeout_at};

use crate::pool::SenderState;
use crate::rpc::convert::{self, Arguments};
use crate::rpc::{Context, RpcResult, add, errors, limits};

pub(crate) fn register(module: &mut RpcModule<Context>) {
    add(module, "eth_sendRawTransaction", send);
    add(module, "eth_getTransactionByHash", by_hash);
    add(module, "eth_getTransactionByBlockNumberAndIndex", by_block_number);
    add(module, "eth_getTransactionByBlockHashAndIndex", by_block_hash);
    add(module, "eth_getTransactionReceipt", receipt);
    module
        .register_async_method("eth_sendRawTransactionSync", |params, context, _| async move {
            send_sync(context, params).await
        })
        .expect("INVARIANT: every method name is registered once");
}

fn send(context: &Context, params: Params<'_>) -> RpcResult<B256> {
    let bytes: Bytes = Arguments::of(&params).next()?;
    Ok(admit(context, &bytes)?.hash)
}

/// A transaction that the pool took.
struct Admitted {
    hash: B256,
    /// The nonce that is missing before it, if one is.
    waits_for: Option<u64>,
}

/// Judges a transaction and puts it into the pool.
fn admit(context: &Context, bytes: &[u8]) -> RpcResult<Admitted> {
    if let Some(failure) = context.failed.borrow().as_ref() {
        return Err(errors::internal(format!("the ledger takes no more transactions: {failure}")));
    }
    let transaction = decode_transaction(bytes).map_err(errors::server)?;
    let head = context.chain.head();
    check_transaction(&transaction, context.chain.chain_id(), head.gas_limit).map_err(errors::server)?;
    let (hash, sender) = (*transaction.inner().tx_hash(), transaction.signer());
    let nonce = transaction.nonce();
    let view = context.view()?;
    let state = view.state(view.head()).map_err(errors::store)?;
    let sender_state = SenderState {
        nonce: state.nonce(sender).map_err(errors::store)?,
        balance: state.balance(sender).map_err(errors::store)?,
    };
    // A transaction that is in a block already is known, whatever its nonce says.
    if nonce < sender_state.nonce && view.transaction(hash).map_err(errors::store)?.is_some() {
        return Err(errors::server("already known"));
    }
    let now_ms = context.source.now_ms();
    let mut pool = context.source.pool();
    let ready = pool.add(transaction, sender_state, now_ms).map_err(errors::server)?;
    let waits_for = (!ready).then(|| pool.next_nonce(sender, sender_state.nonce));
    drop(pool);
    if ready {
        context.source.wake();
    }
    Ok(Admitted { hash, waits_for })
}

async fn send_sync(context: Arc<Context>, params: Params<'static>) -> RpcResult<TransactionReceipt> {
    let mut arguments = Arguments::of(&params);
    let bytes: Bytes = arguments.next()?;
    let wanted: Option<u64> = arguments.optional()?;
    let wait = wanted.map_or(limits::SYNC_TIMEOUT_DEFAULT, Duration::from_millis).min(limits::SYNC_TIMEOUT_MAX);
    // Listening starts before sending, so that the block cannot be missed.
    let blocks = context.blocks.subscribe();
    let deadline = Instant::now() + wait;
    let admitting = Arc::clone(&context);
    let admitted = tokio::task::spawn_blocking(move || admit(&admitting, &bytes))
        .await
        .map_err(|_| errors::internal("the transaction could not be judged"))??;
    if let Some(next) = admitted.waits_for {
        return Err(errors::sync_nonce_gap(next));
    }
    let hash = admitted.hash;
    let mut stopping = context.stopping.clone();
    let outcome = async {
        tokio::select! {
            settled = settled(blocks, hash) => settled,
            _ = stopping.wait_for(|stop| *stop) => Settled::Unknown,
        }
    };
    match timeout_at(deadline, outcome).await {
        Ok(Settled::Rejected(reason)) => Err(errors::server(reason)),
        Ok(Settled::Unknown) => Err(errors::internal("the node shuts down")),
        Ok(Settled::Mined) => tokio::task::spawn_blocking(move || find_receipt(&context, hash))
            .await
            .map_err(|_| errors::internal("the receipt could not be read"))??
            .ok_or_else(|| errors::internal("the receipt is missing")),
        Err(_) => Err(errors::sync_timeout(hash, wait.as_secs_f64())),
    }
}

/// What became of a transaction.
enum Settled {
    Mined,
    Rejected(String),
    Unknown,
}

async fn settled(mut blocks: broadcast::Receiver<Arc<ExecutedBlock>>, hash: B256) -> Settled {
    loop {
        let block = match blocks.recv().await {
            Ok(block) => block,
            // Missed blocks: the caller's time-out or the receipt decides.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Settled::Unknown,
        };
        if block.transactions.iter().any(|transaction| *transaction.inner().tx_hash() == hash) {
            return Settled::Mined;
        }
        for rejected in &block.rejected {
            if *rejected.transaction.inner().tx_hash() == hash {
                return Settled::Rejected(rejected.reason.clone());
            }
        }
    }
}

fn by_hash(context: &Context, params: Params<'_>) -> RpcResult<Option<Transaction>> {
    let hash: B256 = Arguments::of(&params).next()?;
    // The pool first: a transaction leaves it only after its block is stored.
    let waiting = context.source.pool().get(hash).cloned();
    let mined = context.view()?.transaction(hash).map_err(errors::store)?;
    Ok(match mined {
        Some(mined) => Some(convert::transaction(mined)),
        None => waiting.map(|waiting| convert::waiting(waiting, None)),
    })
}

fn by_block_number(context: &Context, params: Params<'_>) -> RpcResult<Option<Transaction>> {
    let mut arguments = Arguments::of(&params);
    let (number, index): (BlockNumberOrTag, Index) = (arguments.next()?, arguments.next()?);
    let view = context.view()?;
    let number = convert::number_of(&view, number);
    at(&view, number, index)
}

fn by_block_hash(context: &Context, params: Params<'_>) -> RpcResult<Option<Transaction>> {
    let mut arguments = Arguments::of(&params);
    let (hash, index): (B256, Index) = (arguments.next()?, arguments.next()?);
    let view = context.view()?;
    match view.number_of(hash).map_err(errors::store)? {
        Some(number) => at(&view, number, index),
        None => Ok(None),
    }
}

fn at(view: &gristmill_evm::View, number: u64, index: Index) -> RpcResult<Option<Transaction>> {
    let Ok(index) = u32::try_from(usize::from(index)) else { return Ok(None) };
    let mined = view.transaction_at(number, index).map_err(errors::store)?;
    Ok(mined.map(convert::transaction))
}

fn receipt(context: &Context, params: Params<'_>) -> RpcResult<Option<TransactionReceipt>> {
    find_receipt(context, Arguments::of(&params).next()?)
}

fn find_receipt(context: &Context, hash: B256) -> RpcResult<Option<TransactionReceipt>> {
    let mined = context.view()?.transaction(hash).map_err(errors::store)?;
    Ok(mined.as_ref().map(convert::receipt))
}
