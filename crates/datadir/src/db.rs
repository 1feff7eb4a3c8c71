//! A redb database with durable commits and a small key-value interface of bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use redb::{StorageBackend, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::advice::{advice, is_full};
use crate::file::{is_temporary, parent, sync_dir};

/// Memory that one database may use to keep pages, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// An entry of a [`Table`]: its key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

type Reader = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;
type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// A database operation that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The operating system refused.
    #[error("cannot {action} the database {}{}", path.display(), advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file of the database.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the database open.
    #[error("the database {} is in use by another process: stop it first", path.display())]
    InUse {
        /// The file of the database.
        path: PathBuf,
    },
    /// An earlier error left the open database unusable; what was committed before it is safe.
    #[error(
        "the database {} stopped after an earlier disk error: correct its cause (is the disk full?) and start the program again",
        path.display()
    )]
    Stopped {
        /// The file of the database.
        path: PathBuf,
    },
    /// The file is not a database, or its content cannot be trusted.
    #[error(
        "the database {} is damaged: restore it from a copy, or move it away and start anew",
        path.display()
    )]
    Damaged {
        /// The file of the database.
        path: PathBuf,
        /// What redb found.
        #[source]
        source: Box<redb::Error>,
    },
    /// The engine refused the operation.
    #[error("cannot {action} the database {}", path.display())]
    Engine {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file of the database.
        path: PathBuf,
        /// What redb answered.
        #[source]
        source: Box<redb::Error>,
    },
    /// A stored value is not the JSON that its reader expects, or a value has no JSON form.
    #[error("a value of table {table:?} in the database {} does not fit its type", path.display())]
    Json {
        /// The file of the database.
        path: PathBuf,
        /// The table.
        table: String,
        /// Where it does not fit.
        #[source]
        source: serde_json::Error,
    },
    /// A database name that is not one plain file name.
    #[error("{name:?} is not a plain file name")]
    BadName {
        /// The name.
        name: String,
    },
}

impl DbError {
    /// Whether the disk, or the user's quota on it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, DbError::Io { source, .. } if is_full(source))
    }

    fn new(action: &'static str, path: &Path, error: redb::Error) -> DbError {
        let path = path.to_path_buf();
        match error {
            redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                DbError::Damaged { path, source: Box::new(redb::Error::Io(source)) }
            }
            redb::Error::Io(source) => DbError::Io { action, path, source },
            redb::Error::DatabaseAlreadyOpen => DbError::InUse { path },
            redb::Error::PreviousIo => DbError::Stopped { path },
            error @ (redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_)) => {
                DbError::Damaged { path, source: Box::new(error) }
            }
            error => DbError::Engine { action, path, source: Box::new(error) },
        }
    }
}

/// An open database. Clones are cheap and share it; it closes when the last one is dropped.
///
/// A commit is on the disk when it returns. After a crash the file is repaired when it is opened, to the last commit.
/// Calls block for the time of a disk sync: from async code, use a blocking task.
#[derive(Debug, Clone)]
pub struct Db {
    database: Arc<Database>,
    path: Arc<PathBuf>,
}

impl Db {
    /// Opens the database file at `path`, making it when it is not there and repairing it when a crash left it open.
    ///
    /// # Errors
    /// [`DbError::InUse`], [`DbError::Damaged`], or [`DbError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Db, DbError> {
        let path = path.as_ref();
        let failed = |source| DbError::Io { action: "open", path: path.to_path_buf(), source };
        // A file of no bytes is what a crash between the making of the name and the first write leaves.
        let fresh = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len() == 0,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        if fresh {
            create(path)?;
        }
        let database = builder().open(path).map_err(|error| DbError::new("open", path, error.into()))?;
        Ok(Db { database: Arc::new(database), path: Arc::new(path.to_path_buf()) })
    }

    /// Opens a database on a storage of the caller's, such as [`crate::faults::Disk::backend`].
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_on(backend: impl StorageBackend) -> Result<Db, DbError> {
        let path = PathBuf::from("(storage)");
        let database =
            builder().create_with_backend(backend).map_err(|error| DbError::new("open", &path, error.into()))?;
        Ok(Db { database: Arc::new(database), path: Arc::new(path) })
    }

    /// The whole engine, for typed tables and long transactions.
    pub fn redb(&self) -> &Database {
        &self.database
    }

    /// The file of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The table `name` of byte keys and byte values; it is made by the first write to it.
    pub fn table(&self, name: &str) -> Table {
        Table { db: self.clone(), name: name.into() }
    }

    /// Starts a list of changes that take effect together or not at all.
    pub fn batch(&self) -> Batch {
        Batch { db: self.clone(), changes: Vec::new() }
    }

    /// Runs `change` in one write transaction and commits it durably; when `change` fails nothing of it is kept.
    ///
    /// Write transactions run one after another: this waits for those of other threads. `change` must not start another
    /// one, which would wait for ever.
    ///
    /// # Errors
    /// What `change` returns, or [`DbError`] when the commit fails.
    pub fn transaction<T, E: From<DbError>>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction_as(Durability::Immediate, change)
    }

    fn transaction_as<T, E: From<DbError>>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = self.database.begin_write().map_err(|error| self.failed("write to", error.into()))?;
        transaction.set_durability(durability).map_err(|error| self.failed("write to", error.into()))?;
        // A transaction that is dropped without a commit is rolled back.
        let value = change(&transaction)?;
        transaction.commit().map_err(|error| self.failed("commit to", error.into()))?;
        Ok(value)
    }

    /// Turns an error of redb, met in a transaction on this database, into one with its path and what to do.
    pub fn failed(&self, action: &'static str, error: redb::Error) -> DbError {
        DbError::new(action, &self.path, error)
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes an empty database under another name and renames it, so that a crash leaves a whole database or none.
fn create(path: &Path) -> Result<(), DbError> {
    let failed = |source| DbError::Io { action: "make", path: path.to_path_buf(), source };
    let mut name = std::ffi::OsString::from(crate::file::TEMPORARY_PREFIX);
    name.push(path.file_name().unwrap_or_default());
    let temporary = parent(path).join(name);
    debug_assert!(is_temporary(temporary.file_name().unwrap_or_default()));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let made =
        builder().create(&temporary).map_err(|error| DbError::new("make", path, error.into())).and_then(|database| {
            drop(database);
            std::fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed)?;
            std::fs::rename(&temporary, path).map_err(failed)
        });
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
        return made;
    }
    sync_dir(parent(path)).map_err(|error| failed(error.source))
}

/// A table of byte keys and byte values, kept in the order of the keys.
#[derive(Debug, Clone)]
pub struct Table {
    db: Db,
    name: Arc<str>,
}

impl Table {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        let Some(table) = self.reader()? else { return Ok(None) };
        let value = table.get(key).map_err(|error| self.db.failed("read", error.into()))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// Sets the value of `key`, durably.
    ///
    /// # Errors
    /// [`DbError`] when the commit fails; the old value is then kept.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        self.db.batch().put(self, key, value).commit()
    }

    /// Removes `key`, durably; it need not be there.
    ///
    /// # Errors
    /// [`DbError`] when the commit fails; the value is then kept.
    pub fn delete(&self, key: &[u8]) -> Result<(), DbError> {
        self.db.batch().delete(self, key).commit()
    }

    /// All entries in the order of their keys, as they are now: later changes do not show.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be read, here or at a later entry.
    pub fn iter(&self) -> Result<Entries, DbError> {
        self.range(&[])
    }

    /// The entries whose key is `start` or comes after it, in order, as they are now.
    ///
    /// # Errors
    /// As [`Table::iter`].
    pub fn range(&self, start: &[u8]) -> Result<Entries, DbError> {
        let entries = match self.reader()? {
            None => None,
            Some(table) => {
                Some(table.range_owned::<&[u8]>(start..).map_err(|error| self.db.failed("read", error.into()))?)
            }
        };
        Ok(Entries { db: self.db.clone(), prefix: Vec::new(), entries })
    }

    /// The entries whose key starts with `prefix`, in order, as they are now.
    ///
    /// # Errors
    /// As [`Table::iter`].
    pub fn prefix(&self, prefix: &[u8]) -> Result<Entries, DbError> {
        Ok(Entries { prefix: prefix.to_vec(), ..self.range(prefix)? })
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be read.
    pub fn last(&self) -> Result<Option<Entry>, DbError> {
        let Some(table) = self.reader()? else { return Ok(None) };
        let last = table.last().map_err(|error| self.db.failed("read", error.into()))?;
        Ok(last.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    /// The number of entries.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be read.
    pub fn len(&self) -> Result<u64, DbError> {
        let Some(table) = self.reader()? else { return Ok(0) };
        table.len().map_err(|error| self.db.failed("read", error.into()))
    }

    /// Whether there are no entries.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be read.
    pub fn is_empty(&self) -> Result<bool, DbError> {
        Ok(self.len()? == 0)
    }

    /// The value of `key`, read as JSON.
    ///
    /// # Errors
    /// [`DbError::Json`] when the value does not fit `T`, or another [`DbError`] when it cannot be read.
    pub fn get_json<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, DbError> {
        self.get(key)?.map(|bytes| self.parse_json(&bytes)).transpose()
    }

    /// Sets the value of `key` to the JSON of `value`, durably.
    ///
    /// # Errors
    /// [`DbError::Json`] when `value` has no JSON form, or another [`DbError`] when the commit fails.
    pub fn put_json<T: Serialize + ?Sized>(&self, key: &[u8], value: &T) -> Result<(), DbError> {
        self.put(key, &self.to_json(value)?)
    }

    /// Reads a value of this table as JSON, for values met in [`Table::iter`].
    ///
    /// # Errors
    /// [`DbError::Json`] when the value does not fit `T`.
    pub fn parse_json<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, DbError> {
        serde_json::from_slice(bytes).map_err(|source| self.bad_json(source))
    }

    /// Writes a value for this table as JSON, for [`Batch::put`].
    ///
    /// # Errors
    /// [`DbError::Json`] when `value` has no JSON form.
    pub fn to_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, DbError> {
        serde_json::to_vec(value).map_err(|source| self.bad_json(source))
    }

    fn bad_json(&self, source: serde_json::Error) -> DbError {
        DbError::Json { path: self.db.path().to_path_buf(), table: self.name.to_string(), source }
    }

    /// The table in a read transaction of its own; `None` when nothing was ever written to it.
    fn reader(&self) -> Result<Option<Reader>, DbError> {
        let transaction = self.db.database.begin_read().map_err(|error| self.db.failed("read", error.into()))?;
        match transaction.open_table(Definition::new(&self.name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.db.failed("read", error.into())),
        }
    }
}

/// The entries of a [`Table`] as they were when it was asked: `(key, value)` in the order of the keys.
pub struct Entries {
    db: Db,
    prefix: Vec<u8>,
    entries: Option<redb::OwnedRange<&'static [u8], &'static [u8]>>,
}

impl Iterator for Entries {
    type Item = Result<Entry, DbError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.entries.as_mut()?.next()? {
            Ok((key, value)) if key.value().starts_with(&self.prefix) => {
                Some(Ok((key.value().to_vec(), value.value().to_vec())))
            }
            Ok(_) => {
                self.entries = None;
                None
            }
            Err(error) => {
                self.entries = None;
                Some(Err(self.db.failed("read", error.into())))
            }
        }
    }
}

/// Changes to one or more tables of a [`Db`] that take effect together, in the order they were added.
#[derive(Debug)]
#[must_use = "nothing changes before `commit`"]
pub struct Batch {
    db: Db,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    table: Arc<str>,
    key: Vec<u8>,
    /// `None` removes the key.
    value: Option<Vec<u8>>,
}

impl Batch {
    /// Adds: set `key` of `table` to `value`.
    pub fn put(mut self, table: &Table, key: &[u8], value: &[u8]) -> Batch {
        self.push(table, key, Some(value.to_vec()));
        self
    }

    /// Adds: set `key` of `table` to the JSON of `value`.
    ///
    /// # Errors
    /// [`DbError::Json`] when `value` has no JSON form.
    pub fn put_json<T: Serialize + ?Sized>(mut self, table: &Table, key: &[u8], value: &T) -> Result<Batch, DbError> {
        let json = table.to_json(value)?;
        self.push(table, key, Some(json));
        Ok(self)
    }

    /// Adds: remove `key` of `table`.
    pub fn delete(mut self, table: &Table, key: &[u8]) -> Batch {
        self.push(table, key, None);
        self
    }

    /// Makes all changes durable in one commit.
    ///
    /// # Errors
    /// [`DbError`] when the commit fails; then none of them happened.
    pub fn commit(self) -> Result<(), DbError> {
        self.commit_as(Durability::Immediate)
    }

    /// Makes all changes in one commit that is seen at once and is on the disk with the next durable one: a crash before that
    /// takes it back, whole, and with it what was committed so after it. For what can be found out again.
    ///
    /// # Errors
    /// As [`Batch::commit`].
    pub fn commit_later(self) -> Result<(), DbError> {
        self.commit_as(Durability::None)
    }

    fn commit_as(self, durability: Durability) -> Result<(), DbError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let db = &self.db;
        db.transaction_as(durability, |transaction| {
            for change in &self.changes {
                apply(transaction, change).map_err(|error| db.failed("write to", error))?;
            }
            Ok(())
        })
    }

    fn push(&mut self, table: &Table, key: &[u8], value: Option<Vec<u8>>) {
        assert!(Arc::ptr_eq(&self.db.database, &table.db.database), "a batch changes tables of one database");
        self.changes.push(Change { table: table.name.clone(), key: key.to_vec(), value });
    }
}

fn apply(transaction: &WriteTransaction, change: &Change) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(Definition::new(&change.table))?;
    match &change.value {
        Some(value) => drop(table.insert(change.key.as_slice(), value.as_slice())?),
        None => drop(table.remove(change.key.as_slice())?),
    }
    Ok(())
}
