//! The beginning of a blob, on the disk: where fetching goes on when it was interrupted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use super::error::RegistryError;
use crate::digest::{Digest, Hashing};

/// How often it is looked whether another process has let go.
const LOCK_POLL: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that one process or thread at a time writes.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Part {
    /// Opens or makes the file, waits for whoever has it, and takes the hash of what is there: `size` bytes at most.
    pub async fn open(path: &Path, size: u64) -> Result<Self, RegistryError> {
        let file = loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let file = file.map_err(RegistryError::io(path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had it has perhaps finished it, and it bears another name now.
                Ok(()) if is_at(&file, path).map_err(RegistryError::io(path))? => break file,
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_POLL).await,
                Err(error) => return Err(RegistryError::io(path)(error.into())),
            }
        };
        let mut part = Self { path: path.to_owned(), file, hasher: Sha256::new(), bytes: 0 };
        part.resume(size)?;
        Ok(part)
    }

    fn resume(&mut self, size: u64) -> Result<(), RegistryError> {
        let length = self.file.metadata().map_err(RegistryError::io(&self.path))?.len();
        if length > size {
            return self.restart();
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RegistryError::io(&self.path)(error)),
            };
            self.hasher.update(&buffer[..read]);
            self.bytes += read as u64;
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn digest(&self) -> Digest {
        Digest::from_hasher(self.hasher.clone())
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<(), RegistryError> {
        (self.hasher, self.bytes) = (Sha256::new(), 0);
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(RegistryError::io(&self.path))?;
        Ok(())
    }

    pub fn append(&mut self, data: &[u8]) -> Result<(), RegistryError> {
        if let Err(error) = self.file.write_all(data) {
            // What was written of it is not in the hash.
            let _ = self.file.set_len(self.bytes);
            return Err(RegistryError::io(&self.path)(error));
        }
        self.hasher.update(data);
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Gives the whole blob its name, for good.
    pub fn finish(self, to: &Path) -> Result<(), RegistryError> {
        self.file.sync_all().map_err(RegistryError::io(&self.path))?;
        fs::rename(&self.path, to).map_err(RegistryError::io(to))
    }

    /// Takes the file away: it is not the beginning of anything.
    pub fn discard(self) {
        // Who waits for it sees that it is gone and makes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the open file is the one of that name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the file is there and is that blob.
pub(super) fn is_blob(path: &Path, digest: Digest, size: u64) -> Result<bool, RegistryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(RegistryError::io(path)(error)),
    };
    if file.metadata().map_err(RegistryError::io(path))?.len() != size {
        return Ok(false);
    }
    match Hashing::new(file, size).finish() {
        Ok((bytes, found)) => Ok((bytes, found) == (size, digest)),
        Err(error) => Err(RegistryError::io(path)(error)),
    }
}
