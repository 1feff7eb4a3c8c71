//! Fetch apps and inputs once, verified, and keep them between tasks within a bound.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill_result::items::ItemsIndex;
use gristmill_store::{Client, ClientError};
use gristmill_types::ContentId;

use crate::config::INPUT_BYTES_MAX;

/// A file that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] ClientError),
    /// The local copy cannot be used.
    #[error("cannot use the cached file {}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
}

/// Fetches from one store into one folder.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    folder: PathBuf,
    /// One lock a content id, so that two tasks do not fetch the same file at once.
    locks: Arc<Mutex<HashMap<ContentId, Arc<tokio::sync::Mutex<()>>>>>,
    /// The index of items that was read last: each task of a job needs an entry of the same one, which has as many as there are tasks.
    index: Arc<Mutex<Option<KeptIndex>>>,
}

/// An index of items and its content id.
type KeptIndex = (ContentId, Arc<ItemsIndex>);

/// A blob of so many bytes that one task alone needs is not put on the disk.
const PASSING_BYTES_MAX: u64 = 4 << 20;

impl Fetcher {
    /// Fetches through `client` into `folder`, which exists.
    pub fn new(client: Client, folder: PathBuf) -> Self {
        Self { client, folder, locks: Arc::default(), index: Arc::default() }
    }

    /// The store's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The bytes of a small blob, `max` at most.
    pub async fn bytes(&self, id: ContentId, max: u64) -> Result<Vec<u8>, FetchError> {
        let path = self.file(id).await?;
        let length = fs::metadata(&path).map_err(|source| FetchError::Cache { path: path.clone(), source })?.len();
        if length > max {
            let source = io::Error::other(format!("it has {length} bytes, {max} are allowed"));
            return Err(FetchError::Cache { path, source });
        }
        fs::read(&path).map_err(|source| FetchError::Cache { path, source })
    }

    /// The bytes of a blob that one task alone needs, `max` at most; it is said to have `size`.
    pub async fn passing_bytes(&self, id: ContentId, size: u64, max: u64) -> Result<Vec<u8>, FetchError> {
        if size <= PASSING_BYTES_MAX {
            match self.client.get_bytes(id, PASSING_BYTES_MAX.min(max)).await {
                // It is larger than it was said to be.
                Err(ClientError::TooLarge { .. }) => {}
                got => return Ok(got?),
            }
        }
        self.bytes(id, max).await
    }

    /// The index of items that was read last, if it is this one.
    pub(crate) fn kept_index(&self, id: ContentId) -> Option<Arc<ItemsIndex>> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.as_ref().filter(|(kept, _)| *kept == id).map(|(_, index)| Arc::clone(index))
    }

    /// Keeps an index of items until another one is read.
    pub(crate) fn keep_index(&self, id: ContentId, index: &Arc<ItemsIndex>) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, Arc::clone(index)));
    }

    /// The local file of a blob, fetched when it is not there.
    pub async fn file(&self, id: ContentId) -> Result<PathBuf, FetchError> {
        let path = self.folder.join(id.to_string());
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(id).or_default())
        };
        let _guard = lock.lock().await;
        if !path.exists() {
            self.client.get_file(id, &path, INPUT_BYTES_MAX).await?;
        }
        Ok(path)
    }

    /// Removes the oldest files until the folder holds so many bytes at most. Only while no task runs.
    pub fn evict(&self, bytes_max: u64) -> io::Result<()> {
        evict(&self.folder, bytes_max)
    }
}

fn evict(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    files.sort();
    for (_, length, path) in files {
        if total <= bytes_max {
            break;
        }
        fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 30), ("middle", 20), ("new", 10)] {
            let path = folder.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 - age);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        evict(folder.path(), 200).unwrap();
        let exists = |name: &str| folder.path().join(name).exists();
        assert_eq!((exists("old"), exists("middle"), exists("new")), (false, true, true));
    }
}
