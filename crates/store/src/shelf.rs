//! Small blobs, many in one database.
//!
//! A file of its own costs a blob of some kilobytes an inode, two syncs and a rename, more than all that is done with it. What
//! several threads put at the same time is one commit here, and one sync.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use gristmill_datadir::redb::{self, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use gristmill_datadir::{Db, DbError};
use gristmill_types::ContentId;

/// Blobs of at most so many bytes lie here.
pub(crate) const SMALL_BYTES_MAX: u64 = 64 << 10;

/// The file, in the folder of the store.
pub(crate) const SHELF_FILE: &str = "small.redb";

/// Content id -> bytes.
const BLOBS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blobs");
/// `""` -> bytes of all blobs together, a big-endian `u64`.
const TOTAL: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("total");
const TOTAL_KEY: &[u8] = b"";

/// The database of small blobs. All methods block; they may be called from many threads.
pub(crate) struct Shelf {
    db: Db,
    /// What the next commit takes. Bounded by the threads that wait for it, one entry each.
    queue: Mutex<Vec<Waiting>>,
    /// Held by the thread that commits for all.
    writer: Mutex<()>,
}

struct Waiting {
    content: ContentId,
    change: Change,
    outcome: Arc<OnceLock<Result<Option<u64>, ShelfError>>>,
}

enum Change {
    Put(Vec<u8>),
    Remove,
    /// Only if the bytes are not those of the content id.
    RemoveDamaged,
}

/// One error for all who waited for a commit.
pub(crate) type ShelfError = Arc<DbError>;

impl Shelf {
    pub(crate) fn open(folder: &Path) -> Result<Shelf, ShelfError> {
        let db = Db::open(folder.join(SHELF_FILE))?;
        Ok(Shelf { db, queue: Mutex::default(), writer: Mutex::default() })
    }

    /// Bytes of all blobs together.
    pub(crate) fn total(&self) -> Result<u64, ShelfError> {
        let stored = self.read(TOTAL, TOTAL_KEY, |bytes| bytes.try_into().map(u64::from_be_bytes).unwrap_or(0))?;
        Ok(stored.unwrap_or(0))
    }

    /// The bytes of a blob, as they are.
    pub(crate) fn get(&self, content: ContentId) -> Result<Option<Vec<u8>>, ShelfError> {
        self.read(BLOBS, content.as_bytes(), <[u8]>::to_vec)
    }

    /// The length of a blob in bytes.
    pub(crate) fn len(&self, content: ContentId) -> Result<Option<u64>, ShelfError> {
        self.read(BLOBS, content.as_bytes(), |bytes| bytes.len() as u64)
    }

    /// Stores a blob durably; the length of the copy that it replaced.
    pub(crate) fn put(&self, content: ContentId, bytes: Vec<u8>) -> Result<Option<u64>, ShelfError> {
        self.change(content, Change::Put(bytes))
    }

    /// Removes a blob; its length if it was there.
    pub(crate) fn remove(&self, content: ContentId) -> Result<Option<u64>, ShelfError> {
        self.change(content, Change::Remove)
    }

    /// Removes a blob whose bytes are not what they were; `None` if a good copy has taken its place.
    pub(crate) fn remove_damaged(&self, content: ContentId) -> Result<Option<u64>, ShelfError> {
        self.change(content, Change::RemoveDamaged)
    }

    fn read<T>(
        &self,
        table: TableDefinition<'_, &'static [u8], &'static [u8]>,
        key: &[u8],
        of: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ShelfError> {
        let failed = |error: redb::Error| Arc::new(self.db.failed("read", error));
        let transaction = self.db.redb().begin_read().map_err(|error| failed(error.into()))?;
        let table = match transaction.open_table(table) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let value = table.get(key).map_err(|error| failed(error.into()))?;
        Ok(value.map(|value| of(value.value())))
    }

    /// Waits until a change is on the disk: with the commit of another thread, or with its own, which then takes along what
    /// the others have asked for meanwhile.
    fn change(&self, content: ContentId, change: Change) -> Result<Option<u64>, ShelfError> {
        let outcome = Arc::new(OnceLock::new());
        lock(&self.queue).push(Waiting { content, change, outcome: Arc::clone(&outcome) });
        let _writer = lock(&self.writer);
        if outcome.get().is_none() {
            let batch = std::mem::take(&mut *lock(&self.queue));
            self.commit(&batch);
        }
        match outcome.get() {
            Some(outcome) => outcome.clone(),
            None => unreachable!("whoever holds the writer has committed the whole queue, this change in it"),
        }
    }

    fn commit(&self, batch: &[Waiting]) {
        let committed = self
            .db
            .transaction(|transaction| apply(transaction, batch).map_err(|error| self.db.failed("write to", error)));
        match committed {
            Ok(replaced) => {
                for (waiting, replaced) in batch.iter().zip(replaced) {
                    let _ = waiting.outcome.set(Ok(replaced));
                }
            }
            Err(error) => {
                let error: ShelfError = Arc::new(error);
                for waiting in batch {
                    let _ = waiting.outcome.set(Err(Arc::clone(&error)));
                }
            }
        }
    }
}

/// The length of what each change replaced or removed.
fn apply(transaction: &WriteTransaction, batch: &[Waiting]) -> Result<Vec<Option<u64>>, redb::Error> {
    let mut blobs = transaction.open_table(BLOBS)?;
    let mut totals = transaction.open_table(TOTAL)?;
    let stored = totals.get(TOTAL_KEY)?.and_then(|bytes| bytes.value().try_into().ok().map(u64::from_be_bytes));
    let mut total = stored.unwrap_or(0);
    let mut replaced = Vec::with_capacity(batch.len());
    for Waiting { content, change, .. } in batch {
        let key = content.as_bytes().as_slice();
        let old = match change {
            Change::Put(bytes) => {
                total = total.saturating_add(bytes.len() as u64);
                blobs.insert(key, bytes.as_slice())?.map(|old| old.value().len() as u64)
            }
            Change::RemoveDamaged if blobs.get(key)?.is_some_and(|now| crate::content_id(now.value()) == *content) => {
                None
            }
            Change::Remove | Change::RemoveDamaged => blobs.remove(key)?.map(|old| old.value().len() as u64),
        };
        total = total.saturating_sub(old.unwrap_or(0));
        replaced.push(old);
    }
    totals.insert(TOTAL_KEY, total.to_be_bytes().as_slice())?;
    Ok(replaced)
}

/// What the locks guard is a list and the right to commit: a panic while one is held leaves neither half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
