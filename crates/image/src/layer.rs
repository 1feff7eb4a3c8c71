//! Unpack one layer into a folder of its own.
//!
//! The folder is new and nobody else's, so that what is on disk is what this layer's entries made. No entry is written through a
//! symbolic link: every part of its path must be a folder. Files are made anew, never opened again, and modes are set on what
//! was just made, never later by name.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use crate::digest::{Digest, PastLimit};
use crate::error::ImageError;

/// Bytes of an entry's path, as the kernel bounds them.
const PATH_BYTES_MAX: usize = 4_095;
/// Bytes of one name in it.
const NAME_BYTES_MAX: usize = 255;
/// A name that begins so removes the one behind it from the layers below (image specification, whiteouts).
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// This one removes all that the layers below have in its folder.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// How overlayfs marks such a folder, mounted with `userxattr`.
const OPAQUE_MARK: &str = "user.overlay.opaque";
/// What of a mode is kept: nothing that gives somebody else's rights.
const MODE_KEPT: u32 = 0o777;

/// Bounds of what an image may become on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all layers that have to be unpacked, tar headers included.
    pub unpacked_bytes: u64,
    /// Entries of each layer.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacked_bytes: 32 << 30, entries: 2_000_000 }
    }
}

/// What a layer came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unpacked {
    /// Files, folders and links made.
    entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Devices and pipes, which are left out: a task gets its own.
    skipped: u64,
}

/// Makes the entries of the tar below `root`. `left`: bytes that the files may still have.
pub(crate) fn unpack(
    layer: Digest,
    tar: &mut dyn Read,
    root: &Path,
    limits: Limits,
    left: u64,
) -> Result<Unpacked, ImageError> {
    let mut archive = tar::Archive::new(tar);
    let damaged = |error: io::Error| read_error(layer, limits, error);
    let mut unpacking = Unpacking { root, left, done: Unpacked::default() };
    for (count, entry) in (0..).zip(archive.entries().map_err(damaged)?) {
        let mut entry = entry.map_err(damaged)?;
        if count == limits.entries {
            return Err(ImageError::TooLarge {
                what: format!("entries of layer {layer}"),
                limit: limits.entries,
                why: "each costs the host a file",
            });
        }
        unpacking.entry(&mut entry).map_err(|fault| match fault {
            Fault::Entry(what) => {
                let name = String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect::<String>();
                ImageError::Entry { layer, entry: name.escape_default().to_string(), what }
            }
            Fault::Read(error) => damaged(error),
            Fault::Disk(path, error) => ImageError::Io { path, error },
        })?;
    }
    Ok(unpacking.done)
}

/// The bytes of a layer cannot be read.
pub(crate) fn read_error(layer: Digest, limits: Limits, error: io::Error) -> ImageError {
    if PastLimit::of(&error).is_some() {
        return past(limits);
    }
    ImageError::malformed(format!("layer {layer}"), format!("it is damaged, or was cut off: {error}"))
}

fn past(limits: Limits) -> ImageError {
    ImageError::TooLarge {
        what: "what the image unpacks to, in bytes".to_owned(),
        limit: limits.unpacked_bytes,
        why: "the disk that this machine gives to images",
    }
}

enum Fault {
    /// The entry is not right.
    Entry(String),
    /// The archive cannot be read.
    Read(io::Error),
    /// The disk refuses.
    Disk(PathBuf, io::Error),
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::Entry(what)
    }
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> Fault {
    let path = path.to_owned();
    move |error| Fault::Disk(path, error)
}

struct Unpacking<'a> {
    root: &'a Path,
    left: u64,
    done: Unpacked,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), Fault> {
        use tar::EntryType as Type;
        let relative = relative(&entry.path_bytes())?;
        let mode = entry.header().mode().map_err(Fault::Read)? & MODE_KEPT;
        let Some(name) = relative.file_name().map(|name| name.as_bytes().to_owned()) else {
            // The layer's own folder: its mode is the lowest layer's, or ours.
            return match entry.header().entry_type() {
                Type::Directory => Ok(()),
                _ => Err("it has no name".to_owned().into()),
            };
        };
        let path = self.below_folders(&relative)?;
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&path, &name);
        }
        match entry.header().entry_type() {
            Type::Directory => self.folder(&path, mode)?,
            Type::Regular | Type::Continuous | Type::GNUSparse => self.file(entry, &path, mode)?,
            Type::Symlink => {
                let target = entry.link_name_bytes().ok_or("the symbolic link leads nowhere".to_owned())?;
                // Where it leads is the guest's matter: nothing here ever follows it.
                self.clear(&path)?;
                symlink(std::ffi::OsStr::from_bytes(&target), &path).map_err(disk(&path))?;
            }
            Type::Link => {
                let target = entry.link_name_bytes().ok_or("the link leads nowhere".to_owned())?;
                self.link(&target, &path)?;
            }
            Type::Char | Type::Block | Type::Fifo => {
                self.done.skipped += 1;
                return Ok(());
            }
            other => return Err(format!("entries of kind {other:?} are unknown").into()),
        }
        self.done.entries += 1;
        Ok(())
    }

    /// The path of an entry on disk. All that it lies in are folders, or become folders.
    fn below_folders(&self, relative: &Path) -> Result<PathBuf, Fault> {
        let mut path = self.root.to_owned();
        let mut parts = relative.components();
        let name = parts.next_back().map(|name| name.as_os_str().to_owned()).unwrap_or_default();
        for part in parts {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) if is_whiteout(&metadata) => self.folder(&path, 0o755)?,
                Ok(_) => {
                    let through = path.strip_prefix(self.root).unwrap_or(&path).display().to_string();
                    return Err(format!("it lies in `{}`, which is no folder", through.escape_default()).into());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.folder(&path, 0o755)?,
                Err(error) => return Err(Fault::Disk(path, error)),
            }
        }
        Ok(path.join(name))
    }

    /// Its owner, who is the worker, can always go into a folder and take it away.
    fn folder(&self, path: &Path, mode: u32) -> Result<(), Fault> {
        let mut hides_below = false;
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) => {
                hides_below = is_whiteout(&metadata);
                fs::remove_file(path).map_err(disk(path))?;
                fs::create_dir(path).map_err(disk(path))?;
            }
            Err(_) => fs::create_dir(path).map_err(disk(path))?,
        }
        fs::set_permissions(path, Permissions::from_mode(mode | 0o700)).map_err(disk(path))?;
        if hides_below { self.opaque(path) } else { Ok(()) }
    }

    fn file(&mut self, entry: &mut tar::Entry<'_, impl Read>, path: &Path, mode: u32) -> Result<(), Fault> {
        self.clear(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(disk(path))?;
        // A sparse file has fewer bytes in the archive than on disk.
        let left = self.left.saturating_sub(self.done.bytes);
        let bytes = copy(entry, &mut file, path, left)?;
        self.done.bytes += bytes;
        let modified = entry.header().mtime().ok().and_then(|seconds| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(u64::from(u32::MAX))))
        });
        if let Some(modified) = modified {
            file.set_modified(modified).map_err(disk(path))?;
        }
        file.set_permissions(Permissions::from_mode(mode | 0o400)).map_err(disk(path))
    }

    /// A second name of a file of this layer.
    fn link(&self, target: &[u8], path: &Path) -> Result<(), Fault> {
        let target = self.below_folders(&relative(target)?)?;
        let is_file = fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err("it is a link to what is no file of this layer".to_owned().into());
        }
        if target == path {
            return Ok(());
        }
        self.clear(path)?;
        fs::hard_link(&target, path).map_err(disk(path))
    }

    /// Takes away what an earlier entry of the layer made there.
    fn clear(&self, path: &Path) -> Result<(), Fault> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).map_err(disk(path)),
            Ok(_) => fs::remove_file(path).map_err(disk(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault::Disk(path.to_owned(), error)),
        }
    }

    fn whiteout(&mut self, path: &Path, name: &[u8]) -> Result<(), Fault> {
        let folder = path.parent().unwrap_or(self.root);
        if name == OPAQUE {
            return self.opaque(folder);
        }
        let removed = &name[WHITEOUT.len()..];
        // Two prefixes are an older union file system's own notes.
        if removed.starts_with(WHITEOUT) {
            return Ok(());
        }
        if removed.is_empty() || removed == b"." || removed == b".." {
            return Err("it removes nothing that could be there".to_owned().into());
        }
        let path = folder.join(std::ffi::OsStr::from_bytes(removed));
        // It is about the layers below: what this layer has, stays.
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(());
        }
        self.done.entries += 1;
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|error| Fault::Disk(path.clone(), error.into()))
    }

    fn opaque(&self, folder: &Path) -> Result<(), Fault> {
        setxattr(folder, OPAQUE_MARK, b"y", XattrFlags::empty())
            .map_err(|error| Fault::Disk(folder.to_owned(), error.into()))
    }
}

/// The file's bytes, up to a bound.
fn copy(entry: &mut impl Read, file: &mut File, path: &Path, left: u64) -> Result<u64, Fault> {
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let read = match entry.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Read(error)),
        };
        bytes += read as u64;
        if bytes > left {
            return Err(Fault::Read(io::Error::other(PastLimit { limit: left })));
        }
        io::Write::write_all(file, &buffer[..read]).map_err(disk(path))?;
    }
}

/// overlayfs: a character device of number zero.
pub(crate) fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// An entry's path below the layer's folder; empty for the folder itself.
fn relative(name: &[u8]) -> Result<PathBuf, String> {
    if name.starts_with(b"/") {
        return Err("its path is absolute".to_owned());
    }
    if name.len() > PATH_BYTES_MAX {
        return Err(format!("its path is longer than {PATH_BYTES_MAX} bytes"));
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its path leads out of the layer".to_owned()),
            part if part.len() > NAME_BYTES_MAX => {
                return Err(format!("a name in its path is longer than {NAME_BYTES_MAX} bytes"));
            }
            part if part.contains(&0) => return Err("its path has a zero byte".to_owned()),
            part => path.push(std::ffi::OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below() {
        let good =
            [("a", "a"), ("./a//b/", "a/b"), ("./", ""), ("a/./b", "a/b"), ("...", "..."), ("a\\..\\b", "a\\..\\b")];
        for (name, path) in good {
            assert_eq!(relative(name.as_bytes()).as_deref(), Ok(Path::new(path)), "{name}");
        }
        for name in ["/a", "..", "a/..", "../a", "a/../../b", "./..", &"a".repeat(256), &"a/".repeat(3_000), "a\0b"] {
            assert!(relative(name.as_bytes()).is_err(), "{name}");
        }
    }
}
