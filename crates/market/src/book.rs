//! The order book: what is published, what is left of it, on the disk and in memory.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, Bytes, U256};
use gristmill_datadir::{Db, DbError, Table};
use gristmill_hub::Position;
use gristmill_types::{ContentId, OrderHash, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::order::{Kind, Order, number};

/// Orders in a book, whatever their status.
pub const ORDERS_MAX: usize = 50_000;
/// Open orders that one signer may publish: as many as iExec's own gateway takes.
pub const ORDERS_PER_SIGNER_MAX: usize = 50;
/// Open orders of one signer that were broadcast on the ledger; the oldest makes room.
pub const BROADCASTS_PER_SIGNER_MAX: usize = 64;

/// The key of the follower's position in its table.
const POSITION_KEY: &[u8] = b"hub";

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Something of it can be matched.
    Open,
    /// All of it is used.
    Filled,
    /// Its owner closed it on the ledger.
    Canceled,
    /// It cannot be matched any more: its asset has another owner, say.
    Dead,
}

/// How an order came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Its owner published it here.
    Published,
    /// It was broadcast on the ledger.
    Broadcast,
}

/// A listed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The order.
    pub order: Order,
    /// Its owner's signature; empty when it was signed on the ledger.
    pub sign: Bytes,
    /// Who signed it: the asset's owner, or the requester.
    pub signer: Address,
    /// Tasks left of it.
    pub remaining: U256,
    /// Where it stands.
    pub status: Status,
    /// How it came here.
    pub source: Source,
    /// When it came here, in Unix milliseconds.
    pub published_ms: u64,
}

/// An entry on the disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    kind: Kind,
    order: Value,
    signer: Address,
    remaining: U256,
    status: Status,
    source: Source,
    published_ms: u64,
}

impl Entry {
    /// As iExec's clients read it.
    pub fn to_json(&self, hash: OrderHash) -> Value {
        json!({
            "orderHash": hash,
            "order": self.order.to_json(&self.sign),
            "signer": self.signer.to_checksum(None),
            "remaining": number(self.remaining),
            "status": self.status,
            "publicationTimestamp": iso_time(self.published_ms),
        })
    }

    fn stored(&self) -> Stored {
        Stored {
            kind: self.order.kind(),
            order: self.order.to_json(&self.sign),
            signer: self.signer,
            remaining: self.remaining,
            status: self.status,
            source: self.source,
            published_ms: self.published_ms,
        }
    }
}

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The same is there.
    #[error("this order is published already")]
    Known,
    /// Its signer has too many.
    #[error(
        "{signer} has {ORDERS_PER_SIGNER_MAX} open orders here, which is the most: unpublish one (`iexec app|dataset|workerpool unpublish`)"
    )]
    TooMany {
        /// Who.
        signer: Address,
    },
    /// The book is full of open orders.
    #[error("the order book is full ({ORDERS_MAX} orders): try again later, or broadcast the order on the ledger")]
    Full,
    /// The disk failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The orders, and which results the ledger has accepted.
///
/// Every change is on the disk when the call that makes it returns.
#[derive(Debug)]
pub struct Book {
    db: Db,
    orders: Table,
    results: Table,
    positions: Table,
    entries: BTreeMap<OrderHash, Entry>,
}

impl Book {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open(db: Db) -> Result<Self, DbError> {
        let (orders, results, positions) = (db.table("orders"), db.table("results"), db.table("positions"));
        let mut entries = BTreeMap::new();
        for record in orders.iter()? {
            let (key, value) = record?;
            let stored: Stored = orders.parse_json(&value)?;
            let hash = <[u8; 32]>::try_from(key.as_slice()).map(|hash| OrderHash(hash.into()));
            // Both were written by this program; what does not fit was damaged, and its owner can publish it again.
            let (Ok(hash), Ok((order, sign))) = (hash, Order::from_json(stored.kind, stored.order)) else {
                tracing::warn!("an order of the book cannot be read any more and is left out");
                continue;
            };
            let Stored { signer, remaining, status, source, published_ms, .. } = stored;
            entries.insert(hash, Entry { order, sign, signer, remaining, status, source, published_ms });
        }
        Ok(Self { db, orders, results, positions, entries })
    }

    /// An order by its hash.
    pub fn get(&self, hash: OrderHash) -> Option<&Entry> {
        self.entries.get(&hash)
    }

    /// All orders, whatever their status.
    pub fn iter(&self) -> impl Iterator<Item = (OrderHash, &Entry)> {
        self.entries.iter().map(|(hash, entry)| (*hash, entry))
    }

    /// Those that can be matched.
    pub fn open_orders(&self) -> impl Iterator<Item = (OrderHash, &Entry)> {
        self.iter().filter(|(_, entry)| entry.status == Status::Open)
    }

    /// Lists an order. One that was here and is not open any more may come again.
    ///
    /// # Errors
    /// [`PutError`]; then nothing has changed.
    pub fn put(&mut self, hash: OrderHash, entry: Entry) -> Result<(), PutError> {
        if self.get(hash).is_some_and(|known| known.status == Status::Open) {
            return Err(PutError::Known);
        }
        let mut leaving = Vec::new();
        let mut of_signer: Vec<(u64, OrderHash)> = self
            .open_orders()
            .filter(|(_, known)| known.signer == entry.signer && known.source == entry.source)
            .map(|(hash, known)| (known.published_ms, hash))
            .collect();
        match entry.source {
            Source::Published if of_signer.len() >= ORDERS_PER_SIGNER_MAX => {
                return Err(PutError::TooMany { signer: entry.signer });
            }
            Source::Broadcast if of_signer.len() >= BROADCASTS_PER_SIGNER_MAX => {
                of_signer.sort_unstable();
                leaving.extend(of_signer.first().map(|(_, hash)| *hash));
            }
            _ => {}
        }
        if self.entries.len() - leaving.len() >= ORDERS_MAX {
            let closed = self.iter().filter(|(_, known)| known.status != Status::Open);
            let oldest = closed.min_by_key(|(_, known)| known.published_ms).map(|(hash, _)| hash);
            leaving.push(oldest.ok_or(PutError::Full)?);
        }
        let mut batch = self.db.batch().put_json(&self.orders, hash.as_bytes(), &entry.stored())?;
        for hash in &leaving {
            batch = batch.delete(&self.orders, hash.as_bytes());
        }
        batch.commit()?;
        for hash in leaving {
            self.entries.remove(&hash);
        }
        self.entries.insert(hash, entry);
        Ok(())
    }

    /// Takes orders off the list.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn remove(&mut self, hashes: &[OrderHash]) -> Result<(), DbError> {
        let batch = self.db.batch();
        hashes.iter().fold(batch, |batch, hash| batch.delete(&self.orders, hash.as_bytes())).commit()?;
        for hash in hashes {
            self.entries.remove(hash);
        }
        Ok(())
    }

    /// The follower's position.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn position(&self) -> Result<Option<Position>, DbError> {
        self.positions.get_json(POSITION_KEY)
    }

    /// Takes in what the ledger says, with the position that belongs to it: both or none.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn apply(&mut self, news: News, position: Option<Position>) -> Result<(), DbError> {
        let mut changed = Vec::new();
        for (hash, remaining, status) in news.orders {
            let Some(entry) = self.entries.get(&hash) else { continue };
            if (entry.remaining, entry.status) != (remaining, status) {
                changed.push((hash, Entry { remaining, status, ..entry.clone() }));
            }
        }
        let mut batch = self.db.batch();
        for (hash, entry) in &changed {
            batch = batch.put_json(&self.orders, hash.as_bytes(), &entry.stored())?;
        }
        for (pack, digest, task) in &news.results {
            batch = batch.put(&self.results, &result_key(*pack, *digest), task.as_bytes());
        }
        if let Some(position) = position {
            batch = batch.put_json(&self.positions, POSITION_KEY, &position)?;
        }
        batch.commit()?;
        self.entries.extend(changed);
        Ok(())
    }

    /// The task whose accepted result has this pack and this digest.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn task_of(&self, pack: ContentId, digest: [u8; 32]) -> Result<Option<TaskId>, DbError> {
        let task = self.results.get(&result_key(pack, digest))?;
        Ok(task.and_then(|task| <[u8; 32]>::try_from(task.as_slice()).ok()).map(|task| TaskId(task.into())))
    }

    /// Whether any completed task names this pack.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn is_result(&self, pack: ContentId) -> Result<bool, DbError> {
        Ok(self.results.prefix(pack.as_bytes())?.next().transpose()?.is_some())
    }
}

/// What the ledger says of orders and results.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Orders with what is left of them and where they stand; unknown ones are left out.
    pub orders: Vec<(OrderHash, U256, Status)>,
    /// Completed tasks: the pack that the hint names, the digest that was settled, the task.
    pub results: Vec<(ContentId, [u8; 32], TaskId)>,
}

impl News {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.results.is_empty()
    }
}

/// By pack and digest: whoever names a stranger's pack in a hint of its own adds an entry and changes none.
fn result_key(pack: ContentId, digest: [u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(pack.as_bytes());
    key[32..].copy_from_slice(&digest);
    key
}

/// Now, in Unix milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// `2026-11-26T08:20:00.000Z`.
fn iso_time(unix_ms: u64) -> String {
    let time = Duration::from_millis(unix_ms);
    let (seconds, ms) = (time.as_secs(), time.subsec_millis());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days-to-civil: years begin in March, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests;
