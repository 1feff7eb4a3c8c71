//! Files that only their owner may see: keys, tokens, certificates' private halves.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::file::{FileError, at, write_atomic};

/// The permission bits of a secret file: read and written by its owner, closed to everybody else.
pub const SECRET_MODE: u32 = 0o600;

/// The largest secret file that [`read`] takes into memory, in bytes.
pub const SECRET_MAX_BYTES: u64 = 1 << 20;

/// A secret that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Others than the owner may read or write the file.
    #[error(
        "{} holds a secret but its mode {mode:04o} lets others see it: run `chmod 600 {}`, and if others use this machine make a new secret",
        path.display(),
        path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is larger than any secret.
    #[error("{} is {len} bytes long, more than the {SECRET_MAX_BYTES} of the largest secret: it is not the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

impl SecretError {
    /// Whether the file is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, SecretError::File(error) if error.source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Reads the secret file at `path`.
///
/// # Errors
/// [`SecretError::TooOpen`] when anybody but the owner may access it, [`SecretError::TooLarge`] past
/// [`SECRET_MAX_BYTES`], [`SecretError::File`] when it cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, SecretError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(at("read", path))?;
    // The open file is asked, not the path: a file swapped in between cannot slip through.
    let metadata = file.metadata().map_err(at("read", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::TooOpen { path: path.to_path_buf(), mode });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(at("read", path))?;
    if bytes.len() as u64 > SECRET_MAX_BYTES {
        let len = metadata.len().max(bytes.len() as u64);
        return Err(SecretError::TooLarge { path: path.to_path_buf(), len });
    }
    Ok(bytes)
}

/// Writes a secret durably and all at once, with mode 0600 from its first byte on.
///
/// An existing file is replaced, whatever its mode was.
///
/// # Errors
/// [`SecretError::TooLarge`] past [`SECRET_MAX_BYTES`], [`SecretError::File`] when it cannot be written.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), SecretError> {
    let path = path.as_ref();
    if bytes.len() as u64 > SECRET_MAX_BYTES {
        return Err(SecretError::TooLarge { path: path.to_path_buf(), len: bytes.len() as u64 });
    }
    Ok(write_atomic(path, bytes, SECRET_MODE)?)
}

/// Returns the secret at `path`, or makes one with `make` and stores it there first.
///
/// # Errors
/// As [`read`] and [`write()`].
pub fn read_or_create(path: impl AsRef<Path>, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, SecretError> {
    let path = path.as_ref();
    if !fs::exists(path).map_err(at("read", path))? {
        write(path, &make())?;
    }
    read(path)
}
