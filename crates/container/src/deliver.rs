//! Copy out what a program left, once nothing of it is alive any more.
//!
//! What a program made is not trusted: nothing is followed, only plain files and folders count, names must be such that a manifest
//! can hold them, and everything is bounded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gristmill_result::Ending;
use gristmill_result::manifest::{PATH_BYTES_MAX, check_path};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};

use crate::wire::Delivered;

/// Folders in folders.
const DEPTH_MAX: usize = 64;
/// Bytes that are copied before it is looked whether anybody still wants them.
const CHUNK_BYTES: u64 = 16 << 20;
/// Things left out that the log names.
const NAMED_MAX: usize = 20;
/// What a program printed becomes this file, unless it made one of this name itself or printed nothing.
const STDOUT_NAME: &str = "stdout.txt";

/// What may be copied out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    Done(Delivered),
    /// More than the deal grants: nothing was copied.
    Past(Ending),
}

struct Plan {
    /// By path below the folder: bytes of a file, none for a folder.
    entries: BTreeMap<String, Option<u64>>,
    left_out: Vec<String>,
    more_left_out: u64,
}

/// Copies what lies in `outputs` (`out`, and what was printed as `stdout`) into `target`. Tells `log` of what is left out, and calls
/// `look` again and again.
pub(crate) fn deliver(
    outputs: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    bounds: Bounds,
    log: &mut String,
    look: &mut dyn FnMut(),
) -> io::Result<Copied> {
    let mut plan = Plan { entries: BTreeMap::new(), left_out: Vec::new(), more_left_out: 0 };
    let out = open_folder(outputs, "out")?;
    list(&out, "", 0, bounds, &mut plan)?;
    let printed_bytes = open_file(outputs, "stdout")?.metadata()?.len();
    let has_stdout = plan.entries.contains_key(STDOUT_NAME);
    if printed_bytes > 0 && !has_stdout {
        plan.entries.insert(STDOUT_NAME.to_owned(), Some(printed_bytes));
    }
    for left_out in &plan.left_out {
        log.push_str(&format!("[sandbox] left out: {left_out}\n"));
    }
    if plan.more_left_out > 0 {
        log.push_str(&format!("[sandbox] left out: {} more\n", plan.more_left_out));
    }
    let bytes = plan.entries.values().flatten().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    let files = plan.entries.len() as u64;
    if files > bounds.files {
        return Ok(Copied::Past(Ending::FileLimit));
    }
    if bytes > bounds.bytes {
        return Ok(Copied::Past(Ending::OutputLimit));
    }
    for (path, bytes) in &plan.entries {
        look();
        match bytes {
            None => mkdirat(target, path.as_str(), Mode::from_bits_truncate(0o755))?,
            Some(_) if path == STDOUT_NAME && !has_stdout => copy(&open_file(outputs, "stdout")?, target, path, look)?,
            Some(_) => copy(&open_file(out.as_fd(), path)?, target, path, look)?,
        }
    }
    Ok(Copied::Done(Delivered { bytes, files }))
}

/// Notes what there is, folders before what is in them.
fn list(folder: &OwnedFd, prefix: &str, depth: usize, bounds: Bounds, plan: &mut Plan) -> io::Result<()> {
    let mut dir = Dir::openat(folder, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in dir.iter() {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if matches!(bytes, b"." | b"..") {
            continue;
        }
        // One past the bound tells enough.
        if plan.entries.len() as u64 > bounds.files {
            return Ok(());
        }
        let shown = || format!("{prefix}{}", String::from_utf8_lossy(bytes).escape_default());
        let path = match std::str::from_utf8(bytes).map(|name| format!("{prefix}{name}")) {
            Ok(path) if check_path(&path).is_ok() => path,
            _ => {
                let why = format!(
                    "{} (a name must be UTF-8 without control characters, a path {PATH_BYTES_MAX} bytes)",
                    shown()
                );
                plan.leave_out(why);
                continue;
            }
        };
        match entry.file_type() {
            Some(Type::File) => {
                let bytes = open_file(folder.as_fd(), &path[prefix.len()..])?.metadata()?.len();
                plan.entries.insert(path, Some(bytes));
            }
            Some(Type::Directory) if depth < DEPTH_MAX => {
                let inner = open_folder(folder.as_fd(), &path[prefix.len()..])?;
                plan.entries.insert(path.clone(), None);
                list(&inner, &format!("{path}/"), depth + 1, bounds, plan)?;
            }
            Some(Type::Directory) => plan.leave_out(format!("{} (folders in folders, {DEPTH_MAX} at most)", shown())),
            Some(Type::Symlink) => plan.leave_out(format!("{} (a symbolic link)", shown())),
            _ => plan.leave_out(format!("{} (neither file nor folder)", shown())),
        }
    }
    Ok(())
}

impl Plan {
    fn leave_out(&mut self, what: String) {
        if self.left_out.len() < NAMED_MAX {
            self.left_out.push(what.chars().take(300).collect());
        } else {
            self.more_left_out += 1;
        }
    }
}

/// Not through a link.
fn open_folder(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Not through a link in its last part; what lies before it was opened as folders one by one, or is made of such.
fn open_file(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty())?;
    let kind = fstat(&file)?.st_mode & nix::libc::S_IFMT;
    if kind != nix::libc::S_IFREG {
        return Err(Errno::EINVAL.into());
    }
    Ok(File::from(file))
}

fn copy(from: &File, target: BorrowedFd<'_>, path: &str, look: &mut dyn FnMut()) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut to = File::from(openat(target, path, flags, Mode::from_bits_truncate(0o644))?);
    while io::copy(&mut from.take(CHUNK_BYTES), &mut to)? == CHUNK_BYTES {
        look();
    }
    Ok(())
}
