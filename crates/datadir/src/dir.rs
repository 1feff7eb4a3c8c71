//! One folder, one owner, one version.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::db::{Db, DbError};
use crate::file::{FileError, at, is_temporary, remove_temporaries, sync_dir, write_atomic};

/// The file that says whose folder it is and in which format: `gristmill KIND VERSION`.
pub const VERSION_FILE: &str = "VERSION";

/// The file whose lock the owner of the folder holds; it contains the owner's process id.
pub const LOCK_FILE: &str = "LOCK";

/// The largest version file that is believed, in bytes.
const VERSION_FILE_MAX_BYTES: u64 = 256;

/// A data folder that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process works in the folder.
    #[error(
        "the data folder {} is in use by {}: stop it first, or choose another folder with --data-dir",
        path.display(),
        holder(*pid)
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, when it could be read.
        pid: Option<u32>,
    },
    /// The folder belongs to another service.
    #[error(
        "{} is the data folder of a {found}, not of a {expected}: choose another folder with --data-dir",
        path.display()
    )]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// The kind that was asked for.
        expected: String,
        /// The kind written in the folder.
        found: String,
    },
    /// The folder was written by a newer program.
    #[error(
        "the data folder {} has format {found}, and this program knows only up to {expected}: use the newer gristmill that wrote it, or choose another folder with --data-dir",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The format of this program.
        expected: u32,
        /// The format of the folder.
        found: u32,
    },
    /// The folder was written by an older program.
    #[error(
        "the data folder {} has the old format {found}, and this program needs {expected}: finish its work with the older gristmill that wrote it, or move the folder away and start a new one",
        path.display()
    )]
    Older {
        /// The folder.
        path: PathBuf,
        /// The format of this program.
        expected: u32,
        /// The format of the folder.
        found: u32,
    },
    /// The version file does not say what it should.
    #[error(
        "{}/{VERSION_FILE} is damaged (it reads {found:?}): restore it from a copy, or move the folder away and start a new one",
        path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The start of what the file contains.
        found: String,
    },
    /// The folder holds somebody else's files.
    #[error(
        "{} is not empty and not a data folder (it contains {example:?}): choose a new or empty folder with --data-dir",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The name of one thing in it.
        example: String,
    },
    /// A name that leads out of the folder, or is not one plain name.
    #[error("{name:?} is not a plain file name")]
    BadName {
        /// The name.
        name: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

/// An open data folder, owned by this process until it is dropped.
///
/// The kernel releases the lock when the process ends, however it ends: after a kill -9 nothing needs to be removed.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock; closing the file releases it.
    _lock: File,
}

impl DataDir {
    /// Opens the folder `path` for a service of the given `kind` and format `version`, making it (mode 0700) when it is
    /// not there.
    ///
    /// What unfinished writes left in it and in its direct subfolders is removed.
    ///
    /// # Errors
    /// [`DataDirError`]: in use, of another kind or version, somebody else's folder, or not writable. Each message says
    /// what to do.
    pub fn open(path: impl AsRef<Path>, kind: &str, version: u32) -> Result<DataDir, DataDirError> {
        let path = path.as_ref();
        let path = make_folder(path, 0o700)?;
        refuse_foreign(&path)?;
        let lock = acquire(&path)?;
        match read_version(&path)? {
            Some((found_kind, found)) => check_version(&path, kind, version, found_kind, found)?,
            None => write_atomic(path.join(VERSION_FILE), version_line(kind, version).as_bytes(), 0o644)?,
        }
        clean(&path)?;
        Ok(DataDir { path, _lock: lock })
    }

    /// The folder, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the subfolder `name` (one plain name), making it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// [`DataDirError::BadName`], or [`DataDirError::File`] when it cannot be made.
    pub fn subdir(&self, name: &str) -> Result<PathBuf, DataDirError> {
        Ok(make_folder(&self.path.join(plain(name)?), 0o700)?)
    }

    /// Returns the path of the file `name` (one plain name) in the folder, which need not exist.
    ///
    /// # Errors
    /// [`DataDirError::BadName`].
    pub fn file(&self, name: &str) -> Result<PathBuf, DataDirError> {
        Ok(self.path.join(plain(name)?))
    }

    /// Opens the database `name` (one plain name, such as `state.redb`) in the folder, making it when it is not there.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn database(&self, name: &str) -> Result<Db, DbError> {
        let path = self.file(name).map_err(|_| DbError::BadName { name: name.to_owned() })?;
        Db::open(path)
    }
}

/// Reads kind and version of the data folder at `path` without locking it; `None` when it has no version file.
///
/// # Errors
/// [`DataDirError::Damaged`] when the file makes no sense, [`DataDirError::File`] when it cannot be read.
fn read_version(path: &Path) -> Result<Option<(String, u32)>, DataDirError> {
    let file_path = path.join(VERSION_FILE);
    let mut text = Vec::new();
    match File::open(&file_path) {
        Ok(file) => file.take(VERSION_FILE_MAX_BYTES).read_to_end(&mut text).map_err(at("read", &file_path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at("read", &file_path)(error).into()),
    };
    let text = String::from_utf8_lossy(&text);
    match parse_version(&text) {
        Some(found) => Ok(Some(found)),
        None => Err(DataDirError::Damaged { path: path.to_path_buf(), found: text.into_owned() }),
    }
}

fn version_line(kind: &str, version: u32) -> String {
    format!("gristmill {kind} {version}\n")
}

fn parse_version(text: &str) -> Option<(String, u32)> {
    let (kind, version) = text.strip_suffix('\n')?.strip_prefix("gristmill ")?.rsplit_once(' ')?;
    if kind.is_empty() || kind.contains('\n') {
        return None;
    }
    Some((kind.to_owned(), version.parse().ok()?))
}

fn check_version(path: &Path, kind: &str, version: u32, found_kind: String, found: u32) -> Result<(), DataDirError> {
    let path = path.to_path_buf();
    if found_kind != kind {
        return Err(DataDirError::OtherKind { path, expected: kind.to_owned(), found: found_kind });
    }
    match found.cmp(&version) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(DataDirError::Newer { path, expected: version, found }),
        std::cmp::Ordering::Less => Err(DataDirError::Older { path, expected: version, found }),
    }
}

/// Makes the folder and those above it, and returns its absolute path.
fn make_folder(path: &Path, mode: u32) -> Result<PathBuf, FileError> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at("make the folder", path))?;
        // The name of the new folder has to outlive a power cut as the files in it do.
        sync_dir(crate::file::parent(path))?;
    }
    path.canonicalize().map_err(at("open the folder", path))
}

/// Refuses a folder with files in it that no [`DataDir`] ever owned, before anything is written there.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let mut example = None;
    for entry in fs::read_dir(path).map_err(at("list", path))? {
        let name = entry.map_err(at("list", path))?.file_name();
        if name == LOCK_FILE || name == VERSION_FILE {
            return Ok(());
        }
        // The root of a mounted disk has lost+found.
        if !is_temporary(&name) && name != "lost+found" {
            example = Some(name.to_string_lossy().into_owned());
        }
    }
    match example {
        None => Ok(()),
        Some(example) => Err(DataDirError::Foreign { path: path.to_path_buf(), example }),
    }
}

/// Removes unfinished files of the folder and of its direct subfolders. Only while nobody writes: when it is opened.
fn clean(path: &Path) -> Result<(), FileError> {
    remove_temporaries(path)?;
    for entry in fs::read_dir(path).map_err(at("list", path))? {
        let entry = entry.map_err(at("list", path))?;
        // `file_type` does not follow links: a link to a folder elsewhere is left alone.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_temporaries(&entry.path())?;
        }
    }
    Ok(())
}

/// Takes the lock of the folder and writes our process id into it.
fn acquire(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&lock_path)
        .map_err(at("write", &lock_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::InUse { path: path.to_path_buf(), pid: read_pid(&mut file) });
        }
        Err(TryLockError::Error(error)) => return Err(at("lock", &lock_path)(error).into()),
    }
    file.set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
        .map_err(at("write", &lock_path))?;
    Ok(file)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// `name` itself when it is one plain name that cannot lead out of the folder.
fn plain(name: &str) -> Result<&str, DataDirError> {
    let bad =
        name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) || is_temporary(name.as_ref());
    if bad {
        return Err(DataDirError::BadName { name: name.to_owned() });
    }
    Ok(name)
}
