//! What can go wrong on the disk side.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_datadir::DbError;
use gristmill_types::ContentId;

/// A store operation that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no such blob.
    #[error("the store has no blob {content}")]
    NotFound {
        /// The blob asked for.
        content: ContentId,
    },
    /// The stored bytes do not hash to their content id any more; the copy was set aside and the blob has to be put again.
    #[error(
        "the stored copy of blob {content} was damaged on the disk and has been set aside in {}: put the blob again",
        quarantine.display()
    )]
    Damaged {
        /// The blob.
        content: ContentId,
        /// Where the damaged copy lies.
        quarantine: PathBuf,
    },
    /// The bytes that came are not those that were announced.
    #[error("the bytes hash to {got}, not to {expected}: they were changed on the way or belong to another id")]
    OtherContent {
        /// The content id that was announced.
        expected: ContentId,
        /// The content id of the bytes.
        got: ContentId,
    },
    /// The blob is larger than the caller or the store allows.
    #[error("a blob of {len} bytes or more is past the limit of {limit} bytes")]
    TooLarge {
        /// Its length so far or as announced, in bytes.
        len: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The store's own limit is reached.
    #[error(
        "the store is full: {used} of {limit} bytes are used and {needed} more are needed; remove blobs or raise the limit"
    )]
    Full {
        /// Bytes in use, those being received included.
        used: u64,
        /// The limit, in bytes.
        limit: u64,
        /// Bytes that did not fit.
        needed: u64,
    },
    /// Another process has the store open.
    #[error("the store {} is in use by another process: stop it first, or choose another folder", path.display())]
    InUse {
        /// The folder of the store.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}{}", path.display(), advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The database of small blobs failed.
    #[error(transparent)]
    Small(#[from] Arc<DbError>),
    /// The source of the bytes failed.
    #[error("cannot read the bytes to store")]
    Input(#[source] io::Error),
}

impl StoreError {
    /// Whether nothing more fits: by the store's limit, the disk, or the user's quota.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Full { .. } => true,
            StoreError::Io { source, .. } => is_disk_full(source),
            StoreError::Small(error) => error.is_disk_full(),
            _ => false,
        }
    }
}

/// Returns a closure for `map_err` that records what was tried on which path.
pub(crate) fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_path_buf(), source }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Returns a clause that starts with ": " and says what to do about `error`, or nothing when it speaks for itself.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ": the disk is full; free some space or choose a folder on another disk"
        }
        ErrorKind::PermissionDenied => ": permission denied; correct the owner and mode of the folder",
        ErrorKind::ReadOnlyFilesystem => ": the file system is read-only; choose a folder on another disk",
        _ => "",
    }
}
