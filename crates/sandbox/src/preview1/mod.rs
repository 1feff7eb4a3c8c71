//! Offer WASI preview1 to a guest, with a world that is the same on every machine.
//!
//! [`add_to_linker`] registers every function of preview1. Each call goes through [`enter`], which finds the guest's
//! memory, charges fuel for the work the host is about to do, and turns the outcome into an error number or the end
//! of the run. The functions themselves are plain Rust over `(&mut [u8], &mut Host)` and know nothing of wasmtime.
//!
//! Calls cost fuel, about as much as the guest could have burnt in the time the host takes, so that a guest cannot keep
//! the host at work for much longer than its category allows. The costs are part of the profile's host version.

pub(crate) mod errno;
mod fd;
pub(crate) mod guest;
mod misc;
mod path;
mod world;

use wasmtime::{Caller, Extern, Linker, Val};

pub(crate) use world::{FUEL_MAX, Host, Limiter, TABLE_ENTRIES_MAX, TABLES_MAX, World};

use crate::stop::{Fail, Stop};

/// Fuel of any call.
const CALL_FUEL: u64 = 1_000;
/// Fuel, on top, of a call that walks a path.
const PATH_FUEL: u64 = 20_000;
/// Fuel of a byte of such a path.
const PATH_BYTE_FUEL: u64 = 100;
/// Fuel, on top, of a call that may make or remove something on the host's disk.
const CHANGE_FUEL: u64 = 200_000;
/// Fuel of a buffer that is read or written: a system call each.
const BUFFER_FUEL: u64 = 10_000;
/// Fuel of a byte that is read or written.
const BYTE_FUEL: u64 = 4;
/// Fuel of a random byte.
const RANDOM_BYTE_FUEL: u64 = 16;
/// Fuel of an entry when a folder is listed or searched.
const ENTRY_FUEL: u64 = 200;
/// The module name of preview1's functions.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

type Memory<'a> = &'a mut [u8];

/// Runs one call of the guest.
fn enter(
    caller: &mut Caller<'_, Host>,
    fuel: u64,
    call: impl FnOnce(Memory<'_>, &mut Host) -> Result<(), Fail>,
) -> wasmtime::Result<u32> {
    let memory = match caller.data().memory {
        Some(memory) => Some(memory),
        None => caller.get_export("memory").and_then(Extern::into_memory),
    };
    caller.data_mut().memory = memory;
    let meter = caller.data().meter;
    if let Some(meter) = meter {
        let left = meter.get(&mut *caller).i64().unwrap_or(0);
        caller.data_mut().fuel = left.max(0).cast_unsigned();
    }
    let (bytes, host) = match memory {
        Some(memory) => memory.data_and_store_mut(&mut *caller),
        None => (&mut [][..], caller.data_mut()),
    };
    let outcome = host.charge(fuel).map_err(Fail::from).and_then(|()| call(bytes, host));
    let left = if outcome == Err(Fail::Stop(Stop::OutOfFuel)) { 0 } else { host.fuel };
    host.fuel = left;
    if let Some(meter) = meter {
        meter.set(&mut *caller, Val::I64(left.cast_signed()))?;
    }
    match outcome {
        Ok(()) => Ok(0),
        Err(Fail::Errno(errno)) => Ok(u32::from(errno.0)),
        Err(Fail::Stop(stop)) => Err(wasmtime::Error::from(stop)),
    }
}

/// Defines [`register`] and [`NAMES`] from one table.
macro_rules! offer {
    ($($name:ident($($arg:ident: $ty:ty),*) at $fuel:expr => $function:path;)*) => {
        /// The functions of preview1 that return an error number.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        fn register(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
            $(linker.func_wrap(
                MODULE,
                stringify!($name),
                |mut caller: Caller<'_, Host>, $($arg: $ty),*| -> wasmtime::Result<u32> {
                    enter(&mut caller, $fuel, |memory, host| $function(memory, host, $($arg),*))
                },
            )?;)*
            Ok(())
        }
    };
}

const PATH: u64 = CALL_FUEL + PATH_FUEL;
const CHANGE: u64 = CALL_FUEL + CHANGE_FUEL;

offer! {
    args_get(list: u32, text: u32) at CALL_FUEL => misc::args_get;
    args_sizes_get(count: u32, bytes: u32) at CALL_FUEL => misc::args_sizes_get;
    environ_get(list: u32, text: u32) at CALL_FUEL => misc::environ_get;
    environ_sizes_get(count: u32, bytes: u32) at CALL_FUEL => misc::environ_sizes_get;
    clock_res_get(clock: u32, out: u32) at CALL_FUEL => misc::clock_res_get;
    clock_time_get(clock: u32, precision: u64, out: u32) at CALL_FUEL => misc::clock_time_get;
    fd_advise(fd: u32, offset: u64, length: u64, advice: u32) at CALL_FUEL => fd::advise;
    fd_allocate(fd: u32, offset: u64, length: u64) at CHANGE => fd::allocate;
    fd_close(fd: u32) at CALL_FUEL => fd::close;
    fd_datasync(fd: u32) at CALL_FUEL => fd::sync;
    fd_fdstat_get(fd: u32, out: u32) at CALL_FUEL => fd::fdstat_get;
    fd_fdstat_set_flags(fd: u32, flags: u32) at CALL_FUEL => fd::fdstat_set_flags;
    fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) at CALL_FUEL => fd::fdstat_set_rights;
    fd_filestat_get(fd: u32, out: u32) at CALL_FUEL => fd::filestat_get;
    fd_filestat_set_size(fd: u32, size: u64) at CHANGE => fd::filestat_set_size;
    fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, flags: u32) at CALL_FUEL
        => fd::filestat_set_times;
    fd_pread(fd: u32, list: u32, count: u32, offset: u64, out: u32) at CALL_FUEL => fd::pread;
    fd_prestat_get(fd: u32, out: u32) at CALL_FUEL => fd::prestat_get;
    fd_prestat_dir_name(fd: u32, out: u32, length: u32) at CALL_FUEL => fd::prestat_dir_name;
    fd_pwrite(fd: u32, list: u32, count: u32, offset: u64, out: u32) at CALL_FUEL => fd::pwrite;
    fd_read(fd: u32, list: u32, count: u32, out: u32) at CALL_FUEL => fd::read;
    fd_readdir(fd: u32, buffer: u32, length: u32, cookie: u64, out: u32) at CALL_FUEL => fd::readdir;
    fd_renumber(from: u32, to: u32) at CALL_FUEL => fd::renumber;
    fd_seek(fd: u32, offset: i64, whence: u32, out: u32) at CALL_FUEL => fd::seek;
    fd_sync(fd: u32) at CALL_FUEL => fd::sync;
    fd_tell(fd: u32, out: u32) at CALL_FUEL => fd::tell;
    fd_write(fd: u32, list: u32, count: u32, out: u32) at CALL_FUEL => fd::write;
    path_create_directory(fd: u32, path: u32, length: u32) at PATH + CHANGE_FUEL => path::create_directory;
    path_filestat_get(fd: u32, flags: u32, path: u32, length: u32, out: u32) at PATH => path::filestat_get;
    path_filestat_set_times(
        fd: u32, flags: u32, path: u32, length: u32, accessed: u64, modified: u64, which: u32
    ) at PATH => path::filestat_set_times;
    path_link(
        fd: u32, flags: u32, path: u32, length: u32, to_fd: u32, to_path: u32, to_length: u32
    ) at PATH => path::link;
    path_open(
        fd: u32, lookup: u32, path: u32, length: u32, flags: u32, rights: u64, inheriting: u64, fdflags: u32,
        out: u32
    ) at PATH => path::open;
    path_readlink(fd: u32, path: u32, length: u32, buffer: u32, room: u32, out: u32) at PATH => path::readlink;
    path_remove_directory(fd: u32, path: u32, length: u32) at PATH + CHANGE_FUEL => path::remove_directory;
    path_rename(fd: u32, path: u32, length: u32, to_fd: u32, to_path: u32, to_length: u32) at PATH + CHANGE_FUEL
        => path::rename;
    path_symlink(text: u32, text_length: u32, fd: u32, path: u32, length: u32) at PATH => path::symlink;
    path_unlink_file(fd: u32, path: u32, length: u32) at PATH + CHANGE_FUEL => path::unlink_file;
    poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32) at CALL_FUEL => misc::poll_oneoff;
    proc_raise(signal: u32) at CALL_FUEL => misc::proc_raise;
    sched_yield() at CALL_FUEL => misc::sched_yield;
    random_get(buffer: u32, length: u32) at CALL_FUEL => misc::random_get;
    sock_accept(fd: u32, flags: u32, out: u32) at CALL_FUEL => misc::sock_accept;
    sock_recv(fd: u32, list: u32, count: u32, flags: u32, out: u32, out_flags: u32) at CALL_FUEL
        => misc::sock_recv;
    sock_send(fd: u32, list: u32, count: u32, flags: u32, out: u32) at CALL_FUEL => misc::sock_send;
    sock_shutdown(fd: u32, how: u32) at CALL_FUEL => misc::sock_shutdown;
}

/// The one function that never returns.
const PROC_EXIT: &str = "proc_exit";

/// True for what [`add_to_linker`] registers.
pub(crate) fn offers(module: &str, name: &str) -> bool {
    module == MODULE && (name == PROC_EXIT || NAMES.contains(&name))
}

/// Registers all of preview1.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    register(linker)?;
    linker.func_wrap(MODULE, PROC_EXIT, |_: Caller<'_, Host>, code: u32| -> wasmtime::Result<()> {
        Err(wasmtime::Error::from(Stop::Exit(code.cast_signed())))
    })?;
    Ok(())
}
