//! Turns batches into blocks and tells everybody about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use gristmill_evm::{BlockError, Chain, ExecutedBlock};
use tokio::sync::{broadcast, watch};
use tracing::{debug, error, warn};

use crate::sequencer::{Batch, BatchSource, Sequencer};

/// Blocks that a slow listener may be behind before it misses some.
pub(crate) const BLOCK_CHANNEL_CAPACITY: usize = 1_024;

/// Blocks between two looks for transactions that waited too long.
const EXPIRE_EVERY_BLOCKS: u64 = 64;

/// Makes the blocks of a node.
pub(crate) struct Producer {
    pub chain: Chain,
    pub source: BatchSource,
    pub blocks: broadcast::Sender<Arc<ExecutedBlock>>,
    /// Why blocks are no longer made, once they are not.
    pub failure: watch::Sender<Option<Arc<BlockError>>>,
    /// Turns true when the node shuts down.
    pub stop: watch::Receiver<bool>,
}

impl Producer {
    /// Makes blocks until the node shuts down or the ledger cannot be written any more.
    pub async fn run(mut self, mut sequencer: impl Sequencer) {
        let mut clock_is_behind = false;
        loop {
            let batch = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return,
                batch = sequencer.next_batch(&self.source) => batch,
            };
            let last = self.chain.head().timestamp;
            if batch.clock < last && !clock_is_behind {
                warn!(
                    clock = batch.clock,
                    block_time = last,
                    "the clock is behind the last block: block time stands still until it has caught up"
                );
            }
            clock_is_behind = batch.clock < last;
            if let Err(cause) = self.produce(batch).await {
                error!(error = &cause as &dyn std::error::Error, "no more blocks are made");
                self.failure.send_replace(Some(Arc::new(cause)));
                return;
            }
        }
    }

    async fn produce(&self, batch: Batch) -> Result<(), BlockError> {
        let Batch { transactions, clock } = batch;
        let retry = transactions.clone();
        match self.execute(Batch { transactions, clock }).await {
            Err(BlockError::Execution { source, .. }) if !retry.is_empty() => {
                // One of them breaks the block itself. Each gets a block of its own, and the culprit is dropped.
                warn!(error = &*source as &dyn std::error::Error, "a block could not be executed");
                for transaction in retry {
                    let hash = *transaction.inner().tx_hash();
                    let single = Batch { transactions: vec![transaction], clock };
                    match self.execute(single).await {
                        Err(BlockError::Execution { source, .. }) => {
                            let cause = &*source as &dyn std::error::Error;
                            error!(%hash, error = cause, "dropped a transaction that breaks blocks");
                            self.source.pool().forget(hash);
                        }
                        other => other?,
                    }
                }
                Ok(())
            }
            other => other,
        }
    }

    async fn execute(&self, batch: Batch) -> Result<(), BlockError> {
        let chain = self.chain.clone();
        let executed = tokio::task::spawn_blocking(move || chain.execute_block(batch.transactions, batch.clock)).await;
        let block = match executed {
            Ok(block) => block?,
            Err(panic) => {
                let number = self.chain.head().number + 1;
                return Err(BlockError::Execution { number, source: Box::new(panic) });
            }
        };
        self.settle(&block);
        debug!(
            number = block.header.number,
            transactions = block.transactions.len(),
            rejected = block.rejected.len(),
            "made a block"
        );
        // Nobody listening is fine.
        let _ = self.blocks.send(Arc::new(block));
        Ok(())
    }

    /// Takes out of the pool what the block settled.
    fn settle(&self, block: &ExecutedBlock) {
        let mut nonces: BTreeMap<Address, u64> = BTreeMap::new();
        for transaction in &block.transactions {
            nonces.insert(transaction.signer(), transaction.nonce() + 1);
        }
        // Nonces may also have moved in other ways (EIP-7702), which shows in what was left out.
        let left_out = block.rejected.iter().map(|rejected| &rejected.transaction);
        let senders = left_out.chain(&block.deferred).map(|transaction| transaction.signer());
        if let Ok(state) = self.chain.view().and_then(|view| view.state(block.header.number)) {
            for sender in senders {
                if let Ok(nonce) = state.nonce(sender) {
                    nonces.insert(sender, nonce);
                }
            }
        }
        let now_ms = self.source.now_ms();
        let mut pool = self.source.pool();
        for rejected in &block.rejected {
            let hash = rejected.transaction.inner().tx_hash();
            warn!(%hash, reason = rejected.reason, "dropped a transaction");
            pool.forget(*hash);
        }
        for (sender, nonce) in nonces {
            pool.advance(sender, nonce);
        }
        if block.header.number.is_multiple_of(EXPIRE_EVERY_BLOCKS) {
            let expired = pool.expire(now_ms);
            if expired > 0 {
                debug!(expired, "dropped transactions that waited too long");
            }
        }
    }
}
