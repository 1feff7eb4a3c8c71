//! Be process 1 where a runtime that is not our own makes the container.
//!
//! All that the runtime does is done inside of the run's own namespaces, by a user who is root in them only, on memory that is gone
//! with them: whatever it leaves, it is gone when this process is. The program gets one more process namespace below this one's, so
//! that its number and what it sees in `/proc` are as ever, the runtime's processes not among them. When the runtime has made the
//! container it ends, and the program's process is this one's child: how it ends is heard at first hand.

mod podman;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl, open};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid, chroot, fork, pipe2};

use crate::init::{Files, LOOK_MS, MemoryWatch, Status, listen, mount_proc, tell};
use crate::oci::{self, Places};
use crate::payload::{ADDR_NO_RANDOMIZE, Program, close_all_but, default_signals, drop_capabilities, wait_for};
use crate::rootfs::{Refused, Rootfs, bind, make_folder, mount_tmpfs, refused};
use crate::runtime::{Foreign, last_lines};
use crate::starter::{self, Said};
use crate::wire::Request;

/// Where a runtime's own files lie. What the host has there is hidden from it.
const RUN: &str = "/run";
const PLACE: &str = "/run/gristmill";
/// The program's process namespace.
const PROCESSES: &str = "/run/gristmill/processes";
/// The number of the process that was made last in the namespace of who asks (proc_sys_kernel(5)), and the program's there.
const LAST_NUMBER: &str = "/proc/sys/kernel/ns_last_pid";
const PROGRAM: u32 = 2;
/// Folders in which runtimes make files of their own, besides [`RUN`].
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// Memory for them: podman's store is the largest.
const RUN_BYTES: u64 = 64 << 20;
/// What a runtime calls the container.
const ID: &str = "run";
/// Where it and what it starts look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Descriptors that are kept out of the way of those with a fixed number.
const OUT_OF_THE_WAY: RawFd = 10;
/// Bytes of what an engine asks for, and of what a starter says.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a runtime's own log that are looked at.
const LOG_BYTES_MAX: usize = 64 << 10;

/// What process 1 has at hand.
pub(crate) struct Given<'a> {
    pub(crate) runtime: &'a Foreign,
    pub(crate) request: &'a Request,
    pub(crate) program: &'a Program,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) files: &'a Files,
    pub(crate) null: &'a OwnedFd,
    pub(crate) memory: Option<MemoryWatch>,
}

/// Has the runtime make the container and start the program, and waits for its end.
pub(crate) fn attempt(given: Given<'_>) -> Result<Status, Refused> {
    show_what_runtimes_look_at(given.runtime)?;
    let inner = Inner::start(&given)?;
    let mut made = Made::of(&given)?;
    let mut children = Children::watch(given.files.words.as_fd())?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(refused("a pipe"));
    let (said, said_in) = pipe()?;
    match &given.runtime.podman {
        None => made.create(&given, &mut children, &made.bundle, &said_in, ID, &made.pid_file)?,
        Some(podman) => podman::make(podman, &given, &mut children, &made, &said_in)?,
    }
    drop(said_in);
    let pid = fs::read_to_string(&made.pid_file).ok().and_then(|text| text.trim().parse().ok());
    let main = Pid::from_raw(pid.ok_or_else(|| format!("{} says no process number", given.runtime.name()))?);
    // An engine's own processes have done their work.
    end_all_but(&[inner.pid, main]);
    if !given.request.argv.is_empty() {
        tell(given.files, &Status::Ready);
    }
    made.call(&given, &mut children, "start", &[ID])?;
    let mut words = children.read(&said, Until::Begun)?;
    inner.close(&children)?;
    made.let_go();
    words.extend(children.read(&said, Until::Closed)?);
    match starter::said(&words) {
        Said::Became => {}
        Said::Failed(what, error) if what.is_empty() => return Ok(Status::NotStarted { errno: error as i32 }),
        Said::Failed(what, error) => return Err(format!("{what}: {}", error.desc())),
        Said::Nothing => {
            return Err(format!("{} started nothing ({})", given.runtime.name(), made.last_of_log()));
        }
    }
    match children.wait(main, given.memory.as_ref(), None)? {
        Heard::Ended(WaitStatus::Exited(_, code), peak_bytes) => Ok(Status::Exited { code, peak_bytes }),
        Heard::Ended(WaitStatus::Signaled(_, signal, _), _) => Ok(Status::Signalled { signal: signal as i32 }),
        Heard::TooMuch => Ok(Status::OutOfMemory),
        Heard::Ended(..) | Heard::Asked => Err("the program neither ended nor was killed".to_owned()),
    }
}

/// Process 1 of the program's namespace. It does nothing but bury the dead.
struct Inner {
    pid: Pid,
    /// What it says, and by what it is told to go on.
    said: OwnedFd,
    go: OwnedFd,
}

impl Inner {
    fn start(given: &Given<'_>) -> Result<Self, Refused> {
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(refused("a pipe"));
        let ((said, said_in), (go_out, go)) = (pipe()?, pipe()?);
        // SAFETY: as fork, for there is one thread in this process; with no stack of its own the child has a copy of this one.
        let pid = unsafe {
            libc::syscall(libc::SYS_clone, libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD), 0, 0, 0, 0)
        };
        match i32::try_from(Errno::result(pid).map_err(refused("a process namespace for the program"))?) {
            Ok(0) => {
                drop(go);
                if let Err(what) = Self::be(given, said_in.as_fd(), go_out.as_fd()) {
                    let _ = nix::unistd::write(&said_in, what.as_bytes());
                }
                // SAFETY: ends this process at once; nothing of the helper's is to be run at its end.
                unsafe { libc::_exit(1) }
            }
            Ok(pid) => {
                drop((said_in, go_out));
                let mut words = [0; 512];
                // Nobody has held it still yet.
                let count = nix::unistd::read(&said, &mut words).map_err(refused("process 1 of the program"))?;
                Self::is_well(&words[..count])?;
                Ok(Self { pid: Pid::from_raw(pid), said, go })
            }
            Err(_) => Err("a process number that is none".to_owned()),
        }
    }

    /// Has it close itself to all others. From then on the program may begin.
    fn close(&self, children: &Children<'_>) -> Result<(), Refused> {
        nix::unistd::write(&self.go, b"g").map_err(refused("process 1 of the program"))?;
        // It may be held still just now.
        Self::is_well(&children.read(&self.said, Until::Begun)?)
    }

    fn is_well(said: &[u8]) -> Result<(), Refused> {
        let text = String::from_utf8_lossy(said);
        if text == "." { Ok(()) } else { Err(format!("process 1 of the program: {text}")) }
    }

    /// In the new process.
    fn be(given: &Given<'_>, said: BorrowedFd<'_>, go: BorrowedFd<'_>) -> Result<(), Refused> {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(refused("to die with process 1"))?;
        let last_number = fs::File::options().write(true).open(LAST_NUMBER).ok();
        mount_proc(given.request, given.rootfs)?;
        // Once this process is closed to all others, its /proc is too.
        let name = Path::new(PROCESSES);
        fs::write(name, "").map_err(refused("a name for the process namespace"))?;
        bind(&given.rootfs.root.join("proc/self/ns/pid"), name)?;
        // What the program may see of this process is what it sees anyway.
        chroot(&given.rootfs.root).map_err(refused("the new root"))?;
        std::env::set_current_dir("/").map_err(refused("the new root"))?;
        let kept = [said, go].map(|file| file.as_raw_fd());
        let kept: Vec<RawFd> = kept.into_iter().chain(last_number.iter().map(AsRawFd::as_raw_fd)).collect();
        close_all_but(&kept).map_err(refused("its own files"))?;
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block().map_err(refused("signals"))?;
        nix::unistd::write(said, b".").map_err(refused("its parent"))?;
        wait_for(go).map_err(refused("its parent"))?;
        if let Some(mut file) = last_number {
            // The threads that a runtime had have ended, and their numbers are to be given once more, as if there had been none.
            file.write_all(PROGRAM.to_string().as_bytes()).map_err(refused("the number of the last process"))?;
        }
        prctl::set_dumpable(false).map_err(refused("no inspection"))?;
        drop_capabilities().map_err(refused("no capabilities"))?;
        prctl::set_no_new_privs().map_err(refused("no new privileges"))?;
        nix::unistd::write(said, b".").map_err(refused("its parent"))?;
        close_all_but(&[]).map_err(refused("its own files"))?;
        loop {
            while matches!(wait_any(), Ok((pid, ..)) if pid.as_raw() > 0) {}
            signals.wait().map_err(refused("signals"))?;
        }
    }
}

/// The guarantee that another runtime cannot give on this kernel, if so.
pub(crate) fn no_process_numbers() -> Option<String> {
    let is_there = Path::new(LAST_NUMBER).exists();
    (!is_there).then(|| "the numbers of a program's processes as elsewhere (CONFIG_CHECKPOINT_RESTORE)".to_owned())
}

/// The next that ended, how, and the most memory that it or one that it waited for had; number 0 when nobody did.
fn wait_any() -> nix::Result<(Pid, WaitStatus, u64)> {
    let mut status = 0;
    // SAFETY: all its fields are numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call.
    let pid = Errno::result(unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) })?;
    let pid = Pid::from_raw(pid);
    let how = if pid.as_raw() == 0 { WaitStatus::StillAlive } else { WaitStatus::from_raw(pid, status)? };
    Ok((pid, how, usage.ru_maxrss.unsigned_abs().saturating_mul(1024)))
}

/// Gives runtimes a view of the host that they can work with, and write nothing of.
fn show_what_runtimes_look_at(runtime: &Foreign) -> Result<(), Refused> {
    // This namespace's processes: runtimes look for themselves.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(refused("/proc of the runtime"))?;
    let (maker, podman) = (open_if_hidden(&runtime.maker)?, runtime.podman.as_deref().map(open_if_hidden).transpose()?);
    mount_tmpfs(Path::new(RUN), &format!("mode=755,size={RUN_BYTES}"))?;
    make_folder(Path::new(PLACE))?;
    for folder in TEMPORARY.map(Path::new).into_iter().filter(|folder| folder.is_dir()) {
        mount_tmpfs(folder, &format!("mode=1777,size={RUN_BYTES}"))?;
    }
    for (path, file) in [(Some(&runtime.maker), maker), (runtime.podman.as_ref(), podman.flatten())] {
        if let (Some(path), Some(file)) = (path, file) {
            fs::create_dir_all(path.parent().unwrap_or(path)).map_err(refused("a runtime's folder"))?;
            fs::write(path, "").map_err(refused("a runtime's name"))?;
            bind(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), path)?;
        }
    }
    // The run is in the helper's cgroup, and nobody is to make others. runc wants to see which there are, and does without them
    // when it cannot write; crun refuses hosts with both versions, even when it is told to leave them alone, unless it sees none.
    let groups = Path::new("/sys/fs/cgroup");
    if runtime.maker_is_crun && groups.is_dir() {
        let nothing = Path::new(PLACE).join("cgroups");
        make_folder(&nothing)?;
        bind(&nothing, groups)?;
    }
    let _ = read_only_with_all_below(Path::new("/sys"));
    Ok(())
}

/// A program that lies where things are hidden.
fn open_if_hidden(path: &Path) -> Result<Option<OwnedFd>, Refused> {
    if !TEMPORARY.iter().chain([&RUN]).any(|folder| path.starts_with(folder)) {
        return Ok(None);
    }
    let file = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    file.map(Some).map_err(refused(format_args!("cannot run {}", path.display())))
}

/// Fails where there is no mount, and nothing can be written then either.
fn read_only_with_all_below(at: &Path) -> Result<(), Refused> {
    let at = open(at, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(refused(at.display()))?;
    // SAFETY: all its fields are numbers, of which 0 means that nothing is asked for.
    let mut change: libc::mount_attr = unsafe { std::mem::zeroed() };
    change.attr_set = libc::MOUNT_ATTR_RDONLY;
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the descriptor is open, the path is empty, and the structure outlives the call and has the size that is said.
    let changed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of_val(&change),
        )
    };
    Errno::result(changed).map(drop).map_err(refused("read-only mounts"))
}

/// What the runtime is given.
struct Made {
    bundle: PathBuf,
    state: PathBuf,
    log: PathBuf,
    pid_file: PathBuf,
    starter: OwnedFd,
    /// Holds the starter up until it may become the program.
    lock: Option<Flock<fs::File>>,
    config: serde_json::Value,
}

impl Made {
    fn of(given: &Given<'_>) -> Result<Self, Refused> {
        let place = Path::new(PLACE);
        let [bundle, state] = ["bundle", "state"].map(|name| place.join(name));
        make_folder(&bundle)?;
        make_folder(&state)?;
        let path = place.join("starter");
        fs::write(&path, starter::starter(given.program)?).map_err(refused("the starter"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).map_err(refused("the starter"))?;
        let starter = open(&path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(refused("the starter"))?;
        let another = fs::File::open(&path).map_err(refused("the starter"))?;
        let lock = Flock::lock(another, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|(_, error)| refused("the starter's lock")(error))?;
        let devices = given.rootfs.root.join("dev");
        let places = Places { root: &given.rootfs.root, devices: &devices, processes: Path::new(PROCESSES) };
        let config = oci::config(given.program, &places)?;
        let made = Self {
            log: place.join("log"),
            pid_file: place.join("pid"),
            bundle,
            state,
            starter,
            lock: Some(lock),
            config,
        };
        made.write_config(&made.bundle, &made.config)?;
        Ok(made)
    }

    /// Lets the starter go on.
    fn let_go(&mut self) {
        self.lock = None;
    }

    fn write_config(&self, bundle: &Path, config: &serde_json::Value) -> Result<(), Refused> {
        fs::write(bundle.join(oci::NAME), config.to_string()).map_err(refused("the bundle's configuration"))
    }

    fn create(
        &self,
        given: &Given<'_>,
        children: &mut Children<'_>,
        bundle: &Path,
        pipe: &OwnedFd,
        id: &str,
        pid_file: &Path,
    ) -> Result<(), Refused> {
        let (bundle, pid_file) = (bundle.display().to_string(), pid_file.display().to_string());
        let args = ["--bundle", &bundle, "--pid-file", &pid_file, "--preserve-fds", "2", id];
        let kept = [self.starter.as_fd(), pipe.as_fd()];
        self.call_with(given, children, "create", &args, &kept)
    }

    fn call(&self, given: &Given<'_>, children: &mut Children<'_>, verb: &str, args: &[&str]) -> Result<(), Refused> {
        self.call_with(given, children, verb, args, &[])
    }

    fn call_with(
        &self,
        given: &Given<'_>,
        children: &mut Children<'_>,
        verb: &str,
        args: &[&str],
        kept: &[BorrowedFd<'_>],
    ) -> Result<(), Refused> {
        let (state, log) = (self.state.display().to_string(), self.log.display().to_string());
        let cgroups = if given.runtime.maker_is_crun { "--cgroup-manager=disabled" } else { "--rootless=true" };
        let mut words = vec!["--root", &state, "--log", &log, cgroups, verb];
        words.extend(args);
        let stdio = [given.null.as_fd(), given.rootfs.stdout.as_fd(), given.files.stderr.as_fd()];
        let child = spawn(&given.runtime.maker, &words, stdio, kept)?;
        match children.wait(child, None, None)? {
            Heard::Ended(WaitStatus::Exited(_, 0), _) => Ok(()),
            Heard::Ended(how, _) => {
                let maker = given.runtime.maker.display();
                Err(format!("`{maker} {verb}` {}: {}", ended(how), self.last_of_log()))
            }
            Heard::TooMuch | Heard::Asked => Err(format!("{verb}: nothing of that was asked")),
        }
    }

    fn last_of_log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = last_lines(&String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_BYTES_MAX)..]));
        if text.is_empty() { "its log is empty".to_owned() } else { text }
    }
}

fn ended(how: WaitStatus) -> String {
    match how {
        WaitStatus::Exited(_, code) => format!("ended with {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
        other => format!("did {other:?}"),
    }
}

/// Starts a program of the host with these descriptors, the kept ones from 3 on.
fn spawn(program: &Path, args: &[&str], stdio: [BorrowedFd<'_>; 3], kept: &[BorrowedFd<'_>]) -> Result<Pid, Refused> {
    let text = |text: &[u8]| CString::new(text).map_err(refused("a runtime's argument"));
    let path = text(program.as_os_str().as_bytes())?;
    let mut argv = vec![path.clone()];
    for arg in args {
        argv.push(text(arg.as_bytes())?);
    }
    let env = [("PATH", PATH), ("HOME", PLACE), ("TMPDIR", PLACE), ("XDG_RUNTIME_DIR", PLACE)];
    let env: Vec<CString> =
        env.iter().map(|(key, value)| text(format!("{key}={value}").as_bytes())).collect::<Result<_, _>>()?;
    // SAFETY: there is one thread in this process, so that the child may do what it likes.
    match unsafe { fork() }.map_err(refused("a runtime's process"))? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let failed = arrange(&stdio, kept).err().or_else(|| nix::unistd::execve(&path, &argv, &env).err());
            let error = failed.map_or("", Errno::desc);
            let _ = nix::unistd::write(
                std::io::stderr(),
                format!("cannot run {}: {error}\n", program.display()).as_bytes(),
            );
            // SAFETY: ends this process at once; nothing of the helper's is to be run at its end.
            unsafe { libc::_exit(127) }
        }
    }
}

/// Puts descriptors where they are looked for, and closes all others. The program inherits the rest.
fn arrange(stdio: &[BorrowedFd<'_>], kept: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let all: Vec<OwnedFd> = stdio
        .iter()
        .chain(kept)
        .map(|file| {
            let copy = fcntl(file, FcntlArg::F_DUPFD_CLOEXEC(OUT_OF_THE_WAY))?;
            // SAFETY: it was just made, and nobody else has it.
            Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(copy) })
        })
        .collect::<nix::Result<_>>()?;
    let mut keep = Vec::new();
    for (file, number) in all.iter().zip(0..) {
        // SAFETY: the helper's own files on these numbers are never used in this process.
        Errno::result(unsafe { libc::dup2(file.as_raw_fd(), number) })?;
        keep.push(number);
    }
    std::mem::forget(all);
    close_all_but(&keep)?;
    default_signals()?;
    // SAFETY: a plain system call without pointers.
    Errno::result(unsafe { libc::personality(ADDR_NO_RANDOMIZE) }).map(drop)
}

/// Ends everybody of this namespace but process 1 and these.
fn end_all_but(these: &[Pid]) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw);
        if let Some(pid) = number.filter(|pid| pid.as_raw() > 1 && !these.contains(pid)) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

enum Heard {
    /// The child ended, and the most memory that it had.
    Ended(WaitStatus, u64),
    /// More memory is used than was granted.
    TooMuch,
    /// Somebody wrote into the file that was to be listened to.
    Asked,
}

/// The processes that this one is the parent of.
struct Children<'a> {
    signals: SignalFd,
    words: BorrowedFd<'a>,
    /// Those of runtimes that ended before somebody waited for them. The program is not among them yet, so they are few.
    ended: BTreeMap<Pid, (WaitStatus, u64)>,
}

impl<'a> Children<'a> {
    fn watch(words: BorrowedFd<'a>) -> Result<Self, Refused> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block().map_err(refused("signals"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&signals, flags).map_err(refused("signals"))?;
        Ok(Self { signals, words, ended: BTreeMap::new() })
    }

    /// Until this one ended, there is too much in memory, or there is something to read.
    fn wait(
        &mut self,
        child: Pid,
        memory: Option<&MemoryWatch>,
        also: Option<BorrowedFd<'_>>,
    ) -> Result<Heard, Refused> {
        loop {
            let _ = self.signals.read_signal();
            while let Ok((pid, how, peak_bytes)) = wait_any()
                && pid.as_raw() > 0
            {
                self.ended.insert(pid, (how, peak_bytes));
            }
            if let Some((how, peak_bytes)) = self.ended.remove(&child) {
                return Ok(Heard::Ended(how, peak_bytes));
            }
            if memory.is_some_and(MemoryWatch::is_too_much) {
                return Ok(Heard::TooMuch);
            }
            let timeout = if memory.is_some() { PollTimeout::from(LOOK_MS) } else { PollTimeout::NONE };
            let mut files: Vec<PollFd<'_>> = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            files.push(PollFd::new(self.words, PollFlags::POLLIN));
            files.extend(also.map(|file| PollFd::new(file, PollFlags::POLLIN)));
            let _ = poll(&mut files, timeout);
            let is_ready = |number: usize| files.get(number).is_some_and(|file| file.any().unwrap_or(false));
            let (words, asked) = (is_ready(1), is_ready(2));
            if words {
                listen(self.words);
            }
            if asked {
                return Ok(Heard::Asked);
            }
        }
    }

    /// What the starter says.
    fn read(&self, pipe: &OwnedFd, until: Until) -> Result<Vec<u8>, Refused> {
        let mut said = Vec::new();
        let mut buffer = [0; 512];
        while said.len() < LINE_BYTES_MAX && (said.is_empty() || until == Until::Closed) {
            let mut files = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN), PollFd::new(self.words, PollFlags::POLLIN)];
            let _ = poll(&mut files, PollTimeout::NONE);
            let [is_said, words] = files.map(|file| file.any().unwrap_or(false));
            if words {
                listen(self.words);
            }
            if is_said {
                match nix::unistd::read(pipe, &mut buffer) {
                    Ok(0) => break,
                    Ok(count) => said.extend_from_slice(&buffer[..count]),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(refused("what the starter says")(error)),
                }
            }
        }
        Ok(said)
    }
}

/// How long it is listened to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It says something.
    Begun,
    /// Everybody who could say something has closed the pipe.
    Closed,
}
