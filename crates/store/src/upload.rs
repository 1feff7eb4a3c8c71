//! A blob being received.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use gristmill_types::ContentId;

use crate::disk::Store;
use crate::error::{StoreError, at};
use crate::shelf::SMALL_BYTES_MAX;
use crate::tree::TreeHasher;

/// How much of the store's limit is set apart at a time for a blob of unknown length, in bytes.
const RESERVATION_BYTES: u64 = 4 << 20;

/// A blob being received. Nobody sees it before [`Upload::finish`]; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    incoming: Incoming,
    hasher: TreeHasher,
    /// Bytes of the store's limit set apart for this blob. INVARIANT: at least the bytes written.
    reserved: u64,
}

/// Where the bytes are that came.
#[derive(Debug)]
enum Incoming {
    /// While they may become a small blob.
    Memory(Vec<u8>),
    File(PathBuf, File),
    /// The blob has its place in the store, and so many bytes.
    Published(u64),
}

impl Upload {
    pub(crate) fn begin(store: Store, announced: Option<u64>) -> Result<Upload, StoreError> {
        let limit = store.limits().blob_max_bytes;
        let reserved = announced.unwrap_or(0);
        if reserved > limit {
            return Err(StoreError::TooLarge { len: reserved, limit });
        }
        store.reserve(reserved)?;
        let incoming = Incoming::Memory(Vec::new());
        let mut upload = Upload { store, incoming, hasher: TreeHasher::new(), reserved };
        if reserved > SMALL_BYTES_MAX {
            upload.move_to_file()?;
        }
        Ok(upload)
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
        if len > SMALL_BYTES_MAX {
            self.move_to_file()?;
        }
        let written = self.store.inner.hook.before_write(bytes.len()).and_then(|()| match &mut self.incoming {
            Incoming::Memory(before) => {
                before.extend_from_slice(bytes);
                Ok(())
            }
            Incoming::File(_, file) => file.write_all(bytes),
            Incoming::Published(_) => unreachable!("`finish` consumes the upload"),
        });
        written.map_err(|error| self.failed("write", error))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Goes on in a file with what is in memory.
    fn move_to_file(&mut self) -> Result<(), StoreError> {
        let Incoming::Memory(before) = &self.incoming else { return Ok(()) };
        let path = self.store.incoming_path();
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(at("write", &path))?;
        let written = file.write_all(before);
        self.incoming = Incoming::File(path, file);
        written.map_err(|error| self.failed("write", error))
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
        let hooked = self.store.inner.hook.before_sync();
        hooked.map_err(|error| self.failed("sync", error))?;
        match std::mem::replace(&mut self.incoming, Incoming::Published(len)) {
            Incoming::Memory(bytes) => {
                self.incoming = Incoming::Memory(Vec::new());
                if !self.store.holds_good_copy(content)? {
                    self.store.publish_small(content, bytes)?;
                    self.incoming = Incoming::Published(len);
                }
            }
            Incoming::File(path, file) => {
                let published =
                    file.sync_all().map_err(at("sync", &path)).and_then(|()| self.store.publish(&path, tree));
                if published.is_err() && path.exists() {
                    // Not renamed: dropping this removes the file and gives its bytes back.
                    self.incoming = Incoming::File(path, file);
                }
                published?;
            }
            Incoming::Published(_) => unreachable!("`finish` consumes the upload"),
        }
        Ok(content)
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
            Incoming::File(path, _) => at(action, path)(error),
            Incoming::Memory(_) | Incoming::Published(_) => at(action, self.store.path())(error),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // What was set apart beyond the length goes back; of a blob that has its place the rest is its own now.
        let kept = match &self.incoming {
            Incoming::Published(len) => *len,
            Incoming::Memory(_) => 0,
            Incoming::File(path, _) => {
                // If this fails the file is removed when the store is opened next.
                let _ = fs::remove_file(path);
                0
            }
        };
        self.store.release(self.reserved - kept);
    }
}
