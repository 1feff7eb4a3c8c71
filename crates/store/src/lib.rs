//! Keep bytes by their BLAKE3 hash, serve them over HTTP, fetch them from others, and never pass on a damaged one.
//!
//! - [`Store`] is the folder: blobs are whole or not there, checked while they are written and again while they are
//!   read, piece by piece, so that a damaged byte is refused before it leaves the store. It blocks; use it from a
//!   blocking task.
//! - [`server::serve`] puts a store on a socket: `PUT`, `GET`, `HEAD /v1/blobs/{64 hex digits}` with ranges.
//! - [`Client`] fetches from and sends to such a server. It trusts nobody: a file appears under its name only when its
//!   bytes hash to the content id that was asked for.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use gristmill_store::{Store, StoreLimits};
//!
//! let store = Store::open(folder.path().join("store"), StoreLimits::default())?;
//! let content = store.put_bytes(b"wheat")?;
//! assert_eq!(content.to_string(), blake3::hash(b"wheat").to_hex().as_str());
//! assert_eq!(store.get_bytes(content, 1024)?, b"wheat");
//! # Ok::<(), gristmill_store::StoreError>(())
//! ```

mod blob;
mod client;
mod disk;
mod error;
mod rate;
pub mod server;
mod shelf;
mod tree;
mod upload;

pub use blob::VerifiedBlob;
pub use client::{Client, ClientError, ClientLimits};
pub use disk::{BLOB_MAX_BYTES, DiskHook, Store, StoreLimits, TOTAL_MAX_BYTES};
pub use error::StoreError;
pub use rate::{Bandwidth, CEILING_BYTES_MIN, MinimumRate};
pub use tree::{SEGMENT_BYTES, content_id};
pub use upload::Upload;
