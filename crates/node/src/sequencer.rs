//! Decides which transactions make the next block, and when.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_evm::SignedTransaction;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::pool::Pool;

/// Transactions in one block, at most.
pub const BLOCK_TRANSACTIONS_MAX: usize = 2_000;

/// What the next block is made of.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The transactions, in order.
    pub transactions: Vec<SignedTransaction>,
    /// What the clock shows, in seconds since 1970. The block's time is never before the last block's all the same.
    pub clock: u64,
}

/// A future of a [`Sequencer`].
pub type BatchFuture<'a> = Pin<Box<dyn Future<Output = Batch> + Send + 'a>>;

/// Gives the order of blocks.
///
/// Every batch that it returns becomes the next block, for good: a sequencer that needs others to agree returns a batch
/// only when they have. It is asked for the next batch when the last one is stored. The future may be dropped at any
/// time; no batch may be lost by that.
pub trait Sequencer: Send + 'static {
    /// Waits for the next batch.
    fn next_batch<'a>(&'a mut self, source: &'a BatchSource) -> BatchFuture<'a>;
}

/// What a sequencer may propose from: the transactions that wait here, and the time here.
#[derive(Debug, Clone)]
pub struct BatchSource {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Shared {
    pool: Mutex<Pool>,
    /// Wakes the one sequencer.
    arrived: Notify,
}

impl BatchSource {
    pub(crate) fn new(pool: Pool, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared { pool: Mutex::new(pool), arrived: Notify::new() };
        Self { shared: Arc::new(shared), clock }
    }

    /// Waits until a transaction is ready. One waiter at a time is woken.
    pub async fn ready(&self) {
        while !self.pool().has_ready() {
            self.shared.arrived.notified().await;
        }
    }

    /// A batch of what is ready now, possibly empty.
    pub fn batch(&self) -> Batch {
        let transactions = self.pool().ready(BLOCK_TRANSACTIONS_MAX);
        Batch { transactions, clock: self.clock.now() }
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.shared.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake(&self) {
        self.shared.arrived.notify_one();
    }
}

/// Makes the blocks of a ledger that has this node alone: as soon as a transaction is ready, with all that arrived meanwhile,
/// and an empty block when none came for a heartbeat.
#[derive(Debug)]
pub struct LocalSequencer {
    heartbeat: Duration,
    spacing: Duration,
    /// When the last batch was given.
    last: Instant,
}

impl LocalSequencer {
    /// A sequencer with a block at least every `heartbeat`.
    pub fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, spacing: Duration::ZERO, last: Instant::now() }
    }

    /// The same with `spacing` between two blocks at least: under load a block then takes more transactions, and all that is
    /// done for each block, here and by those who follow it, is done less often.
    #[must_use]
    pub fn spaced(self, spacing: Duration) -> Self {
        Self { spacing, ..self }
    }
}

impl Sequencer for LocalSequencer {
    fn next_batch<'a>(&'a mut self, source: &'a BatchSource) -> BatchFuture<'a> {
        Box::pin(async move {
            tokio::select! {
                () = async {
                    source.ready().await;
                    sleep_until(self.last + self.spacing).await;
                } => {}
                () = sleep_until(self.last + self.heartbeat.max(self.spacing)) => {}
            }
            self.last = Instant::now();
            source.batch()
        })
    }
}
