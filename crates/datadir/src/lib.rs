//! Keep a service's files: one folder, one owner, one version, and a database that survives a crash.
//!
//! - [`DataDir`] opens a folder for one process at a time and refuses a folder of another kind or version.
//! - [`Db`] is a redb database whose commits are durable when they return; [`Table`] and [`Batch`] are its
//!   small key-value interface, and [`Db::redb`] gives the whole of [`redb`] to those who need it.
//! - [`write_atomic`] replaces a file so that a reader sees the old bytes or the new ones, never a mixture.
//! - [`read_bounded`] reads a text that may be of no more than a given size.
//! - [`secret`] reads and writes files that only their owner may see.
//! - [`faults`] is a disk for tests that fills up, breaks, and loses power.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use gristmill_datadir::DataDir;
//!
//! let dir = DataDir::open(folder.path().join("pool"), "pool", 1)?;
//! let db = dir.database("state.redb")?;
//! let leases = db.table("leases");
//! leases.put(b"task 7", b"worker 3")?;
//! assert_eq!(leases.get(b"task 7")?.as_deref(), Some(&b"worker 3"[..]));
//!
//! // The folder has one owner: a second one is told who holds it.
//! assert!(DataDir::open(dir.path(), "pool", 1).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advice;
mod db;
mod dir;
pub mod faults;
mod file;
pub mod secret;

pub use db::{Batch, Db, DbError, Entries, Entry, Table};
pub use dir::{DataDir, DataDirError, LOCK_FILE, VERSION_FILE};
pub use file::{BoundedError, FileError, read_bounded, sync_dir, write_atomic};
pub use redb;
