//! Remember what was ordered for which task, before it is ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{B256, keccak256};
use gristmill_datadir::{Db, DbError, Table};
use gristmill_types::{Amount, DealId, OrderHash, TaskId};
use serde::{Deserialize, Serialize};

/// The record of the sums.
const SUMS: &[u8] = b"sums";
/// Domain of the salts.
const SALT_CONTEXT: &[u8] = b"gristmill 2026 overflow order v1";

/// A task of the pool's, and the order for it on the market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// Of the pool's ledger.
    pub task: TaskId,
    /// By this the order is known on the market's ledger, whether its hash was written down or not.
    pub salt: B256,
    /// The order, once it stands on the ledger.
    pub job: Option<OrderHash>,
    /// Orders for this task that the market gave back.
    pub failures: u32,
    /// The market has come to an end with it, and what it cost is in the sums.
    pub over: bool,
}

impl Purchase {
    /// Nothing is ordered yet. The salt follows from the task and from the orders for it that failed.
    fn new(task: TaskId, failures: u32) -> Self {
        let words = [SALT_CONTEXT, task.as_bytes(), &failures.to_le_bytes()].concat();
        Self { task, salt: keccak256(words), job: None, failures, over: false }
    }

    /// The one task of its order on the market's ledger, and the deal of that.
    pub fn bought(&self) -> Option<(DealId, TaskId)> {
        let deal = DealId::derive(self.job?, 0);
        Some((deal, deal.task(0)))
    }
}

/// What all of it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Tasks whose results came from the market.
    pub completed: u64,
    /// Orders that it gave back.
    pub failed: u64,
    /// What the completed ones cost.
    pub spent: Amount,
}

#[derive(Debug)]
struct Kept {
    purchases: BTreeMap<TaskId, Purchase>,
    sums: Sums,
}

/// The purchases of all tasks that are not over here, and the sums, on the disk and in memory.
#[derive(Debug)]
pub struct Book {
    db: Db,
    table: Table,
    totals: Table,
    kept: Mutex<Kept>,
}

impl Book {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open(db: &Db) -> Result<Self, DbError> {
        let (table, totals) = (db.table("purchases"), db.table("sums"));
        let mut purchases = BTreeMap::new();
        for entry in table.iter()? {
            let purchase: Purchase = table.parse_json(&entry?.1)?;
            purchases.insert(purchase.task, purchase);
        }
        let sums = totals.get_json(SUMS)?.unwrap_or_default();
        Ok(Self { db: db.clone(), table, totals, kept: Mutex::new(Kept { purchases, sums }) })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a task; of one that was never asked for, what its first order will be.
    pub fn of(&self, task: TaskId) -> Purchase {
        self.kept().purchases.get(&task).cloned().unwrap_or_else(|| Purchase::new(task, 0))
    }

    /// Whether something is written down of a task.
    pub fn has(&self, task: TaskId) -> bool {
        self.kept().purchases.contains_key(&task)
    }

    /// All that is written down, by task.
    pub fn all(&self) -> Vec<Purchase> {
        self.kept().purchases.values().cloned().collect()
    }

    /// What all of it came to.
    pub fn sums(&self) -> Sums {
        self.kept().sums
    }

    /// The tasks for which an order stands, or may: it was written down that it would be made. Not those that the market gave back,
    /// with the money.
    pub fn begun(&self) -> BTreeSet<TaskId> {
        let is_begun = |purchase: &&Purchase| purchase.job.is_some() || purchase.failures == 0;
        self.kept().purchases.values().filter(is_begun).map(|purchase| purchase.task).collect()
    }

    /// Writes and syncs. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn put(&self, purchase: Purchase) -> Result<(), DbError> {
        let mut kept = self.kept();
        self.table.put_json(purchase.task.as_bytes(), &purchase)?;
        kept.purchases.insert(purchase.task, purchase);
        Ok(())
    }

    /// The market completed the order of this purchase at this price, or gave it back (`None`): it counts once, and never for another
    /// order of the same task. An order that was given back makes room for the next. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn end(&self, of: &Purchase, paid: Option<Amount>) -> Result<(), DbError> {
        let task = of.task;
        let mut kept = self.kept();
        let stands = |known: &&Purchase| !known.over && known.job.is_some() && known.job == of.job;
        let Some(purchase) = kept.purchases.get(&task).filter(stands) else { return Ok(()) };
        let mut sums = kept.sums;
        let next = match paid {
            Some(paid) => {
                sums.completed += 1;
                sums.spent = sums.spent.checked_add(paid).unwrap_or(Amount::MAX);
                Purchase { over: true, ..purchase.clone() }
            }
            None => {
                sums.failed += 1;
                Purchase::new(task, purchase.failures.saturating_add(1))
            }
        };
        let batch = self.db.batch().put_json(&self.table, task.as_bytes(), &next)?;
        batch.put_json(&self.totals, SUMS, &sums)?.commit()?;
        kept.purchases.insert(task, next);
        kept.sums = sums;
        Ok(())
    }

    /// Forgets a task that is over here. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn forget(&self, task: TaskId) -> Result<(), DbError> {
        let mut kept = self.kept();
        self.table.delete(task.as_bytes())?;
        kept.purchases.remove(&task);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(byte: u8) -> TaskId {
        TaskId(B256::repeat_byte(byte))
    }

    #[test]
    fn what_was_ordered_is_known_after_a_restart_and_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purchases.redb");
        let price = Amount::from_grist(3);
        {
            let book = Book::open(&Db::open(&path).unwrap()).unwrap();
            assert_eq!(book.of(task(1)), Purchase::new(task(1), 0));
            assert!(book.begun().is_empty());
            book.put(book.of(task(1))).unwrap();
            book.put(Purchase { job: Some(OrderHash(B256::repeat_byte(9))), ..book.of(task(2)) }).unwrap();
            book.end(&book.of(task(1)), Some(price)).unwrap();
            assert_eq!(book.sums(), Sums::default(), "no order of it stands");
        }
        let book = Book::open(&Db::open(&path).unwrap()).unwrap();
        assert_eq!(book.begun(), BTreeSet::from([task(1), task(2)]));
        let bought = book.of(task(2));
        let deal = DealId::derive(OrderHash(B256::repeat_byte(9)), 0);
        assert_eq!((bought.bought(), book.of(task(1)).bought()), (Some((deal, deal.task(0))), None));
        for _ in 0..2 {
            book.end(&bought, Some(price)).unwrap();
        }
        assert_eq!(book.sums(), Sums { completed: 1, failed: 0, spent: price });
        book.forget(task(2)).unwrap();
        drop(book);
        let book = Book::open(&Db::open(&path).unwrap()).unwrap();
        assert_eq!((book.begun(), book.sums().completed), (BTreeSet::from([task(1)]), 1));
    }

    #[test]
    fn an_order_that_was_given_back_makes_room_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(&Db::open(folder.path().join("one.redb")).unwrap()).unwrap();
        let ordered = |byte: u8| Purchase { job: Some(OrderHash(B256::repeat_byte(byte))), ..book.of(task(1)) };
        let first = ordered(1);
        book.put(first.clone()).unwrap();
        book.end(&first, None).unwrap();
        let second = book.of(task(1));
        assert_eq!((second.job, second.failures, book.sums().failed), (None, 1, 1));
        assert_ne!(second.salt, first.salt);
        assert!(book.begun().is_empty(), "nothing is paid for");
        book.put(ordered(2)).unwrap();
        assert_eq!(book.begun(), BTreeSet::from([task(1)]));
    }

    #[test]
    fn an_answer_that_comes_late_ends_no_later_order() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(&Db::open(folder.path().join("one.redb")).unwrap()).unwrap();
        let ordered = |byte: u8| Purchase { job: Some(OrderHash(B256::repeat_byte(byte))), ..book.of(task(1)) };
        let first = ordered(1);
        book.put(first.clone()).unwrap();
        book.end(&first, None).unwrap();
        let second = ordered(2);
        book.put(second.clone()).unwrap();
        for paid in [None, Some(Amount::from_grist(3))] {
            book.end(&first, paid).unwrap();
            assert_eq!((book.of(task(1)), book.sums().failed), (second.clone(), 1));
        }
        book.end(&second, Some(Amount::from_grist(3))).unwrap();
        assert_eq!((book.of(task(1)).over, book.sums().completed), (true, 1));
    }
}
