//! A stored blob that is checked while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use gristmill_types::ContentId;

use crate::disk::Store;
use crate::error::{StoreError, at};
use crate::tree::{SEGMENT_BYTES, Tree, TreeHasher};

/// A blob open for reading. Every byte it gives has been checked against the content id.
///
/// As [`Read`] it starts at the first byte; an error of the store arrives as the source of the [`io::Error`].
#[derive(Debug)]
pub struct VerifiedBlob {
    store: Store,
    content: ContentId,
    /// `None` for a small blob, which is in the buffer.
    file: Option<File>,
    tree: Arc<Tree>,
    /// The checked segment in memory and its index.
    buffer: Vec<u8>,
    buffered: Option<u64>,
    /// Where [`Read`] goes on.
    position: u64,
}

impl VerifiedBlob {
    pub(crate) fn open(store: Store, content: ContentId) -> Result<VerifiedBlob, StoreError> {
        if let Some(bytes) = store.small_bytes(content)? {
            let tree = Arc::new(Tree::of_small(&bytes));
            if tree.content() != content {
                return Err(store.quarantine_small(content, &bytes));
            }
            return Ok(VerifiedBlob {
                store,
                content,
                file: None,
                tree,
                buffer: bytes,
                buffered: Some(0),
                position: 0,
            });
        }
        let path = store.blob_path(content);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound { content });
            }
            Err(error) => return Err(at("read", &path)(error)),
        };
        let len = file.metadata().map_err(at("read", &path))?.len();
        let tree = match store.cached_tree(content) {
            Some(tree) => tree,
            None => {
                let tree = Arc::new(hash_file(&file).map_err(at("read", &path))?);
                if tree.content() == content {
                    store.cache_tree(tree.clone());
                }
                tree
            }
        };
        // The first test is of a tree just made, the second of the file under a cached one.
        if tree.content() != content || tree.len() != len {
            return Err(store.quarantine(content, &file));
        }
        Ok(VerifiedBlob { store, content, file: Some(file), tree, buffer: Vec::new(), buffered: None, position: 0 })
    }

    /// Whether it lies with other small ones, where nobody sees it before it is synced.
    pub(crate) fn is_small(&self) -> bool {
        self.file.is_none()
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether the blob has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of segments of [`SEGMENT_BYTES`], the last of which may be short; 1 for an empty blob.
    pub fn segment_count(&self) -> u64 {
        self.tree.segment_count()
    }

    /// The bytes of segment `index`, checked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when they are not what was stored, [`StoreError::Io`] when they cannot be read.
    ///
    /// # Panics
    /// When there is no such segment.
    pub fn segment(&mut self, index: u64) -> Result<&[u8], StoreError> {
        assert!(index < self.segment_count(), "segment {index} of {}", self.segment_count());
        if self.buffered != Some(index)
            && let Some(file) = &self.file
        {
            self.buffered = None;
            self.buffer.resize(self.tree.segment_len(index), 0);
            let read = file.read_exact_at(&mut self.buffer, index * SEGMENT_BYTES as u64);
            match read {
                Ok(()) if self.tree.matches(index, &self.buffer) => self.buffered = Some(index),
                // Changed, or cut off, since it was opened.
                Ok(()) => return Err(self.store.quarantine(self.content, file)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.store.quarantine(self.content, file));
                }
                Err(error) => return Err(at("read", &self.store.blob_path(self.content))(error)),
            }
        }
        Ok(&self.buffer)
    }
}

impl Read for VerifiedBlob {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.len() || out.is_empty() {
            return Ok(0);
        }
        let (index, skip) = (self.position / SEGMENT_BYTES as u64, self.position % SEGMENT_BYTES as u64);
        let segment = self.segment(index).map_err(io::Error::other)?;
        // Fits: less than SEGMENT_BYTES.
        let available = &segment[skip as usize..];
        let len = available.len().min(out.len());
        out[..len].copy_from_slice(&available[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

fn hash_file(mut file: &File) -> io::Result<Tree> {
    let mut hasher = TreeHasher::new();
    let mut buffer = vec![0; SEGMENT_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
