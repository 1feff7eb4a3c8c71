//! Subscriptions over WebSocket: new blocks and new logs as they come.

use std::sync::Arc;

use alloy_rpc_types_eth::Log;
use alloy_rpc_types_eth::pubsub::{Params as SubscriptionParams, SubscriptionKind};
use gristmill_evm::{ExecutedBlock, LogQuery};
use jsonrpsee::server::{IdProvider, SubscriptionMessage};
use jsonrpsee::types::{Params, SubscriptionId};
use jsonrpsee::{PendingSubscriptionSink, RpcModule, SubscriptionSink};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::rpc::convert::{self, Arguments};
use crate::rpc::{Context, RpcResult, errors, logs};

/// Gives subscriptions ids as Ethereum clients expect them: a quantity in hex text.
#[derive(Debug)]
pub(crate) struct HexIds;

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static LAST: AtomicU64 = AtomicU64::new(0);
        // An id only has to differ from others of its connection.
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        SubscriptionId::Str(format!("{id:#x}").into())
    }
}

/// What a subscriber hears about.
enum Topic {
    Heads,
    Logs(LogQuery),
}

pub(crate) fn register(module: &mut RpcModule<Context>) {
    module
        .register_subscription("eth_subscribe", "eth_subscription", "eth_unsubscribe", |params, pending, context, _| {
            serve(params, pending, context)
        })
        .expect("INVARIANT: every method name is registered once");
}

async fn serve(params: Params<'static>, pending: PendingSubscriptionSink, context: Arc<Context>) {
    let topic = match topic(&params) {
        Ok(topic) => topic,
        Err(error) => {
            pending.reject(error).await;
            return;
        }
    };
    let blocks = context.blocks.subscribe();
    // The loop must not keep the node's parts alive after it stopped.
    drop(context);
    // When the subscriber is gone already there is nothing to do.
    if let Ok(sink) = pending.accept().await {
        forward(sink, blocks, topic).await;
    }
}

fn topic(params: &Params<'_>) -> RpcResult<Topic> {
    let mut arguments = Arguments::of(params);
    let kind: SubscriptionKind = arguments.next()?;
    let detail: SubscriptionParams = arguments.optional()?.unwrap_or_default();
    match (kind, detail) {
        (SubscriptionKind::NewHeads, _) => Ok(Topic::Heads),
        (SubscriptionKind::Logs, SubscriptionParams::Logs(filter)) => logs::log_query(&filter).map(Topic::Logs),
        (SubscriptionKind::Logs, SubscriptionParams::None) => Ok(Topic::Logs(LogQuery::default())),
        _ => Err(errors::invalid("subscriptions are to \"newHeads\" and \"logs\"")),
    }
}

async fn forward(sink: SubscriptionSink, mut blocks: broadcast::Receiver<Arc<ExecutedBlock>>, topic: Topic) {
    loop {
        let block = tokio::select! {
            () = sink.closed() => return,
            block = blocks.recv() => match block {
                Ok(block) => block,
                // A subscriber that is too slow would miss blocks without knowing: its subscription ends instead.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            },
        };
        let sent = match &topic {
            Topic::Heads => send(&sink, &convert::header(&block)).await,
            Topic::Logs(query) => {
                let mut sent = true;
                for log in matching_logs(&block, query) {
                    sent = sent && send(&sink, &log).await;
                }
                sent
            }
        };
        if !sent {
            return;
        }
    }
}

fn matching_logs(block: &ExecutedBlock, query: &LogQuery) -> Vec<Log> {
    let mut logs = Vec::new();
    for ((transaction, receipt), index) in block.transactions.iter().zip(&block.receipts).zip(0..) {
        for (log, log_index) in receipt.logs.iter().zip(receipt.first_log_index..) {
            if query.matches(log) {
                logs.push(Log {
                    inner: log.clone(),
                    block_hash: Some(block.header.hash()),
                    block_number: Some(block.header.number),
                    block_timestamp: Some(block.header.timestamp),
                    transaction_hash: Some(*transaction.inner().tx_hash()),
                    transaction_index: Some(index),
                    log_index: Some(log_index),
                    removed: false,
                });
            }
        }
    }
    logs
}

async fn send(sink: &SubscriptionSink, value: &impl Serialize) -> bool {
    let text = serde_json::to_string(value).and_then(RawValue::from_string);
    match text {
        Ok(text) => sink.send(SubscriptionMessage::from(text)).await.is_ok(),
        Err(_) => false,
    }
}
