//! Serve preview1's `fd_*` functions.

use super::errno::Errno;
use super::{BUFFER_FUEL, BYTE_FUEL, ENTRY_FUEL, Host, Memory, guest};
use crate::stop::Fail;
use crate::vfs::files::Whence;
use crate::vfs::{Body, FileType, Stat};

/// `fdflags`: writes go to the end.
pub(crate) const FDFLAG_APPEND: u32 = 1;
/// All `fdflags` there are. The others say when bytes reach a disk, which means nothing here.
pub(crate) const FDFLAGS: u32 = 0b1_1111;
/// `rights`: read from the file.
pub(crate) const RIGHT_READ: u64 = 1 << 1;
/// `rights`: write to the file.
pub(crate) const RIGHT_WRITE: u64 = 1 << 6;
const RIGHT_READDIR: u64 = 1 << 14;
const RIGHT_ALLOCATE: u64 = 1 << 8;
const RIGHT_SET_SIZE: u64 = 1 << 22;
const RIGHT_DATASYNC: u64 = 1;
/// Every right preview1 knows. Folders pass all of them on: what may be done follows from the entry, not from rights.
const RIGHTS_ALL: u64 = (1 << 30) - 1;
/// The rights that a descriptor opened for writing has and one for reading lacks.
const RIGHTS_OF_WRITING: u64 = RIGHT_WRITE | RIGHT_ALLOCATE | RIGHT_SET_SIZE | RIGHT_DATASYNC;

type Done = Result<(), Fail>;

pub(super) fn advise(_: Memory<'_>, host: &mut Host, fd: u32, _: u64, _: u64, advice: u32) -> Done {
    match host.fs.descriptor(fd)?.body {
        _ if advice > 5 => Err(Errno::INVAL.into()),
        Body::Input { .. } | Body::Output { .. } => Ok(()),
        Body::Directory(_) => Err(Errno::BADF.into()),
        _ => Err(Errno::SPIPE.into()),
    }
}

pub(super) fn allocate(_: Memory<'_>, host: &mut Host, fd: u32, offset: u64, length: u64) -> Done {
    host.fs.allocate(fd, offset, length)
}

pub(super) fn close(_: Memory<'_>, host: &mut Host, fd: u32) -> Done {
    host.fs.close(fd)
}

pub(super) fn sync(_: Memory<'_>, host: &mut Host, fd: u32) -> Done {
    host.fs.descriptor(fd)?;
    Ok(())
}

pub(super) fn fdstat_get(memory: Memory<'_>, host: &mut Host, fd: u32, out: u32) -> Done {
    let kind = host.fs.stat_descriptor(fd)?.kind;
    let descriptor = host.fs.descriptor(fd)?;
    let mut base = RIGHTS_ALL;
    if kind == FileType::Directory {
        base &= !(RIGHT_READ | RIGHTS_OF_WRITING);
    } else {
        base &= !RIGHT_READDIR;
        if !descriptor.readable {
            base &= !RIGHT_READ;
        }
        if !descriptor.writable {
            base &= !RIGHTS_OF_WRITING;
        }
    }
    let flags = if descriptor.append { FDFLAG_APPEND as u8 } else { 0 };
    let mut stat = [0; 24];
    stat[0] = kind as u8;
    stat[2] = flags;
    stat[8..16].copy_from_slice(&base.to_le_bytes());
    stat[16..24].copy_from_slice(&RIGHTS_ALL.to_le_bytes());
    Ok(guest::put(memory, out, &stat)?)
}

pub(super) fn fdstat_set_flags(_: Memory<'_>, host: &mut Host, fd: u32, flags: u32) -> Done {
    if flags & !FDFLAGS != 0 {
        return Err(Errno::INVAL.into());
    }
    host.fs.descriptor_mut(fd)?.append = flags & FDFLAG_APPEND != 0;
    Ok(())
}

pub(super) fn fdstat_set_rights(_: Memory<'_>, host: &mut Host, fd: u32, base: u64, inheriting: u64) -> Done {
    if (base | inheriting) & !RIGHTS_ALL != 0 {
        return Err(Errno::INVAL.into());
    }
    let descriptor = host.fs.descriptor_mut(fd)?;
    if !matches!(descriptor.body, Body::Directory(_)) {
        descriptor.readable &= base & RIGHT_READ != 0;
        descriptor.writable &= base & RIGHT_WRITE != 0;
    }
    Ok(())
}

pub(super) fn filestat_get(memory: Memory<'_>, host: &mut Host, fd: u32, out: u32) -> Done {
    let stat = host.fs.stat_descriptor(fd)?;
    Ok(put_filestat(memory, out, stat)?)
}

/// Writes a `filestat`: one device, one link, and times that are all zero.
pub(super) fn put_filestat(memory: Memory<'_>, out: u32, stat: Stat) -> Result<(), Errno> {
    let mut bytes = [0; 64];
    bytes[0..8].copy_from_slice(&1u64.to_le_bytes());
    bytes[8..16].copy_from_slice(&stat.inode.to_le_bytes());
    bytes[16] = stat.kind as u8;
    bytes[24..32].copy_from_slice(&1u64.to_le_bytes());
    bytes[32..40].copy_from_slice(&stat.size.to_le_bytes());
    guest::put(memory, out, &bytes)
}

pub(super) fn filestat_set_size(_: Memory<'_>, host: &mut Host, fd: u32, size: u64) -> Done {
    if i64::try_from(size).is_err() {
        return Err(Errno::INVAL.into());
    }
    host.fs.set_size(fd, size)
}

/// Times are zero and stay zero.
pub(super) fn filestat_set_times(_: Memory<'_>, host: &mut Host, fd: u32, _: u64, _: u64, _: u32) -> Done {
    host.fs.descriptor(fd)?;
    Ok(())
}

pub(super) fn read(memory: Memory<'_>, host: &mut Host, fd: u32, list: u32, count: u32, out: u32) -> Done {
    scatter(memory, host, fd, (list, count), None, out)
}

pub(super) fn pread(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    list: u32,
    count: u32,
    offset: u64,
    out: u32,
) -> Done {
    scatter(memory, host, fd, (list, count), Some(position(offset)?), out)
}

pub(super) fn write(memory: Memory<'_>, host: &mut Host, fd: u32, list: u32, count: u32, out: u32) -> Done {
    gather(memory, host, fd, (list, count), None, out)
}

pub(super) fn pwrite(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    list: u32,
    count: u32,
    offset: u64,
    out: u32,
) -> Done {
    gather(memory, host, fd, (list, count), Some(position(offset)?), out)
}

fn position(offset: u64) -> Result<u64, Errno> {
    if i64::try_from(offset).is_ok() { Ok(offset) } else { Err(Errno::INVAL) }
}

fn scatter(memory: Memory<'_>, host: &mut Host, fd: u32, list: (u32, u32), at: Option<u64>, out: u32) -> Done {
    let buffers = guest::buffers(memory, list.0, list.1)?;
    guest::bytes(memory, out, 4)?;
    let mut total: u32 = 0;
    // A call without a buffer still says whether the descriptor can be read.
    host.fs.read(fd, at, &mut [])?;
    for (start, length) in buffers {
        host.charge(BUFFER_FUEL + BYTE_FUEL * u64::from(length))?;
        let here = at.map(|at| at.saturating_add(u64::from(total)));
        let read = host.fs.read(fd, here, guest::bytes_mut(memory, start, length)?)?;
        total += read as u32;
        if read < length as usize {
            break;
        }
    }
    Ok(guest::put_u32(memory, out, total)?)
}

fn gather(memory: Memory<'_>, host: &mut Host, fd: u32, list: (u32, u32), at: Option<u64>, out: u32) -> Done {
    let buffers = guest::buffers(memory, list.0, list.1)?;
    guest::bytes(memory, out, 4)?;
    let mut total: u32 = 0;
    host.fs.write(fd, at, &[])?;
    for (start, length) in buffers {
        host.charge(BUFFER_FUEL + BYTE_FUEL * u64::from(length))?;
        let here = at.map(|at| at.saturating_add(u64::from(total)));
        host.fs.write(fd, here, guest::bytes(memory, start, length)?)?;
        total += length;
    }
    Ok(guest::put_u32(memory, out, total)?)
}

pub(super) fn prestat_get(memory: Memory<'_>, host: &mut Host, fd: u32, out: u32) -> Done {
    let name = host.fs.descriptor(fd)?.preopen.ok_or(Errno::BADF)?;
    guest::put_u32(memory, out, 0)?;
    Ok(guest::put_u32(memory, guest::at(out, 4)?, name.len() as u32)?)
}

pub(super) fn prestat_dir_name(memory: Memory<'_>, host: &mut Host, fd: u32, out: u32, length: u32) -> Done {
    let name = host.fs.descriptor(fd)?.preopen.ok_or(Errno::BADF)?;
    if name.len() > length as usize {
        return Err(Errno::NAMETOOLONG.into());
    }
    Ok(guest::put(memory, out, name.as_bytes())?)
}

/// Fills the buffer with entries from `cookie` on. An entry that does not fit is cut, which tells the guest that there
/// is more.
pub(super) fn readdir(
    memory: Memory<'_>,
    host: &mut Host,
    fd: u32,
    buffer: u32,
    length: u32,
    cookie: u64,
    out: u32,
) -> Done {
    let (listing, fresh) = host.fs.listing(fd, cookie == 0)?;
    if fresh {
        host.charge(ENTRY_FUEL.saturating_mul(listing.len() as u64))?;
    }
    host.charge(u64::from(length))?;
    let target = guest::bytes_mut(memory, buffer, length)?;
    let mut used = 0;
    let first = usize::try_from(cookie).unwrap_or(usize::MAX);
    for (index, entry) in listing.iter().enumerate().skip(first) {
        let mut head = [0; 24];
        head[0..8].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        head[8..16].copy_from_slice(&entry.inode.to_le_bytes());
        head[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
        head[20] = entry.kind as u8;
        for part in [&head[..], entry.name.as_bytes()] {
            let fits = part.len().min(target.len() - used);
            target[used..used + fits].copy_from_slice(&part[..fits]);
            used += fits;
        }
        if used == target.len() {
            break;
        }
    }
    Ok(guest::put_u32(memory, out, used as u32)?)
}

pub(super) fn renumber(_: Memory<'_>, host: &mut Host, from: u32, to: u32) -> Done {
    host.fs.renumber(from, to)
}

pub(super) fn seek(memory: Memory<'_>, host: &mut Host, fd: u32, offset: i64, whence: u32, out: u32) -> Done {
    let whence = match whence {
        0 => Whence::Start,
        1 => Whence::Current,
        2 => Whence::End,
        _ => return Err(Errno::INVAL.into()),
    };
    let position = host.fs.seek(fd, offset, whence)?;
    Ok(guest::put_u64(memory, out, position)?)
}

pub(super) fn tell(memory: Memory<'_>, host: &mut Host, fd: u32, out: u32) -> Done {
    let position = host.fs.tell(fd)?;
    Ok(guest::put_u64(memory, out, position)?)
}
