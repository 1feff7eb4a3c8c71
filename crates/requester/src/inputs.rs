//! Read the files that a job starts from, once, and notice what is wrong with them before anything is spent.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gristmill_types::params::is_plain_file_name;
use gristmill_types::{ContentId, InputFile};

use crate::module::NotAModule;

const COPY_BYTES: usize = 1 << 16;
/// First bytes of a file that are kept: enough to tell a tar from other things.
pub const HEAD_BYTES: usize = 512;
/// The name of an item's file in `IEXEC_IN`.
pub(crate) const ITEM_FILE: &str = "item";

/// A file of the user's that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Not there.
    #[error("{} does not exist: check the path", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("{} is empty: {fix}", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What to do.
        fix: &'static str,
    },
    /// Not a file.
    #[error("{} is not a file: {fix}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What to do.
        fix: &'static str,
    },
    /// Written to while it was read.
    #[error("{} changed while it was read: wait until nothing writes to it, then try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A name that cannot appear in `IEXEC_IN`.
    #[error("the name of {} cannot be given to an app: rename it without control characters, `\\` and beyond 255 bytes", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two inputs would have one name.
    #[error("{} and {} have the same name, and an app sees inputs by name only: rename one", first.display(), second.display())]
    SameName {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// An input with the name of the items' file.
    #[error("{} would hide the item: with --items the app finds each item under that name; rename the input", path.display())]
    ItemName {
        /// The file.
        path: PathBuf,
    },
    /// Too much of something.
    #[error("{} has {got} {what}, more than the {max} allowed: {fix}", path.display())]
    TooMuch {
        /// The file or folder.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many.
        got: u64,
        /// How many are allowed.
        max: u64,
        /// What to do.
        fix: String,
    },
    /// The operating system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it answered.
        #[source]
        source: io::Error,
    },
    /// The app's file is no module.
    #[error(transparent)]
    Module(#[from] NotAModule),
    /// The app's file is an archive, and no image that can be run.
    #[error(transparent)]
    Image(#[from] gristmill_image::ImageError),
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> InputError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::NotFound => InputError::Missing { path },
        _ => InputError::Io { path, source },
    }
}

/// A file that was read and is known by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name: one path component.
    pub name: String,
    /// What it contains.
    pub content: ContentId,
    /// Its length in bytes.
    pub size: u64,
    /// Its first bytes, [`HEAD_BYTES`] at most.
    pub head: Vec<u8>,
}

impl LocalFile {
    /// As the request's params name it.
    pub fn input(&self) -> InputFile {
        InputFile { content: self.content, name: self.name.clone(), size: self.size }
    }
}

/// Reads and hashes the file at `path`. Blocks.
///
/// # Errors
/// [`InputError`]: missing, empty, not a file, or changed meanwhile.
pub fn read_file(path: &Path) -> Result<LocalFile, InputError> {
    let mut hasher = blake3::Hasher::new();
    let mut head = Vec::new();
    let size = read_steadily(path, |bytes| {
        hasher.update(bytes);
        if head.len() < HEAD_BYTES {
            head.extend(&bytes[..bytes.len().min(HEAD_BYTES - head.len())]);
        }
    })?;
    if size == 0 {
        return Err(InputError::Empty {
            path: path.to_path_buf(),
            fix: "is it the right file, and is it written completely?",
        });
    }
    let name = file_name(path)?;
    Ok(LocalFile { path: path.to_path_buf(), name, content: ContentId(*hasher.finalize().as_bytes()), size, head })
}

/// Reads the inputs of a job; their names must differ. Blocks.
///
/// # Errors
/// As [`read_file`]; [`InputError::SameName`]; [`InputError::ItemName`] when the job has items.
pub fn read_inputs(paths: &[PathBuf], has_items: bool) -> Result<Vec<LocalFile>, InputError> {
    let mut files: Vec<LocalFile> = Vec::new();
    for path in paths {
        let file = read_file(path)?;
        if let Some(twin) = files.iter().find(|other| other.name == file.name) {
            return Err(InputError::SameName { first: twin.path.clone(), second: file.path });
        }
        if has_items && file.name == ITEM_FILE {
            return Err(InputError::ItemName { path: file.path });
        }
        files.push(file);
    }
    Ok(files)
}

/// The last component of `path` as an app may see it.
pub(crate) fn file_name(path: &Path) -> Result<String, InputError> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_plain_file_name(name));
    name.map(str::to_owned).ok_or_else(|| InputError::Name { path: path.to_path_buf() })
}

/// Reads a whole file of `max` bytes at most into memory, noticing changes. Blocks.
pub(crate) fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>, InputError> {
    let size = fs::metadata(path).map_err(at(path))?.len();
    if size > max {
        let fix = "split it, or give it to all tasks with --input".to_owned();
        return Err(InputError::TooMuch { path: path.to_path_buf(), what: "bytes", got: size, max, fix });
    }
    let mut all = Vec::new();
    read_steadily(path, |bytes| all.extend(bytes))?;
    Ok(all)
}

/// Reads a file once and makes sure that it stayed as it was; returns its length.
fn read_steadily(path: &Path, mut take: impl FnMut(&[u8])) -> Result<u64, InputError> {
    let mut file = File::open(path).map_err(at(path))?;
    let before = file.metadata().map_err(at(path))?;
    if !before.is_file() {
        let fix = "give a file; the files of a folder are given one by one, as one archive, or with --items";
        return Err(InputError::NotAFile { path: path.to_path_buf(), fix });
    }
    let mut buffer = vec![0u8; COPY_BYTES];
    let mut size = 0u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                size += count as u64;
                // A file that grows for ever is not waited for.
                if size > before.len() {
                    return Err(InputError::Changed { path: path.to_path_buf() });
                }
                take(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(at(path)(error)),
        }
    }
    // The path is asked again, not the open file: a file that was replaced has changed too.
    let after = fs::metadata(path).map_err(at(path))?;
    if size != before.len() || stamp(&before) != stamp(&after) {
        return Err(InputError::Changed { path: path.to_path_buf() });
    }
    Ok(size)
}

fn stamp(metadata: &Metadata) -> (u64, u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests;
