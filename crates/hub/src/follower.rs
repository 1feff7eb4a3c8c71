//! Follow the hub's events, in order, from a stored position.

use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use gristmill_datadir::{DbError, Table};
use gristmill_poco::Logged;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::HubClient;
use crate::error::HubError;
use crate::event::{Event, decode};
use crate::ledger::{BlockHead, LedgerError, LedgerPort, Log, LogQuery, News, NewsQuery};

/// The pause after the ledger could not be reached, in milliseconds; doubled up to [`PAUSE_MS_MAX`].
const PAUSE_MS: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;
/// How long a ledger that can is asked to wait for the next block, in milliseconds.
const NEWS_WAIT_MS: u64 = 5_000;

/// Up to where a ledger was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The first block that was not seen.
    pub next_block: u64,
    /// The hash of the block before it; zero when there is none.
    pub last_hash: B256,
    /// The ledger's genesis block.
    pub genesis: B256,
}

/// Where a follower keeps its position. A position is saved only after everything before it was dealt with.
pub trait PositionStore: Send + Sync + 'static {
    /// The position saved last.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self) -> Result<Option<Position>, DbError>;

    /// Saves a position, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    fn save(&self, position: Position) -> Result<(), DbError>;
}

/// A position in a table of a database, under a key of its own.
#[derive(Debug, Clone)]
pub struct TablePositions {
    table: Table,
    key: Vec<u8>,
}

impl TablePositions {
    /// The position `key` of `table`.
    pub fn new(table: Table, key: impl Into<Vec<u8>>) -> Self {
        Self { table, key: key.into() }
    }
}

impl PositionStore for TablePositions {
    fn load(&self) -> Result<Option<Position>, DbError> {
        self.table.get_json(&self.key)
    }

    fn save(&self, position: Position) -> Result<(), DbError> {
        self.table.put_json(&self.key, &position)
    }
}

/// A position that is not kept here: for a caller that stores [`Batch::position`] together with what it made of the events.
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenPosition(pub Option<Position>);

impl PositionStore for GivenPosition {
    fn load(&self) -> Result<Option<Position>, DbError> {
        Ok(self.0)
    }

    fn save(&self, _: Position) -> Result<(), DbError> {
        Ok(())
    }
}

/// How a follower works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerConfig {
    /// How often the ledger is asked for new blocks, in milliseconds.
    pub poll_ms: u64,
    /// Blocks asked for at once at most.
    pub chunk_blocks: u64,
    /// Blocks after an event's own before it counts; `None` for what the ledger needs ([`LedgerPort::finality`]).
    pub confirmations: Option<u64>,
    /// How long an unreachable ledger is waited for before [`Follower::next`] says so, in milliseconds.
    pub patience_ms: u64,
    /// Where to begin when no position was saved, if that is after the hub's first block. Never after the first block that
    /// does not count yet: what lies before it could still be taken back.
    pub start_block: u64,
}

impl Default for FollowerConfig {
    fn default() -> Self {
        Self { poll_ms: 25, chunk_blocks: 1_000, confirmations: None, patience_ms: 30_000, start_block: 0 }
    }
}

/// An event and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEvent {
    /// The block it is in.
    pub block: u64,
    /// The block's time in Unix seconds.
    pub timestamp: u64,
    /// The transaction that emitted it.
    pub tx_hash: B256,
    /// Its place among all events of the block.
    pub index: u64,
    /// What happened.
    pub event: Event,
}

impl LedgerEvent {
    pub(crate) fn read(log: &Log, timestamp: u64) -> Result<Self, HubError> {
        let event = decode(log)?;
        Ok(Self { block: log.block, timestamp, tx_hash: log.tx_hash, index: log.index, event })
    }

    /// For [`gristmill_poco::Replay`], if it changes the hub's books.
    pub fn logged(&self) -> Option<Logged> {
        let event = self.event.as_hub()?.clone();
        Some(Logged { block: self.block, timestamp: self.timestamp, log_index: self.index, event })
    }
}

/// All events of a range of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The events in their order; there may be none.
    pub events: Vec<LedgerEvent>,
    /// The last block of the range: its time is the ledger's clock.
    pub head: BlockHead,
    /// Whether the ledger had no newer block when it was asked.
    pub caught_up: bool,
    /// What to go on from when these events are dealt with.
    pub position: Position,
}

/// The hub could not be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The ledger could not be asked. The follower may be asked again.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The position could not be read or saved.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The ledger is another one than that of the stored position.
    #[error(
        "this ledger (genesis {found}) is not the one that was followed before (genesis {expected}): was it started anew? Then start with fresh data folders"
    )]
    OtherLedger {
        /// The genesis of the stored position.
        expected: B256,
        /// The genesis of the ledger met.
        found: B256,
    },
    /// The ledger no longer has a block that it had.
    #[error(
        "the ledger went back: block {block} was there and is not any more (its head is {head}); restore its data, or raise the confirmation depth if it reorganises"
    )]
    WentBack {
        /// The block that was seen.
        block: u64,
        /// The ledger's newest block.
        head: u64,
    },
}

impl From<LedgerError> for FollowError {
    fn from(error: LedgerError) -> Self {
        Self::Hub(error.into())
    }
}

impl FollowError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Hub(error) if error.is_transient())
    }
}

/// Yields each event of the hub at least once, in the ledger's order: after a restart those that follow the last
/// [`Follower::commit`].
pub struct Follower {
    ledger: Arc<dyn LedgerPort>,
    hub: Address,
    positions: Box<dyn PositionStore>,
    config: FollowerConfig,
    position: Position,
    /// Blocks asked for at once: smaller after a server refused a large range.
    chunk_blocks: u64,
    confirmations: u64,
    poll_ms: u64,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("hub", &self.hub).field("position", &self.position).finish_non_exhaustive()
    }
}

impl Follower {
    /// Begins after the saved position, or at the hub's first block (or [`FollowerConfig::start_block`], if that is later),
    /// and not after the first block that does not count yet.
    ///
    /// # Errors
    /// [`FollowError::OtherLedger`] when the position belongs to another ledger, or when the ledger cannot be reached.
    pub async fn open(
        client: &HubClient,
        positions: impl PositionStore,
        config: FollowerConfig,
    ) -> Result<Self, FollowError> {
        let ledger = client.ledger().clone();
        let saved = positions.load()?;
        let finality = ledger.finality().await?;
        let confirmations = config.confirmations.unwrap_or(finality.confirmations);
        let unsettled = ledger.head().await?.saturating_sub(confirmations).saturating_add(1);
        let start_block = config.start_block.max(client.first_block()).min(unsettled);
        let before = start_block.saturating_sub(1);
        let mut blocks = ledger.blocks(vec![0, before]).await?.into_iter();
        let (genesis, before) = (blocks.next().flatten(), blocks.next().flatten());
        let genesis = genesis.ok_or_else(|| HubError::malformed("the genesis block", "there is none"))?.hash;
        let position = match saved {
            Some(saved) if saved.genesis != genesis => {
                return Err(FollowError::OtherLedger { expected: saved.genesis, found: genesis });
            }
            Some(saved) => saved,
            None => {
                let last_hash = before.filter(|_| start_block > 0).map(|block| block.hash).unwrap_or_default();
                Position { next_block: start_block, last_hash, genesis }
            }
        };
        Ok(Self {
            ledger,
            hub: client.hub,
            positions: Box::new(positions),
            config,
            position,
            chunk_blocks: config.chunk_blocks.max(1),
            confirmations,
            poll_ms: config.poll_ms.max(finality.poll_ms).max(1),
        })
    }

    /// What was committed last.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Waits for blocks after the committed position and returns their events, perhaps none. Cancel safe: without a commit
    /// the next call returns the same events again.
    ///
    /// # Errors
    /// [`FollowError::WentBack`], or the ledger was unreachable for [`FollowerConfig::patience_ms`]; then ask again.
    #[expect(clippy::should_implement_trait, reason = "it is asynchronous, as `recv` of a channel is")]
    pub fn next(&mut self) -> BoxFuture<'_, Result<Batch, FollowError>> {
        Box::pin(async move {
            let mut pause_ms = PAUSE_MS;
            let mut unreachable_since = None;
            loop {
                let wait_ms = match self.look(NEWS_WAIT_MS).await {
                    Ok(Some(batch)) => return Ok(batch),
                    Ok(None) => {
                        (pause_ms, unreachable_since) = (PAUSE_MS, None);
                        self.poll_ms
                    }
                    Err(error) if error.is_transient() => {
                        let since = *unreachable_since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= Duration::from_millis(self.config.patience_ms) {
                            return Err(error);
                        }
                        tracing::debug!(%error, "asking for blocks again");
                        pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
                        pause_ms
                    }
                    Err(error) => return Err(error),
                };
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
        })
    }

    /// The next range of blocks if the ledger has one now.
    ///
    /// # Errors
    /// As [`Follower::next`], without patience.
    pub fn poll(&mut self) -> BoxFuture<'_, Result<Option<Batch>, FollowError>> {
        Box::pin(self.look(0))
    }

    /// The next range of blocks, which a ledger that can is asked to wait for.
    async fn look(&mut self, wait_ms: u64) -> Result<Option<Batch>, FollowError> {
        if self.confirmations == 0
            && let Some(news) = self.news(wait_ms).await?
        {
            return self.take(news);
        }
        self.look_in_pieces().await
    }

    async fn news(&mut self, wait_ms: u64) -> Result<Option<News>, FollowError> {
        loop {
            let (from, blocks_max) = (self.position.next_block, self.chunk_blocks);
            let query = NewsQuery { from, blocks_max, addresses: vec![self.hub], wait_ms };
            match self.ledger.news(query).await {
                Ok(news) => return Ok(news),
                Err(error) if self.chunk_blocks > 1 && error.is_range_refused() => self.chunk_blocks /= 2,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&self, news: News) -> Result<Option<Batch>, FollowError> {
        let from = self.position.next_block;
        let News { head, before, last, logs } = news;
        if from > 0 && before.is_none_or(|block| block.number != from - 1 || block.hash != self.position.last_hash) {
            return Err(FollowError::WentBack { block: from - 1, head });
        }
        let Some(last) = last else { return Ok(None) };
        let events = logs.iter().map(|log| {
            let timestamp = log.timestamp.ok_or_else(|| HubError::malformed("an event", "its time is missing"))?;
            Ok(LedgerEvent::read(log, timestamp)?)
        });
        let events = events.collect::<Result<Vec<_>, FollowError>>()?;
        Ok(Some(self.batch(events, last, last.number == head)))
    }

    fn batch(&self, mut events: Vec<LedgerEvent>, last: BlockHead, caught_up: bool) -> Batch {
        events.sort_by_key(|event| (event.block, event.index));
        let position = Position { next_block: last.number + 1, last_hash: last.hash, genesis: self.position.genesis };
        Batch { events, head: last, caught_up, position }
    }

    async fn look_in_pieces(&mut self) -> Result<Option<Batch>, FollowError> {
        let head = self.ledger.head().await?;
        let next = self.position.next_block;
        if next > 0 && head < next - 1 {
            if self.confirmations > 0 {
                // One of several servers behind an address may lag. A ledger that did go back so far has other blocks
                // there when it has grown again, which is found then.
                return Ok(None);
            }
            return Err(FollowError::WentBack { block: next - 1, head });
        }
        let Some(last) = head.checked_sub(self.confirmations).filter(|&last| last >= next) else {
            return Ok(None);
        };
        loop {
            let to = last.min(next.saturating_add(self.chunk_blocks - 1));
            match self.read(next, to, head).await {
                Ok(mut batch) => {
                    batch.caught_up = to == last;
                    return Ok(Some(batch));
                }
                Err(error) if self.chunk_blocks > 1 && is_range_refused(&error) => self.chunk_blocks /= 2,
                Err(error) => return Err(error),
            }
        }
    }

    /// Remembers that the events of `batch` are dealt with.
    ///
    /// # Errors
    /// When the position cannot be saved; it is then the old one.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), FollowError> {
        self.positions.save(batch.position)?;
        self.position = batch.position;
        Ok(())
    }

    async fn read(&self, from: u64, to: u64, head: u64) -> Result<Batch, FollowError> {
        let query = LogQuery { from, to, addresses: vec![self.hub], events: Vec::new() };
        let logs = self.ledger.logs(query).await?;
        let mut numbers = vec![from.saturating_sub(1), to];
        numbers.extend(logs.iter().filter(|log| log.timestamp.is_none()).map(|log| log.block));
        numbers[2..].sort_unstable();
        numbers.dedup();
        let blocks = self.ledger.blocks(numbers).await?;
        let block = |number: u64| blocks.iter().flatten().find(|block| block.number == number);
        if from > 0 && block(from - 1).is_none_or(|block| block.hash != self.position.last_hash) {
            return Err(FollowError::WentBack { block: from - 1, head });
        }
        let head = *block(to).ok_or(FollowError::WentBack { block: to, head })?;
        let events = logs.iter().map(|log| {
            let timestamp = log.timestamp.or_else(|| block(log.block).map(|block| block.timestamp));
            let timestamp = timestamp.ok_or_else(|| HubError::malformed("a block", "its time is missing"))?;
            Ok(LedgerEvent::read(log, timestamp)?)
        });
        let events = events.collect::<Result<Vec<_>, FollowError>>()?;
        Ok(self.batch(events, head, true))
    }
}

fn is_range_refused(error: &FollowError) -> bool {
    matches!(error, FollowError::Hub(HubError::Ledger(error)) if error.is_range_refused())
}

#[cfg(test)]
mod tests;
