//! Be the helper: read one request, make the namespaces and the file system, start process 1, watch, copy out, reply.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use gristmill_result::Ending;
use gristmill_sandbox::{HostFaultKind, LOG_BYTES_MAX};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork, pipe2};

use crate::deliver::{Bounds, Copied, deliver};
use crate::foreign::no_process_numbers;
use crate::init::{self, Status};
use crate::payload::Program;
use crate::place::OpenDevices;
use crate::rootfs::{self, Refused, Rootfs, refused};
use crate::runtime::last_lines;
use crate::wire::{Delivered, Place, REQUEST_BYTES_MAX, Reply, Request, WORD_FREEZE, WORD_THAW};

/// Exit code when the request makes no sense or the runner is gone.
const EXIT_NO_WORK: u8 = 3;

/// The whole life of the helper. Call it first thing in `main` of the program that [`crate::RunnerConfig`] names, before any thread
/// is started or file opened: it closes every descriptor past 2, and forks.
///
/// Reads a place and a request from stdin and replies on stdout; not for people.
pub fn child_main() -> ExitCode {
    // SAFETY: nothing in this process has opened a descriptor past 2 yet, so none is owned by a Rust value.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    // What is made for others to read is made readable, whatever the worker's own mask says.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    // Made while there is nothing else to do.
    let filters = crate::seccomp::filters(false);
    let mut said = Said::default();
    let place = said.line().and_then(|place| serde_json::from_slice::<Place>(&place).ok());
    let prepared = place.as_ref().map(prepare);
    let request = said.line().and_then(|request| serde_json::from_slice::<Request>(&request).ok());
    let (Some(place), Some(prepared), Some(request)) = (place, prepared, request) else {
        eprintln!("this is the inside of the container: it is started by gristmill itself");
        return ExitCode::from(EXIT_NO_WORK);
    };
    let words = said.rest;
    let filters = if request.has_network { crate::seccomp::filters(true) } else { filters };
    let program = prepared.and(filters).and_then(|filters| Program::new(&request, filters));
    let last = match program {
        Ok(program) => run(&place, request, &program, &words),
        Err(reason) => Reply::Unable { reason },
    };
    reply(&last);
    ExitCode::SUCCESS
}

/// What the runner said and nobody has looked at yet.
#[derive(Default)]
struct Said {
    rest: Vec<u8>,
}

impl Said {
    /// The next line; none when there is no more, or no end to it.
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        let mut searched = 0;
        loop {
            if let Some(end) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
                let after = self.rest.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.rest, after);
                line.pop();
                return Some(line);
            }
            searched = self.rest.len();
            if searched as u64 > REQUEST_BYTES_MAX {
                return None;
            }
            let count = std::io::stdin().lock().read(&mut buffer).ok().filter(|count| *count > 0)?;
            self.rest.extend_from_slice(&buffer[..count]);
        }
    }
}

/// What of the sandbox can be made while there is no run yet: the cgroup, and the network, which take the longest.
///
/// Not its mounts: what the host mounts between now and the run is to be seen by the run.
fn prepare(place: &Place) -> Result<(), Refused> {
    for door in &place.doors {
        std::fs::write(door, "0").map_err(refused(format_args!("to go into the cgroup by {}", door.display())))?;
    }
    match place.user {
        None if nix::unistd::geteuid().is_root() => Err("root's own user is not lent to programs".to_owned()),
        None => new_namespaces(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | others()),
        // Root's own network, then: in it the program, who is root of its own user namespace only, has even less to say.
        Some(_) => new_namespaces(CloneFlags::CLONE_NEWNET),
    }
}

/// Neither users nor mounts nor network.
fn others() -> CloneFlags {
    CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWCGROUP
}

fn reply(reply: &Reply) {
    let Ok(mut line) = serde_json::to_vec(reply) else { return };
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(&line).and_then(|()| stdout.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(i32::from(EXIT_NO_WORK));
    }
}

fn run(place: &Place, mut request: Request, program: &Program, words: &[u8]) -> Reply {
    let mut missing = Vec::new();
    let (rootfs, target) = match set_up(place, &mut request, &mut missing) {
        Ok(made) => made,
        Err(Failed::Host(reason)) => return Reply::Unable { reason },
        Err(Failed::Device(problem)) => return Reply::NoDevice { problem },
    };
    match Watch::start(&request, program, &rootfs, words) {
        Ok(watch) => watch.until_the_end(&request, &rootfs, target.as_fd(), missing),
        Err(reason) => Reply::Unable { reason },
    }
}

/// Why the sandbox does not stand.
enum Failed {
    Host(Refused),
    Device(Refused),
}

impl From<Refused> for Failed {
    fn from(reason: Refused) -> Self {
        Self::Host(reason)
    }
}

/// Goes into the namespaces, as nobody of the host, and puts the file system together.
fn set_up(place: &Place, request: &mut Request, missing: &mut Vec<String>) -> Result<(Rootfs, OwnedFd), Failed> {
    if let Some(core) = request.core
        && let Err(error) = one_core(core)
    {
        missing.push(format!("one core: {error}"));
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = open(&request.output_dir, flags, Mode::empty());
    let target = target.map_err(refused(format_args!("the output folder {}", request.output_dir.display())))?;
    if request.has_network {
        crate::door::open()?;
    }
    let base = match place.user {
        None => {
            new_namespaces(CloneFlags::CLONE_NEWNS)?;
            rootfs::workshop(request.runtime.is_some())?
        }
        Some(user) => {
            let base = become_user(request, user, &target)?;
            new_namespaces(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | others())?;
            base
        }
    };
    rootfs::make_private()?;
    if let Some(guarantee) = no_landlock() {
        missing.push(guarantee);
    }
    if request.runtime.is_some() {
        missing.extend(no_process_numbers());
    }
    // Before the host's files are out of sight, and in the namespace in which they are shown again.
    let devices = match request.devices.is_none() {
        true => None,
        false => Some(OpenDevices::open(&request.devices).map_err(Failed::Device)?),
    };
    let rootfs = Rootfs::build(request, &base)?;
    if let Some(devices) = devices {
        devices.show(&rootfs.root).map_err(Failed::Device)?;
    }
    Ok((rootfs, target))
}

fn one_core(core: usize) -> nix::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
}

/// From root to the spare user, for good.
fn become_user(request: &mut Request, (uid, gid): (u32, u32), target: &OwnedFd) -> Result<PathBuf, Refused> {
    let base = rootfs::stage(request)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::fchown(target, Some(uid), Some(gid)).map_err(refused("the output folder for the spare user"))?;
    let groups: Vec<Gid> = crate::device::groups(&request.devices.nodes).into_iter().map(Gid::from_raw).collect();
    if !request.devices.is_none() {
        // Lowered again for the program. What the host had lowered, a device would miss.
        let locked = request.memory_bytes;
        let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK, locked, locked);
    }
    nix::unistd::setgroups(&groups).map_err(refused("no groups but its devices'"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(refused("the spare group"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(refused("the spare user"))?;
    // Or the files below /proc/self, where the user map is written, would still be root's.
    prctl::set_dumpable(true).map_err(refused("its own /proc"))?;
    Ok(base)
}

/// Leaves the host's. In a new user namespace it is user 0 from then on.
fn new_namespaces(flags: CloneFlags) -> Result<(), Refused> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(flags).map_err(|error| {
        format!(
            "new namespaces: {error} (user namespaces may be switched off: see the sysctls user.max_user_namespaces, \
             kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns)"
        )
    })?;
    if !flags.contains(CloneFlags::CLONE_NEWUSER) {
        return Ok(());
    }
    for (file, text) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
    {
        std::fs::write(format!("/proc/self/{file}"), text).map_err(refused(format_args!("/proc/self/{file}")))?;
    }
    Ok(())
}

/// The guarantee that is missing, if the kernel has no Landlock.
fn no_landlock() -> Option<String> {
    /// Asks for the version instead of making rules (landlock_create_ruleset(2)).
    const VERSION: u32 = 1;
    // SAFETY: with this flag there is no structure to point to.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) };
    (version < 1).then(|| format!("second wall (Landlock): {}", Errno::last()))
}

/// Process 1, seen from outside of its namespace.
struct Watch {
    init: Pid,
    status: OwnedFd,
    /// What is said to it; it ends when this is closed.
    words: OwnedFd,
    stderr: File,
    is_log_open: bool,
    log: Vec<u8>,
    /// Whether it is to hold still.
    frozen: bool,
}

impl Watch {
    fn start(request: &Request, program: &Program, rootfs: &Rootfs, early: &[u8]) -> Result<Self, Refused> {
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(refused("a pipe"));
        let ((status, status_in), (words_out, words), (stderr, stderr_in)) = (pipe()?, pipe()?, pipe()?);
        let _ = nix::unistd::write(&words, early);
        let frozen = is_freeze(early).unwrap_or(false);
        // SAFETY: there is one thread in this process, so that the child may do what it likes.
        match unsafe { fork() }.map_err(refused("process 1"))? {
            ForkResult::Child => {
                drop((status, words, stderr));
                let files = init::Files { status: status_in, words: words_out, stderr: stderr_in };
                init::be_process_one(request, program, rootfs, files)
            }
            ForkResult::Parent { child } => {
                let stderr = File::from(stderr);
                Ok(Self { init: child, status, words, stderr, is_log_open: true, log: Vec::new(), frozen })
            }
        }
    }

    fn until_the_end(
        mut self,
        request: &Request,
        rootfs: &Rootfs,
        target: BorrowedFd<'_>,
        missing: Vec<String>,
    ) -> Reply {
        let mut missing = Some(missing);
        let mut ended = None;
        loop {
            match self.next() {
                Heard::Status(Status::Ready) => {
                    if let Some(missing) = missing.take() {
                        reply(&Reply::Ready { missing });
                    }
                }
                Heard::Status(status) => ended = Some(status),
                Heard::Closed => break,
                Heard::LetGo => {
                    let _ = kill(self.init, Signal::SIGKILL);
                    // When it can be reaped, all others of its namespace were.
                    let _ = waitpid(self.init, None);
                    std::process::exit(i32::from(EXIT_NO_WORK));
                }
            }
        }
        let how = waitpid(self.init, None);
        self.drain();
        match ended {
            Some(status) => self.last(status, request, rootfs, target),
            None => {
                let reason = format!("process 1 of the container died: {how:?}");
                Reply::Fault { kind: HostFaultKind::Killed, reason, log: self.log }
            }
        }
    }

    /// Waits for the next thing that matters, and passes on what is only passed on.
    fn next(&mut self) -> Heard {
        loop {
            let stdin = std::io::stdin();
            let mut files = [
                PollFd::new(self.status.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stderr.as_fd(), PollFlags::POLLIN),
            ];
            // A pipe that has come to its end would be ready at once, always, and keep process 1 from ending on the same core.
            let heard = if self.is_log_open { &mut files[..] } else { &mut files[..2] };
            match poll(heard, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return Heard::LetGo,
            }
            let [status, words, log] = files.map(|file| file.any().unwrap_or(true));
            if log && self.is_log_open {
                self.is_log_open = self.read_log();
            }
            if words {
                let mut buffer = [0; 64];
                match nix::unistd::read(std::io::stdin().as_fd(), &mut buffer) {
                    Ok(count @ 1..) => {
                        self.frozen = is_freeze(&buffer[..count]).unwrap_or(self.frozen);
                        let _ = nix::unistd::write(&self.words, &buffer[..count]);
                    }
                    _ => return Heard::LetGo,
                }
            }
            if status {
                return match init::read_status(self.status.as_fd()) {
                    Some(status) => Heard::Status(status),
                    None => Heard::Closed,
                };
            }
        }
    }

    /// Reads some of what the program says on its stderr, and keeps the end. False when there is no more.
    fn read_log(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Ok(count @ 1..) = self.stderr.read(&mut buffer) else {
            return false;
        };
        self.log.extend_from_slice(&buffer[..count]);
        let over = self.log.len().saturating_sub(LOG_BYTES_MAX);
        self.log.drain(..over);
        true
    }

    /// Everybody who could write is dead.
    fn drain(&mut self) {
        while self.read_log() {}
    }

    fn note(&mut self, text: &str) {
        if !self.log.is_empty() && !self.log.ends_with(b"\n") {
            self.log.push(b'\n');
        }
        self.log.extend_from_slice(text.as_bytes());
        let over = self.log.len().saturating_sub(LOG_BYTES_MAX);
        self.log.drain(..over);
    }

    fn last(mut self, status: Status, request: &Request, rootfs: &Rootfs, target: BorrowedFd<'_>) -> Reply {
        let fault = |kind, reason, log| Reply::Fault { kind, reason, log };
        let (ending, peak_bytes) = match status {
            Status::Exited { code, peak_bytes } => (Ending::Exited(code), peak_bytes),
            Status::Signalled { signal } => {
                let name = Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string());
                return fault(HostFaultKind::Killed, format!("the program was killed by {name}"), self.log);
            }
            Status::OutOfMemory => {
                let limit = request.memory_bytes;
                return fault(
                    HostFaultKind::Killed,
                    format!("the program was killed: its processes used more than {limit} bytes of memory"),
                    self.log,
                );
            }
            Status::NotStarted { errno } => {
                let error = Errno::from_raw(errno);
                let name = request.argv.first().map_or("", String::as_str);
                self.note(&format!("[sandbox] cannot run `{name}`: {}\n", error.desc()));
                // As shells and other container runners have it.
                let ending = match error {
                    Errno::ENOENT | Errno::ENOTDIR => Ending::Exited(127),
                    Errno::ENOEXEC => Ending::NotRunnable,
                    _ => Ending::Exited(126),
                };
                (ending, 0)
            }
            // A runtime that is not our own tells its troubles where the program would have.
            Status::Refused { what } if request.runtime.is_some() && !self.log.is_empty() => {
                let said = last_lines(&String::from_utf8_lossy(&self.log));
                return Reply::Unable { reason: format!("{what}; it said last: {said}") };
            }
            Status::Refused { what } => return Reply::Unable { reason: what },
            Status::Ready => {
                return fault(HostFaultKind::Killed, "process 1 did not end its work".to_owned(), self.log);
            }
        };
        let bounds = Bounds { bytes: request.output_bytes, files: request.output_files };
        let mut notes = String::new();
        let frozen = &mut self.frozen;
        let copied = deliver(rootfs.outputs.as_fd(), target, bounds, &mut notes, &mut || stop_and_look(frozen));
        self.note(&notes);
        match copied {
            Ok(Copied::Done(delivered)) => Reply::Ended { ending, delivered, peak_bytes, log: self.log },
            Ok(Copied::Past(ending)) => {
                self.note(&format!("[sandbox] {ending}: none of its outputs are kept\n"));
                Reply::Ended { ending, delivered: Delivered::default(), peak_bytes, log: self.log }
            }
            Err(error) => fault(HostFaultKind::Io, format!("the outputs cannot be copied: {error}"), self.log),
        }
    }
}

/// What the last word says; nothing when there is none.
fn is_freeze(words: &[u8]) -> Option<bool> {
    words.iter().rev().find(|word| [WORD_FREEZE, WORD_THAW].contains(word)).map(|word| *word == WORD_FREEZE)
}

/// Holds this process still for as long as it is told to, while it works on its own. Ends it when the runner is gone.
fn stop_and_look(frozen: &mut bool) {
    let stdin = std::io::stdin();
    loop {
        let mut files = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let timeout = if *frozen { PollTimeout::NONE } else { PollTimeout::ZERO };
        match poll(&mut files, timeout) {
            Ok(0) => return,
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => std::process::exit(i32::from(EXIT_NO_WORK)),
        }
        let mut buffer = [0; 64];
        match nix::unistd::read(stdin.as_fd(), &mut buffer) {
            Ok(count @ 1..) => *frozen = is_freeze(&buffer[..count]).unwrap_or(*frozen),
            _ => std::process::exit(i32::from(EXIT_NO_WORK)),
        }
    }
}

enum Heard {
    Status(Status),
    /// Process 1 has said all.
    Closed,
    /// The runner is gone.
    LetGo,
}
