//! Keep compiled modules in memory, where children map them and nobody can change them.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::module;
use crate::profile::EngineProfile;

/// Modules kept; the one used longest ago goes first.
const MODULES_MAX: usize = 16;
/// Bytes of all kept modules together; a single one may be larger.
const BYTES_MAX: u64 = 512 << 20;

/// Compiled modules that were read from the cache and found intact, each in a sealed file without a name.
///
/// A module is read and checked once for all its tasks. A child is handed the file and maps it, so that its pages are shared
/// between children; the seals make mapping it sound, which the file in the cache folder would not be.
#[derive(Default)]
pub(crate) struct Codes {
    /// The one used last comes last.
    kept: Mutex<Vec<Code>>,
}

struct Code {
    path: PathBuf,
    file: OwnedFd,
    bytes: u64,
}

impl Codes {
    /// The compiled module of this cache file; none when it is missing or damaged.
    pub(crate) fn get(&self, path: &Path, profile: EngineProfile) -> std::io::Result<Option<OwnedFd>> {
        if let Some(file) = self.kept(path) {
            return file.map(Some);
        }
        let Some(compiled) = module::fetch(path, profile) else { return Ok(None) };
        let file = seal(&compiled)?;
        let ours = file.try_clone()?;
        self.keep(Code { path: path.to_path_buf(), file: ours, bytes: compiled.len() as u64 });
        Ok(Some(file))
    }

    /// Forgets a module, so that it is read anew.
    pub(crate) fn forget(&self, path: &Path) {
        self.lock().retain(|code| code.path != path);
    }

    fn kept(&self, path: &Path) -> Option<std::io::Result<OwnedFd>> {
        let mut kept = self.lock();
        let at = kept.iter().position(|code| code.path == path)?;
        // Whoever takes a module out of the cache folder wants it gone.
        if !path.exists() {
            kept.remove(at);
            return None;
        }
        let code = kept.remove(at);
        let file = code.file.try_clone();
        kept.push(code);
        Some(file)
    }

    fn keep(&self, code: Code) {
        let mut kept = self.lock();
        kept.retain(|other| other.path != code.path);
        kept.push(code);
        while kept.len() > MODULES_MAX
            || (kept.len() > 1 && kept.iter().map(|code| code.bytes).sum::<u64>() > BYTES_MAX)
        {
            kept.remove(0);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Code>> {
        // INVARIANT: no code that can panic half-way runs under this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file in memory that holds these bytes for good.
fn seal(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("gristmill-module", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_sealed_file_cannot_be_changed() {
        let file = File::from(seal(b"code").unwrap());
        assert!(file.write_at(b"evil", 0).is_err());
        assert!(file.set_len(0).is_err() && file.set_len(9).is_err());
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"code");
    }
}
