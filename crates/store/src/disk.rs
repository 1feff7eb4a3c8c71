//! The folder of blobs.
//!
//! ```text
//! LOCK                  one process at a time
//! small.redb            blobs of at most 64 KiB, by their content id
//! blobs/ab/<64 hex>     a larger blob, whole, under its content id; ab are the first two digits
//! incoming/<number>     a blob being received; removed when the store is opened
//! quarantine/<64 hex>-n a copy that was found damaged
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_types::ContentId;

use crate::blob::VerifiedBlob;
use crate::error::{StoreError, at};
use crate::shelf::Shelf;
use crate::tree::{SEGMENT_BYTES, Tree, content_id};
use crate::upload::Upload;

/// The largest blob by default, in bytes (4 GiB).
pub const BLOB_MAX_BYTES: u64 = 4 << 30;

/// The most bytes in a store by default (64 GiB).
pub const TOTAL_MAX_BYTES: u64 = 64 << 30;

/// How many chaining values of hash trees are kept in memory, 32 bytes each (32 MiB: enough for 256 GiB of blobs).
const TREE_CACHE_VALUES_MAX: usize = 1 << 20;

/// How much a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// The largest blob, in bytes. Default [`BLOB_MAX_BYTES`].
    pub blob_max_bytes: u64,
    /// The most bytes of all blobs together, those being received and those set aside included.
    /// Default [`TOTAL_MAX_BYTES`].
    pub total_max_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits { blob_max_bytes: BLOB_MAX_BYTES, total_max_bytes: TOTAL_MAX_BYTES }
    }
}

/// A place where tests let the disk fail.
///
/// Both methods are called before the real operation, from any thread; an error is treated as the disk's own.
pub trait DiskHook: Send + Sync {
    /// Called before `len` bytes are written to the file of a blob being received.
    ///
    /// # Errors
    /// The error that the write shall fail with.
    fn before_write(&self, len: usize) -> io::Result<()> {
        let _ = len;
        Ok(())
    }

    /// Called before a blob being received is synced and renamed.
    ///
    /// # Errors
    /// The error that the sync shall fail with.
    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The disk as it is.
struct NoHook;

impl DiskHook for NoHook {}

/// A folder of blobs, each under the BLAKE3 hash of its bytes. Clones are cheap and are the same store.
///
/// All methods block. They may be called from many threads at once, for the same blob too.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    path: PathBuf,
    limits: StoreLimits,
    pub(crate) hook: Box<dyn DiskHook>,
    /// Bytes of all blobs, those being received and those set aside included.
    used: AtomicU64,
    next_incoming: AtomicU64,
    shelf: Shelf,
    /// For each first byte of a content id: whether its folder is known to outlive a power cut.
    durable_folders: [AtomicBool; 256],
    /// Held while a name in `blobs/` changes what it means.
    names: Mutex<()>,
    trees: Mutex<TreeCache>,
    /// Holds the lock; closing the file releases it.
    _lock: File,
}

impl Store {
    /// Opens the store in the folder `path`, making it when it is not there. What a crash left half received is removed.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::Io`] when it cannot be read or made.
    pub fn open(path: impl AsRef<Path>, limits: StoreLimits) -> Result<Store, StoreError> {
        Store::open_with_hook(path, limits, Box::new(NoHook))
    }

    /// Opens a store whose disk fails when `hook` says so; for tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_hook(
        path: impl AsRef<Path>,
        limits: StoreLimits,
        hook: Box<dyn DiskHook>,
    ) -> Result<Store, StoreError> {
        let path = path.as_ref();
        for folder in ["blobs", "incoming", "quarantine"] {
            make_folder(&path.join(folder))?;
        }
        let lock = acquire(path)?;
        remove_files(&path.join("incoming"))?;
        let shelf = Shelf::open(path)?;
        let used = bytes_below(&path.join("blobs"))? + bytes_below(&path.join("quarantine"))? + shelf.total()?;
        Ok(Store {
            inner: Arc::new(Inner {
                path: path.to_path_buf(),
                limits,
                hook,
                used: AtomicU64::new(used),
                next_incoming: AtomicU64::new(0),
                shelf,
                durable_folders: [const { AtomicBool::new(false) }; 256],
                names: Mutex::new(()),
                trees: Mutex::new(TreeCache::default()),
                _lock: lock,
            }),
        })
    }

    /// Stores `bytes`, durably, and returns their content id.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Full`] or [`StoreError::Io`]; the store is then as before.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<ContentId, StoreError> {
        let content = content_id(bytes);
        if self.holds_good_copy(content)? {
            return Ok(content);
        }
        let mut upload = self.begin(Some(bytes.len() as u64))?;
        upload.write(bytes)?;
        upload.finish(None)
    }

    /// Stores all bytes of `reader`, durably, and returns their content id.
    ///
    /// # Errors
    /// As [`Store::put_bytes`], and [`StoreError::Input`] when `reader` fails.
    pub fn put_stream(&self, mut reader: impl Read) -> Result<ContentId, StoreError> {
        let mut upload = self.begin(None)?;
        let mut buffer = vec![0; SEGMENT_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return upload.finish(None),
                Ok(len) => upload.write(&buffer[..len])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::Input(error)),
            }
        }
    }

    /// Stores a copy of the file at `path`, durably, and returns its content id.
    ///
    /// # Errors
    /// As [`Store::put_stream`].
    pub fn put_file(&self, path: impl AsRef<Path>) -> Result<ContentId, StoreError> {
        let path = path.as_ref();
        self.put_stream(File::open(path).map_err(at("read", path))?)
    }

    /// Starts a blob whose bytes come piece by piece. `announced` is its length in bytes when it is known: a blob that
    /// will not fit is then refused before its first byte.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Full`] or [`StoreError::Io`].
    pub fn begin(&self, announced: Option<u64>) -> Result<Upload, StoreError> {
        Upload::begin(self.clone(), announced)
    }

    /// Whether the store has the blob and every byte of it is as it was stored; a damaged copy is set aside.
    ///
    /// This reads the whole blob. `true` is also a promise that the blob outlives a power cut.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk cannot tell.
    pub fn holds_good_copy(&self, content: ContentId) -> Result<bool, StoreError> {
        let checked = self.open_verified(content).and_then(|mut blob| {
            (0..blob.segment_count()).try_for_each(|index| blob.segment(index).map(drop))?;
            Ok(blob.is_small())
        });
        match checked {
            Ok(true) => Ok(true),
            // Somebody else may have renamed the file a moment ago and not yet have synced the name.
            Ok(false) => self.sync_name(content).map(|()| true),
            Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the store has the blob. Its bytes are not looked at.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk cannot tell.
    pub fn has(&self, content: ContentId) -> Result<bool, StoreError> {
        Ok(self.len(content)?.is_some())
    }

    /// The length of the blob in bytes, `None` when the store does not have it. Its bytes are not looked at.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk cannot tell.
    pub fn len(&self, content: ContentId) -> Result<Option<u64>, StoreError> {
        match self.inner.shelf.len(content)? {
            Some(len) => Ok(Some(len)),
            None => self.file_len(content),
        }
    }

    fn file_len(&self, content: ContentId) -> Result<Option<u64>, StoreError> {
        let path = self.blob_path(content);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Opens the blob for reading; every byte that is read from it has been checked.
    ///
    /// The first time a large blob is opened after the store was, this reads the whole of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`] or [`StoreError::Io`].
    pub fn open_verified(&self, content: ContentId) -> Result<VerifiedBlob, StoreError> {
        VerifiedBlob::open(self.clone(), content)
    }

    /// The bytes of the blob, checked; refused when there are more than `max`.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], and as [`Store::open_verified`].
    pub fn get_bytes(&self, content: ContentId, max: u64) -> Result<Vec<u8>, StoreError> {
        let mut blob = self.open_verified(content)?;
        if blob.len() > max {
            return Err(StoreError::TooLarge { len: blob.len(), limit: max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(blob.len()).unwrap_or(0));
        for index in 0..blob.segment_count() {
            bytes.extend_from_slice(blob.segment(index)?);
        }
        Ok(bytes)
    }

    /// Removes the blob and returns whether it was there. Readers that have it open keep it.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk refuses.
    pub fn remove(&self, content: ContentId) -> Result<bool, StoreError> {
        if let Some(len) = self.inner.shelf.remove(content)? {
            self.release(len);
            return Ok(true);
        }
        let path = self.blob_path(content);
        let _names = lock(&self.inner.names);
        let Some(len) = self.file_len(content)? else { return Ok(false) };
        fs::remove_file(&path).map_err(at("remove", &path))?;
        self.release(len);
        Ok(true)
    }

    /// Bytes of all blobs, those being received and those set aside included.
    pub fn used_bytes(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// How much the store takes.
    pub fn limits(&self) -> StoreLimits {
        self.inner.limits
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The copies that were found damaged and set aside, for the operator to look at and remove.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be read.
    pub fn quarantined(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.inner.path.join("quarantine");
        let mut files = entries(&folder)?;
        files.sort();
        Ok(files)
    }

    pub(crate) fn blob_path(&self, content: ContentId) -> PathBuf {
        self.folder_of(content).join(content.to_string())
    }

    fn folder_of(&self, content: ContentId) -> PathBuf {
        self.inner.path.join("blobs").join(format!("{:02x}", first_byte(content)))
    }

    pub(crate) fn incoming_path(&self) -> PathBuf {
        let number = self.inner.next_incoming.fetch_add(1, Ordering::Relaxed);
        self.inner.path.join("incoming").join(number.to_string())
    }

    /// Sets `needed` bytes of the store's limit apart.
    pub(crate) fn reserve(&self, needed: u64) -> Result<(), StoreError> {
        let limit = self.inner.limits.total_max_bytes;
        let reserved = self.inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(needed).filter(|sum| *sum <= limit)
        });
        match reserved {
            Ok(_) => Ok(()),
            Err(used) => Err(StoreError::Full { used, limit, needed }),
        }
    }

    /// Gives `bytes` back to the store's limit.
    pub(crate) fn release(&self, bytes: u64) {
        let before = self.inner.used.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "the store gave back {bytes} of {before} bytes");
    }

    /// Gives the received file at `incoming` its name. The bytes of a copy that it replaces are given back.
    pub(crate) fn publish(&self, incoming: &Path, tree: Tree) -> Result<(), StoreError> {
        let content = tree.content();
        let path = self.blob_path(content);
        self.make_folder_of(content)?;
        {
            let _names = lock(&self.inner.names);
            let replaced = self.file_len(content)?;
            fs::rename(incoming, &path).map_err(at("rename", &path))?;
            self.release(replaced.unwrap_or(0));
        }
        lock(&self.inner.trees).insert(Arc::new(tree));
        self.sync_name(content)
    }

    /// Stores a small blob, whose bytes are set apart already. Those of a copy that it replaces are given back.
    pub(crate) fn publish_small(&self, content: ContentId, bytes: Vec<u8>) -> Result<(), StoreError> {
        let replaced = self.inner.shelf.put(content, bytes)?;
        self.release(replaced.unwrap_or(0));
        Ok(())
    }

    /// The bytes of a small blob, as they are.
    pub(crate) fn small_bytes(&self, content: ContentId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.shelf.get(content)?)
    }

    /// Sets the damaged copy of a small blob aside, of which `bytes` were read.
    pub(crate) fn quarantine_small(&self, content: ContentId, bytes: &[u8]) -> StoreError {
        let aside = || {
            let _names = lock(&self.inner.names);
            let target = self.quarantine_path(content)?;
            fs::write(&target, bytes).map_err(at("set aside", &target))?;
            if self.inner.shelf.remove_damaged(content)?.is_none() {
                fs::remove_file(&target).map_err(at("remove", &target))?;
            }
            Ok(target)
        };
        set_aside(content, aside())
    }

    /// Makes the folder for a blob, if it is not there.
    fn make_folder_of(&self, content: ContentId) -> Result<(), StoreError> {
        if self.inner.durable_folders[first_byte(content)].load(Ordering::Acquire) {
            return Ok(());
        }
        make_folder(&self.folder_of(content))
    }

    /// Makes the name of a blob outlive a power cut.
    fn sync_name(&self, content: ContentId) -> Result<(), StoreError> {
        sync_folder(&self.folder_of(content))?;
        // The folder's own name, once: another thread may have made it a moment ago and not synced it yet.
        let durable = &self.inner.durable_folders[first_byte(content)];
        if !durable.load(Ordering::Acquire) {
            sync_folder(&self.inner.path.join("blobs"))?;
            durable.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Sets a damaged copy aside, unless another copy has taken its name since it was opened as `opened`.
    pub(crate) fn quarantine(&self, content: ContentId, opened: &File) -> StoreError {
        set_aside(content, self.try_quarantine(content, opened))
    }

    fn try_quarantine(&self, content: ContentId, opened: &File) -> Result<PathBuf, StoreError> {
        let path = self.blob_path(content);
        let damaged = opened.metadata().map_err(at("read", &path))?;
        let _names = lock(&self.inner.names);
        let target = self.quarantine_path(content)?;
        match fs::metadata(&path) {
            Ok(named) if (named.dev(), named.ino()) == (damaged.dev(), damaged.ino()) => {
                fs::rename(&path, &target).map_err(at("set aside", &path))?;
            }
            // Removed, or replaced by a new copy: nothing to set aside.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at("read", &path)(error)),
        }
        Ok(target)
    }

    /// A name that no copy set aside has yet.
    fn quarantine_path(&self, content: ContentId) -> Result<PathBuf, StoreError> {
        let folder = self.inner.path.join("quarantine");
        let mut number = 0;
        loop {
            let target = folder.join(format!("{content}-{number}"));
            if !fs::exists(&target).map_err(at("read", &target))? {
                return Ok(target);
            }
            number += 1;
        }
    }

    pub(crate) fn cached_tree(&self, content: ContentId) -> Option<Arc<Tree>> {
        lock(&self.inner.trees).trees.get(&content).cloned()
    }

    pub(crate) fn cache_tree(&self, tree: Arc<Tree>) {
        lock(&self.inner.trees).insert(tree);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

/// Hash trees of blobs that were received or checked, oldest first out. A tree is proved by its content id, so it stays
/// right whatever happens to the file.
#[derive(Default)]
struct TreeCache {
    trees: HashMap<ContentId, Arc<Tree>>,
    order: VecDeque<ContentId>,
    weight: usize,
}

impl TreeCache {
    fn insert(&mut self, tree: Arc<Tree>) {
        // One segment is checked against the content id itself.
        if tree.segment_count() < 2 || tree.weight() > TREE_CACHE_VALUES_MAX {
            return;
        }
        let (content, weight) = (tree.content(), tree.weight());
        if self.trees.insert(content, tree).is_some() {
            return;
        }
        self.order.push_back(content);
        self.weight += weight;
        while self.weight > TREE_CACHE_VALUES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(tree) = self.trees.remove(&oldest) {
                self.weight -= tree.weight();
            }
        }
    }
}

fn set_aside(content: ContentId, outcome: Result<PathBuf, StoreError>) -> StoreError {
    match outcome {
        Ok(quarantine) => {
            tracing::error!(%content, path = %quarantine.display(), "a stored blob was damaged and is set aside");
            StoreError::Damaged { content, quarantine }
        }
        Err(error) => error,
    }
}

/// A panic while a lock is held leaves nothing half done here: what the locks guard is one map and the file system.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the folder, private to its owner, if it is not there.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("make the folder", path))
}

fn first_byte(content: ContentId) -> usize {
    usize::from(content.as_bytes()[0])
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at("sync", path))
}

fn acquire(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("LOCK");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: folder.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(at("lock", &path)(error)),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    listed.map_err(at("list", folder))
}

fn remove_files(folder: &Path) -> Result<(), StoreError> {
    for path in entries(folder)? {
        fs::remove_file(&path).map_err(at("remove", &path))?;
    }
    Ok(())
}

/// The bytes of all files in `folder` and its direct subfolders.
fn bytes_below(folder: &Path) -> Result<u64, StoreError> {
    let mut total = 0;
    for path in entries(folder)? {
        let metadata = fs::symlink_metadata(&path).map_err(at("read", &path))?;
        if metadata.is_file() {
            total += metadata.len();
        } else if metadata.is_dir() {
            for path in entries(&path)? {
                total += fs::symlink_metadata(&path).map_err(at("read", &path))?.len();
            }
        }
    }
    Ok(total)
}
