//! Files that are whole or not there.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::advice::{advice, is_full};

/// A file or folder that could not be read, written or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}{}", path.display(), advice(source))]
pub struct FileError {
    /// What was tried, as a verb: "write", "sync".
    pub action: &'static str,
    /// The file or folder it was tried on.
    pub path: PathBuf,
    /// What the operating system answered.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Whether the disk, or the user's quota on it, is full.
    pub fn is_disk_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// Returns a closure for `map_err` that records what was tried on which path.
pub(crate) fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { action, path: path.to_path_buf(), source }
}

/// Names of unfinished files start with this; [`crate::DataDir`] removes what a crash left of them.
pub(crate) const TEMPORARY_PREFIX: &str = ".unfinished-";

/// Replaces the file at `path` by `bytes` with exactly the permission bits `mode`, durably and all at once.
///
/// The bytes are written to a new file in the same folder, synced, renamed over `path`, and the folder is synced, so
/// that after a crash at any point `path` holds its old content or the new one. The folder must exist.
///
/// # Errors
/// [`FileError`] with the step that failed; the old file is then untouched and nothing is left behind, except when
/// only the last sync of the folder failed: then the new content is in place but may not outlive a power cut.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let path = path.as_ref();
    let temporary = temporary_beside(path)?;
    let written =
        write_synced(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path).map_err(at("replace", path)));
    if let Err(error) = written {
        // The first error is the one to report; a file that stays is removed when the folder is opened next.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_dir(parent(path))
}

/// Why a file of bounded size was not read; who asked knows which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoundedError {
    /// The operating system did not let it be read, or it is no text.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is longer than was allowed.
    #[error("it is too large")]
    TooLarge,
}

/// The text of the file at `path`, of `bytes_max` bytes at most; `None` if there is none. Never more than that is read.
///
/// # Errors
/// [`BoundedError`].
pub fn read_bounded(path: impl AsRef<Path>, bytes_max: u64) -> Result<Option<String>, BoundedError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BoundedError::Read(error)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(BoundedError::Read)?;
    if bytes.len() as u64 > bytes_max {
        return Err(BoundedError::TooLarge);
    }
    let no_text = || io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
    String::from_utf8(bytes).map(Some).map_err(|_| BoundedError::Read(no_text()))
}

/// Makes renames and new names in the folder `path` durable.
///
/// # Errors
/// [`FileError`] when the folder cannot be opened or synced.
pub fn sync_dir(path: impl AsRef<Path>) -> Result<(), FileError> {
    let path = path.as_ref();
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at("sync", path))
}

/// The folder of `path`, "." for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes what a crash left of unfinished files in `folder` (not in its subfolders).
pub(crate) fn remove_temporaries(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let entry = entry.map_err(at("list", folder))?;
        if is_temporary(&entry.file_name()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(at("remove the unfinished file", &path))?;
        }
    }
    Ok(())
}

/// Whether `name` is that of an unfinished file.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes())
}

/// A name beside `path` that no other writer uses, in this process or in another.
fn temporary_beside(path: &Path) -> Result<PathBuf, FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(at("write", path)(io::ErrorKind::IsADirectory.into()));
    };
    let mut temporary = std::ffi::OsString::from(TEMPORARY_PREFIX);
    temporary.push(format!("{}-{}-", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    temporary.push(name);
    Ok(parent(path).join(temporary))
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    // A file of the same name can only be what a dead process with our pid left: it is overwritten, not an error.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(at("write", path))?;
    // The umask can only take bits away from `mode` above; this gives exactly the bits asked for.
    file.set_permissions(Permissions::from_mode(mode)).map_err(at("set the mode of", path))?;
    file.write_all(bytes).map_err(at("write", path))?;
    file.sync_all().map_err(at("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        assert!(read_bounded(&path, 5).unwrap().is_none());
        fs::write(&path, "vier\n").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap().as_deref(), Some("vier\n"));
        assert!(matches!(read_bounded(&path, 4), Err(BoundedError::TooLarge)));
        // A letter that the bound cuts in two makes it no less too large.
        fs::write(&path, "éé").unwrap();
        assert!(matches!(read_bounded(&path, 2), Err(BoundedError::TooLarge)));
        fs::write(&path, [b'#', 0xff]).unwrap();
        assert!(matches!(read_bounded(&path, 9), Err(BoundedError::Read(_))));
        assert!(matches!(read_bounded(folder.path(), 9), Err(BoundedError::Read(_))));
    }
}
