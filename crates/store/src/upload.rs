//! A blob being received.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use gristmill_types::ContentId;

use crate::disk::Store;
use crate::error::{StoreError, at};
use crate::tree::TreeHasher;

/// How much of the store's limit is set apart at a time for a blob of unknown length, in bytes.
const RESERVATION_BYTES: u64 = 4 << 20;

/// A blob being received. Nobody sees it before [`Upload::finish`]; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    /// `None` once the file has its final name.
    incoming: Option<PathBuf>,
    file: File,
    hasher: TreeHasher,
    /// Bytes of the store's limit set apart for this blob. INVARIANT: at least the bytes written.
    reserved: u64,
}

impl Upload {
    pub(crate) fn begin(store: Store, announced: Option<u64>) -> Result<Upload, StoreError> {
        let limit = store.limits().blob_max_bytes;
        let reserved = announced.unwrap_or(0);
        if reserved > limit {
            return Err(StoreError::TooLarge { len: reserved, limit });
        }
        store.reserve(reserved)?;
        let path = store.incoming_path();
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match opened {
            Ok(file) => Ok(Upload { store, incoming: Some(path), file, hasher: TreeHasher::new(), reserved }),
            Err(error) => {
                store.release(reserved);
                Err(at("write", &path)(error))
            }
        }
    }

    /// The number of bytes so far.
    pub fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// Whether there are no bytes yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Full`] or [`StoreError::Io`]; the blob cannot be finished after that.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let len = self.len() + bytes.len() as u64;
        let limit = self.store.limits().blob_max_bytes;
        if len > limit {
            return Err(StoreError::TooLarge { len, limit });
        }
        self.reserve_up_to(len)?;
        let written = self.store.inner.hook.before_write(bytes.len()).and_then(|()| self.file.write_all(bytes));
        written.map_err(|error| self.failed("write", error))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Makes the blob durable and visible, and returns its content id. With `expected`, bytes that hash to something
    /// else are refused.
    ///
    /// # Errors
    /// [`StoreError::OtherContent`] or [`StoreError::Io`]; nothing is left behind.
    pub fn finish(mut self, expected: Option<ContentId>) -> Result<ContentId, StoreError> {
        let hasher = std::mem::replace(&mut self.hasher, TreeHasher::new());
        let tree = hasher.finish();
        let (content, len) = (tree.content(), tree.len());
        if let Some(expected) = expected.filter(|expected| *expected != content) {
            return Err(StoreError::OtherContent { expected, got: content });
        }
        let synced = self.store.inner.hook.before_sync().and_then(|()| self.file.sync_all());
        synced.map_err(|error| self.failed("sync", error))?;
        let Some(path) = self.incoming.take() else {
            unreachable!("`finish` consumes the upload, so its file has not been renamed before")
        };
        let published = self.store.publish(&path, tree);
        if published.is_err() && path.exists() {
            // Not renamed: dropping this removes the file and gives its bytes back.
            self.incoming = Some(path);
        } else {
            // What was set apart beyond the length goes back; the rest is the blob's now.
            self.store.release(self.reserved - len);
        }
        published.map(|()| content)
    }

    fn reserve_up_to(&mut self, len: u64) -> Result<(), StoreError> {
        let Some(missing) = len.checked_sub(self.reserved).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        // By large steps while there is room, else to the byte.
        let step = missing.max(RESERVATION_BYTES);
        let granted = match self.store.reserve(step) {
            Ok(()) => step,
            Err(_) => self.store.reserve(missing).map(|()| missing)?,
        };
        self.reserved += granted;
        Ok(())
    }

    fn failed(&self, action: &'static str, error: std::io::Error) -> StoreError {
        match &self.incoming {
            Some(path) => at(action, path)(error),
            None => at(action, self.store.path())(error),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(path) = self.incoming.take() {
            // If this fails the file is removed when the store is opened next.
            let _ = fs::remove_file(path);
            self.store.release(self.reserved);
        }
    }
}
