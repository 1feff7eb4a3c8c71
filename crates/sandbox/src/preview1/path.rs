//! Serve preview1's `path_*` functions.

use super::errno::Errno;
use super::fd::{FDFLAG_APPEND, FDFLAGS, RIGHT_READ, RIGHT_WRITE, put_filestat};
use super::{CHANGE_FUEL, ENTRY_FUEL, Host, Memory, PATH_BYTE_FUEL, guest};
use crate::stop::Fail;
use crate::vfs::path::OpenHow;

const OFLAG_CREATE: u32 = 1;
const OFLAG_DIRECTORY: u32 = 2;
const OFLAG_EXCLUSIVE: u32 = 4;
const OFLAG_TRUNCATE: u32 = 8;

type Done = Result<(), Fail>;

/// The path that the guest hands in, paid for.
fn named<'a>(memory: &'a [u8], host: &mut Host, path: u32, length: u32) -> Result<&'a [u8], Fail> {
    let path = guest::bytes(memory, path, length)?;
    host.charge(PATH_BYTE_FUEL * u64::from(length))?;
    Ok(path)
}

pub(super) fn create_directory(memory: Memory<'_>, host: &mut Host, fd: u32, path: u32, length: u32) -> Done {
    let path = named(memory, host, path, length)?;
    host.fs.create_directory(fd, path)
}

pub(super) fn filestat_get(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    _flags: u32,
    path: u32,
    length: u32,
    out: u32,
) -> Done {
    let path = named(memory, host, path, length)?;
    let entry = host.fs.look_up(fd, path)?;
    Ok(put_filestat(memory, out, host.fs.stat(&entry))?)
}

/// Times are zero and stay zero.
#[expect(clippy::too_many_arguments, reason = "the signature is preview1's")]
pub(super) fn filestat_set_times(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    _flags: u32,
    path: u32,
    length: u32,
    _accessed: u64,
    _modified: u64,
    _which: u32,
) -> Done {
    let path = named(memory, host, path, length)?;
    host.fs.look_up(fd, path)?;
    Ok(())
}

/// There are no hard links: an entry has one name.
#[expect(clippy::too_many_arguments, reason = "the signature is preview1's")]
pub(super) fn link(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    _flags: u32,
    path: u32,
    length: u32,
    to_fd: u32,
    _to_path: u32,
    _to_length: u32,
) -> Done {
    let path = named(memory, host, path, length)?;
    host.fs.look_up(fd, path)?;
    host.fs.directory(to_fd)?;
    Err(Errno::NOTSUP.into())
}

#[expect(clippy::too_many_arguments, reason = "the signature is preview1's")]
pub(super) fn open(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    _lookup: u32,
    path: u32,
    length: u32,
    flags: u32,
    rights: u64,
    _inheriting: u64,
    fdflags: u32,
    out: u32,
) -> Done {
    if fdflags & !FDFLAGS != 0 || flags & !0b1111 != 0 {
        return Err(Errno::INVAL.into());
    }
    guest::bytes(memory, out, 4)?;
    let how = OpenHow {
        create: flags & OFLAG_CREATE != 0,
        exclusive: flags & OFLAG_EXCLUSIVE != 0,
        truncate: flags & OFLAG_TRUNCATE != 0,
        directory: flags & OFLAG_DIRECTORY != 0,
        read: rights & RIGHT_READ != 0,
        write: rights & RIGHT_WRITE != 0,
        append: fdflags & FDFLAG_APPEND != 0,
    };
    if how.create || how.truncate {
        host.charge(CHANGE_FUEL)?;
    }
    let path = named(memory, host, path, length)?;
    let opened = host.fs.open(fd, path, how)?;
    Ok(guest::put_u32(memory, out, opened)?)
}

/// There are no symbolic links, so nothing that exists is one.
#[expect(clippy::too_many_arguments, reason = "the signature is preview1's")]
pub(super) fn readlink(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    path: u32,
    length: u32,
    _buffer: u32,
    _room: u32,
    _out: u32,
) -> Done {
    let path = named(memory, host, path, length)?;
    host.fs.look_up(fd, path)?;
    Err(Errno::INVAL.into())
}

pub(super) fn remove_directory(memory: Memory<'_>, host: &mut Host, fd: u32, path: u32, length: u32) -> Done {
    let path = named(memory, host, path, length)?;
    host.fs.remove_directory(fd, path)
}

#[expect(clippy::too_many_arguments, reason = "the signature is preview1's")]
pub(super) fn rename(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    path: u32,
    length: u32,
    to_fd: u32,
    to_path: u32,
    to_length: u32,
) -> Done {
    let from = named(memory, host, path, length)?;
    let to = named(memory, host, to_path, to_length)?;
    // How long the paths below a folder would become takes a search through all of them.
    host.charge(ENTRY_FUEL * host.fs.output.entries_bound())?;
    host.fs.rename((fd, from), (to_fd, to))
}

pub(super) fn symlink(
    _: Memory<'_>,
    host: &mut Host,
    _text: u32,
    _text_length: u32,
    fd: u32,
    _path: u32,
    _length: u32,
) -> Done {
    host.fs.directory(fd)?;
    Err(Errno::NOTSUP.into())
}

pub(super) fn unlink_file(memory: Memory<'_>, host: &mut Host, fd: u32, path: u32, length: u32) -> Done {
    let path = named(memory, host, path, length)?;
    host.fs.unlink(fd, path)
}
