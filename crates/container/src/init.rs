//! Be process 1 of the new namespace: finish the file system, start the program, reap, hold still when told to, and leave nobody
//! alive behind it.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
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

use crate::payload::{Program, drop_capabilities};
use crate::rootfs::{Refused, Rootfs, bind, bind_read_only, refused};
use crate::wire::{Request, WORD_FREEZE, WORD_THAW};

/// Bytes of a status.
const STATUS_BYTES_MAX: usize = 4096;
/// How often memory is looked at, where no cgroup bounds it.
const LOOK_MS: u16 = 50;
/// What of `/proc` stays as the kernel has it, besides the processes'.
const PROC_KEPT: [&str; 7] = ["self", "thread-self", "mounts", "net", "filesystems", "sys", "cgroups"];
/// What is shown in place of the host's own.
const PROC_REPLACED: [&str; 6] = ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version"];

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
        Err(what) => Status::Refused { what },
    };
    kill_all();
    tell(&files, &status);
    // SAFETY: ends this process at once; nothing of the helper's is to be run at its end.
    unsafe { libc::_exit(0) }
}

fn tell(files: &Files, status: &Status) {
    if let Ok(mut line) = serde_json::to_vec(status) {
        line.truncate(STATUS_BYTES_MAX - 1);
        line.push(b'\n');
        let _ = nix::unistd::write(&files.status, &line);
    }
}

fn attempt(request: &Request, program: &Program, rootfs: &Rootfs, files: &Files) -> Result<Status, Refused> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(refused("to die with the helper"))?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(refused("/dev/null"))?;
    for number in 0..3 {
        // SAFETY: the helper's own files on these numbers are never used in this process.
        Errno::result(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), number) })
            .map_err(refused("its own files"))?;
    }
    nix::unistd::sethostname("gristmill").map_err(refused("a host name"))?;
    mount_proc(rootfs)?;
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
    let (failure, failure_in) = pipe2(OFlag::O_CLOEXEC).map_err(refused("a pipe"))?;
    // SAFETY: there is one thread in this process, so that the child may do what it likes.
    let main = match unsafe { fork() }.map_err(refused("the program's process"))? {
        ForkResult::Child => {
            let stdio = [null.as_fd(), rootfs.stdout.as_fd(), files.stderr.as_fd()];
            let failed = program.become_it(stdio, failure_in.as_fd());
            let mut said = (failed.error as i32).to_le_bytes().to_vec();
            said.extend_from_slice(failed.what.as_bytes());
            let _ = nix::unistd::write(&failure_in, &said);
            // SAFETY: as in `be_process_one`.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => child,
    };
    drop((failure_in, null));
    // Nobody looks into this process, and it has nothing left that anybody could want.
    prctl::set_dumpable(false).map_err(refused("no inspection"))?;
    drop_capabilities().map_err(refused("no capabilities"))?;
    prctl::set_no_new_privs().map_err(refused("no new privileges"))?;
    if let Some(status) = start_failure(failure) {
        return status;
    }
    let memory = (!request.memory_is_bounded).then_some(request.memory_bytes);
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

fn mount_proc(rootfs: &Rootfs) -> Result<(), Refused> {
    let proc = rootfs.root.join("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &proc, Some("proc"), flags, None::<&str>).map_err(refused("/proc"))?;
    let masks = &rootfs.masks;
    for entry in fs::read_dir(&proc).map_err(refused("/proc"))? {
        let entry = entry.map_err(refused("/proc"))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.bytes().all(|byte| byte.is_ascii_digit()) || PROC_KEPT.contains(&name) {
            continue;
        }
        let at = proc.join(name);
        if PROC_REPLACED.contains(&name) {
            bind(&masks.join(name), &at)?;
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
    bind_read_only(&proc.join("sys"), &proc.join("sys"))?;
    bind(&masks.join("boot_id"), &proc.join("sys/kernel/random/boot_id"))
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
    memory: Option<u64>,
}

impl Reaper<'_> {
    /// Until the program's first process ends; what it started may end before or be ended with it.
    fn reap(self) -> Status {
        loop {
            let _ = self.signals.read_signal();
            match self.reap_those_that_ended() {
                Some(WaitStatus::Exited(_, code)) => return Status::Exited { code, peak_bytes: peak_bytes() },
                Some(WaitStatus::Signaled(_, signal, _)) => return Status::Signalled { signal: signal as i32 },
                _ => {}
            }
            if self.memory.is_some_and(|bound| memory_in_use() > bound) {
                return Status::OutOfMemory;
            }
            let timeout = if self.memory.is_some() { PollTimeout::from(LOOK_MS) } else { PollTimeout::NONE };
            let mut files =
                [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(self.words, PollFlags::POLLIN)];
            let _ = poll(&mut files, timeout);
            if files[1].any().unwrap_or(false) {
                self.listen();
            }
        }
    }

    fn reap_those_that_ended(&self) -> Option<WaitStatus> {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) if pid == self.main => {
                    return Some(status);
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Freezes and thaws. Signals of process 1 to all are seen by all at once, those included that are just being made.
    fn listen(&self) {
        let mut words = [0; 64];
        match nix::unistd::read(self.words, &mut words) {
            Ok(count @ 1..) => {
                let last = words[..count].iter().rev().find(|word| [WORD_FREEZE, WORD_THAW].contains(word));
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
}

/// Of those that ended, the largest one's.
fn peak_bytes() -> u64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss().unsigned_abs().saturating_mul(1024))
}

/// Memory that is theirs alone, of all processes of the namespace.
fn memory_in_use() -> u64 {
    // SAFETY: a plain call without pointers.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut pages = 0u64;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("statm")) else { continue };
        let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        pages = pages.saturating_add(resident.saturating_sub(shared));
    }
    pages.saturating_mul(page)
}
