//! Be process 1 of the new namespace: finish the file system, start the program, reap, hold still when told to, and leave nobody
//! alive behind it.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2, pivot_root};
use serde::{Deserialize, Serialize};

use crate::SCRATCH_BYTES;
use crate::foreign;
use crate::payload::{Program, close_all_but, drop_capabilities};
use crate::rootfs::{Refused, Rootfs, bind, bind_read_only, page_bytes, refused};
use crate::wire::{Request, WORD_FREEZE, WORD_THAW};

/// Bytes of a status.
const STATUS_BYTES_MAX: usize = 4096;
/// How often memory is looked at, where no cgroup bounds it.
pub(crate) const LOOK_MS: u16 = 50;
/// Memory that the host's own shared memory may grow by meanwhile, beyond all that the run may have.
const SHARED_MARGIN_BYTES: u64 = 64 << 20;
/// The part of the host's memory that must stay available: one in so many.
const HOST_FLOOR: u64 = 20;
/// The dead that are buried before it is looked around again: somebody may make them faster than that.
const REAP_MAX: usize = 64;
/// What of `/proc` stays as the kernel has it, besides the processes'.
const PROC_KEPT: [&str; 4] = ["self", "thread-self", "mounts", "net"];
/// What is left of it too where there are devices: numbers of the kinds that the kernel knows.
const PROC_OF_DEVICES: &str = "devices";
/// What is shown in place of the host's own.
const PROC_REPLACED: [&str; 7] = ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems"];
/// Queues of messages, each of 16 KiB, and arrays of semaphores that a run may have: they lie in the kernel's memory.
const QUEUES_MAX: u64 = 64;
const SEMAPHORES: &str = "250\t32000\t32\t128";

/// What process 1 has to say.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    /// The program is about to be started.
    Ready,
    Exited {
        code: i32,
        peak_bytes: u64,
    },
    Signalled {
        signal: i32,
    },
    OutOfMemory,
    /// The kernel does not run it.
    NotStarted {
        errno: i32,
    },
    /// The sandbox could not be finished.
    Refused {
        what: String,
    },
}

/// Reads one; none when process 1 is gone.
pub(crate) fn read_status(pipe: BorrowedFd<'_>) -> Option<Status> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < STATUS_BYTES_MAX {
        match nix::unistd::read(pipe, &mut byte) {
            Ok(1) if byte[0] == b'\n' => return serde_json::from_slice(&line).ok(),
            Ok(1) => line.push(byte[0]),
            Err(Errno::EINTR) => {}
            _ => return None,
        }
    }
    None
}

/// What it is handed.
pub(crate) struct Files {
    pub(crate) status: OwnedFd,
    pub(crate) words: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Never returns: the namespace ends with it.
pub(crate) fn be_process_one(request: &Request, program: &Program, rootfs: &Rootfs, files: Files) -> ! {
    let status = match attempt(request, program, rootfs, &files) {
        Ok(status) => status,
        // Of a character may become six in JSON.
        Err(what) => Status::Refused { what: what.chars().take(STATUS_BYTES_MAX / 8).collect() },
    };
    kill_all();
    tell(&files, &status);
    // SAFETY: ends this process at once; nothing of the helper's is to be run at its end.
    unsafe { libc::_exit(0) }
}

pub(crate) fn tell(files: &Files, status: &Status) {
    if let Ok(mut line) = serde_json::to_vec(status) {
        line.push(b'\n');
        let _ = nix::unistd::write(&files.status, &line);
    }
}

fn attempt(request: &Request, program: &Program, rootfs: &Rootfs, files: &Files) -> Result<Status, Refused> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(refused("to die with the helper"))?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(refused("/dev/null"))?;
    for number in 0..3 {
        // SAFETY: the helper's own files on these numbers are never used in this process.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), number) }).map_err(refused("its own files"))?;
    }
    let memory = (!request.memory_is_bounded).then(|| MemoryWatch::begin(request));
    let mut keep = vec![null.as_raw_fd(), rootfs.stdout.as_raw_fd()];
    keep.extend([&files.status, &files.words, &files.stderr].map(|file| file.as_raw_fd()));
    keep.extend(memory.iter().flat_map(|watch| &watch.host).map(|file| file.as_raw_fd()));
    // The helper's folders of the host are not for this process, in which somebody might try to find them.
    close_all_but(&keep).map_err(refused("its own files"))?;
    nix::unistd::sethostname("gristmill").map_err(refused("a host name"))?;
    if let Some(runtime) = &request.runtime {
        let given = foreign::Given { runtime, request, program, rootfs, files, null: &null, memory };
        return foreign::attempt(given);
    }
    mount_proc(request, rootfs)?;
    change_root(&rootfs.root)?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().map_err(refused("signals"))?;
    let signals =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(refused("signals"))?;
    if request.argv.is_empty() {
        return Ok(Status::Exited { code: 0, peak_bytes: 0 });
    }
    tell(files, &Status::Ready);
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(refused("a pipe"));
    let ((failure, failure_in), (go, go_in)) = (pipe()?, pipe()?);
    // SAFETY: there is one thread in this process, so that the child may do what it likes.
    let main = match unsafe { fork() }.map_err(refused("the program's process"))? {
        ForkResult::Child => {
            let stdio = [null.as_fd(), rootfs.stdout.as_fd(), files.stderr.as_fd()];
            drop(go_in);
            let failed = program.become_it(stdio, failure_in.as_fd(), go.as_fd());
            let mut said = (failed.error as i32).to_le_bytes().to_vec();
            said.extend_from_slice(failed.what.as_bytes());
            let _ = nix::unistd::write(&failure_in, &said);
            // SAFETY: as in `be_process_one`.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => child,
    };
    drop((failure_in, null, go));
    // Nobody looks into this process, and it has nothing left that anybody could want.
    prctl::set_dumpable(false).map_err(refused("no inspection"))?;
    drop_capabilities().map_err(refused("no capabilities"))?;
    prctl::set_no_new_privs().map_err(refused("no new privileges"))?;
    // The program begins only now. If it is dead already, that is told in another way.
    let _ = nix::unistd::write(&go_in, b"g");
    drop(go_in);
    if let Some(status) = start_failure(failure) {
        return status;
    }
    Ok(Reaper { main, signals, words: files.words.as_fd(), memory }.reap())
}

/// What the program's process said before it became the program; nothing when it did.
fn start_failure(pipe: OwnedFd) -> Option<Result<Status, Refused>> {
    let mut said = Vec::new();
    fs::File::from(pipe).take(STATUS_BYTES_MAX as u64).read_to_end(&mut said).ok()?;
    let (errno, what) = said.split_at_checked(4)?;
    let errno = i32::from_le_bytes(errno.try_into().ok()?);
    if what.is_empty() {
        return Some(Ok(Status::NotStarted { errno }));
    }
    Some(Err(format!("{}: {}", String::from_utf8_lossy(what), Errno::from_raw(errno).desc())))
}

/// Bounds what lies in the kernel's memory and is no process's. Older kernels let only the host's root do that (before 6.9); there
/// the sum of memory is bounded by a cgroup or watched.
fn limit_queues(proc: &Path, request: &Request) {
    let kernel = proc.join("sys/kernel");
    let pages = (request.memory_bytes / page_bytes()).to_string();
    let (bytes, queues) = (request.memory_bytes.to_string(), QUEUES_MAX.to_string());
    for (name, value) in [("shmall", pages.as_str()), ("shmmax", &bytes), ("msgmni", &queues), ("sem", SEMAPHORES)] {
        let _ = fs::write(kernel.join(name), value);
    }
}

pub(crate) fn mount_proc(request: &Request, rootfs: &Rootfs) -> Result<(), Refused> {
    let proc = rootfs.root.join("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &proc, Some("proc"), flags, None::<&str>).map_err(refused("/proc"))?;
    limit_queues(&proc, request);
    let masks = &rootfs.masks;
    for entry in fs::read_dir(&proc).map_err(refused("/proc"))? {
        let entry = entry.map_err(refused("/proc"))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.bytes().all(|byte| byte.is_ascii_digit()) || PROC_KEPT.contains(&name) {
            continue;
        }
        let at = proc.join(name);
        if !request.devices.is_none() && name == PROC_OF_DEVICES {
            continue;
        }
        if !request.devices.is_none() && name == "driver" {
            show_drivers(&at, masks)?;
            continue;
        }
        if PROC_REPLACED.contains(&name) {
            bind(&masks.join(name), &at)?;
            continue;
        }
        if name == "sys" {
            bind_read_only(&masks.join(name), &at)?;
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&at) else { continue };
        if metadata.is_dir() {
            bind_read_only(&masks.join("folder"), &at)?;
        } else if metadata.is_file() && metadata.permissions().mode() & 0o006 != 0 {
            // What is root's alone is closed to the program anyway.
            bind(&masks.join("nothing"), &at)?;
        }
    }
    Ok(())
}

/// Of what drivers tell in `/proc`, shows what the libraries of NVIDIA's look at, which may not think that they could make device
/// files.
fn show_drivers(at: &Path, masks: &Path) -> Result<(), Refused> {
    const MAKES_NODES: [&str; 2] = ["ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0"];
    let (own, shown) = (at.join("nvidia"), masks.join("driver"));
    let shown_own = shown.join("nvidia");
    fs::create_dir_all(&shown_own).map_err(refused("a folder for drivers"))?;
    if own.is_dir() {
        bind_read_only(&own, &shown_own)?;
        if let Ok(params) = fs::read_to_string(own.join("params")) {
            let file = masks.join("params");
            fs::write(&file, params.replace(MAKES_NODES[0], MAKES_NODES[1])).map_err(refused("a file of drivers"))?;
            bind_read_only(&file, &shown_own.join("params"))?;
        }
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&shown), at, None::<&str>, flags, None::<&str>).map_err(refused("/proc/driver"))
}

fn change_root(root: &Path) -> Result<(), Refused> {
    std::env::set_current_dir(root).map_err(refused("the new root"))?;
    pivot_root(".", ".").map_err(refused("the new root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(refused("the old root"))?;
    std::env::set_current_dir("/").map_err(refused("the new root"))
}

/// Ends every process of the namespace but this one.
fn kill_all() {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while waitpid(Pid::from_raw(-1), None) != Err(Errno::ECHILD) {}
}

struct Reaper<'a> {
    main: Pid,
    signals: SignalFd,
    words: BorrowedFd<'a>,
    /// The bound that is watched here.
    memory: Option<MemoryWatch>,
}

impl Reaper<'_> {
    /// Until the program's first process ends; what it started may end before or be ended with it.
    fn reap(self) -> Status {
        loop {
            let _ = self.signals.read_signal();
            let more = match self.reap_those_that_ended() {
                Reaped::Main(WaitStatus::Exited(_, code)) => {
                    return Status::Exited { code, peak_bytes: peak_bytes() };
                }
                Reaped::Main(WaitStatus::Signaled(_, signal, _)) => {
                    return Status::Signalled { signal: signal as i32 };
                }
                Reaped::Main(_) | Reaped::All => false,
                Reaped::Some => true,
            };
            if self.memory.as_ref().is_some_and(MemoryWatch::is_too_much) {
                return Status::OutOfMemory;
            }
            let timeout = match &self.memory {
                _ if more => PollTimeout::ZERO,
                Some(_) => PollTimeout::from(LOOK_MS),
                None => PollTimeout::NONE,
            };
            let mut files =
                [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(self.words, PollFlags::POLLIN)];
            let _ = poll(&mut files, timeout);
            if files[1].any().unwrap_or(false) {
                listen(self.words);
            }
        }
    }

    fn reap_those_that_ended(&self) -> Reaped {
        for _ in 0..REAP_MAX {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) if pid == self.main => {
                    return Reaped::Main(status);
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return Reaped::All,
                Ok(_) => {}
            }
        }
        Reaped::Some
    }
}

/// Freezes and thaws. Signals of process 1 to all are seen by all at once, those included that are just being made.
pub(crate) fn listen(words: BorrowedFd<'_>) {
    let mut said = [0; 64];
    match nix::unistd::read(words, &mut said) {
        Ok(count @ 1..) => {
            let last = said[..count].iter().rev().find(|word| [WORD_FREEZE, WORD_THAW].contains(word));
            let signal = match last {
                Some(&WORD_FREEZE) => Signal::SIGSTOP,
                Some(_) => Signal::SIGCONT,
                None => return,
            };
            let _ = kill(Pid::from_raw(-1), signal);
        }
        Err(Errno::EINTR) => {}
        // The helper is gone, and with this process all of them.
        // SAFETY: as in `be_process_one`.
        _ => unsafe { libc::_exit(1) },
    }
}

enum Reaped {
    /// The program's first process ended, and how.
    Main(WaitStatus),
    /// Nobody is dead any more.
    All,
    /// There may be more.
    Some,
}

/// Sees to it that a run stays in its bounds of memory where no cgroup does.
pub(crate) struct MemoryWatch {
    /// For the processes' own memory.
    bound: u64,
    /// For what the host's shared memory grows by: some of it belongs to no process that could be asked (a memfd that is under way in
    /// a socket, pages that nobody maps any more).
    shared_bound: u64,
    shared_before: u64,
    /// The host's `/proc/meminfo`.
    host: Option<fs::File>,
}

impl MemoryWatch {
    /// Before the host's /proc is out of sight.
    fn begin(request: &Request) -> Self {
        let files = request.output_files.saturating_mul(page_bytes());
        let granted = [request.memory_bytes, request.output_bytes, files, SCRATCH_BYTES, SHARED_MARGIN_BYTES];
        // The host's count does not say whose it is: as many runs as there are cores may take what they are granted at once, and
        // none of them must end for what the others do.
        let runs = cores_of_the_host().max(2);
        let host = fs::File::open("/proc/meminfo").ok();
        let shared_before = host.as_ref().and_then(HostMemory::read).map_or(0, |now| now.shared);
        Self {
            bound: request.memory_bytes,
            shared_bound: granted.into_iter().fold(0, u64::saturating_add).saturating_mul(runs),
            shared_before,
            host,
        }
    }

    pub(crate) fn is_too_much(&self) -> bool {
        if memory_in_use() > self.bound {
            return true;
        }
        let Some(now) = self.host.as_ref().and_then(HostMemory::read) else { return false };
        // Or the host is about to choose whom it kills: the machine's owner goes first.
        now.shared.saturating_sub(self.shared_before) > self.shared_bound || now.available < now.total / HOST_FLOOR
    }
}

/// All that are there: this process itself may use one of them.
fn cores_of_the_host() -> u64 {
    let cores = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    cores.ok().flatten().and_then(|cores| u64::try_from(cores).ok()).unwrap_or(1)
}

/// What the host says of its memory, in bytes.
#[derive(Debug, PartialEq, Eq)]
struct HostMemory {
    total: u64,
    available: u64,
    shared: u64,
}

impl HostMemory {
    fn read(file: &fs::File) -> Option<Self> {
        /// The lines that are looked for are among the first.
        const BYTES: usize = 2048;
        let mut buffer = [0; BYTES];
        let count = file.read_at(&mut buffer, 0).ok()?;
        Self::parse(&String::from_utf8_lossy(&buffer[..count]))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total: field("MemTotal:")?, available: field("MemAvailable:")?, shared: field("Shmem:")? })
    }
}

/// Of those that ended, the largest one's.
fn peak_bytes() -> u64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss().unsigned_abs().saturating_mul(1024))
}

/// Memory that is theirs alone, of all processes of the namespace.
fn memory_in_use() -> u64 {
    let mut pages = 0u64;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("statm")) else { continue };
        let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        pages = pages.saturating_add(resident.saturating_sub(shared));
    }
    pages.saturating_mul(page_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_memory_is_read_as_the_kernel_writes_it() {
        let text =
            "MemTotal:       24684364 kB\nMemFree:  1 kB\nMemAvailable:   24079484 kB\nShmem:              8728 kB\n";
        let expected = HostMemory { total: 24_684_364 << 10, available: 24_079_484 << 10, shared: 8728 << 10 };
        assert_eq!(HostMemory::parse(text), Some(expected));
        assert_eq!(HostMemory::parse("MemTotal: 1 kB\n"), None);
        let here = HostMemory::read(&fs::File::open("/proc/meminfo").unwrap()).unwrap();
        assert!(here.total >= here.available && here.available > 0);
    }
}
