//! Become the program: give up everything that it is not to have, in its own process, last thing before `execve`.

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::BpfProgram;

use crate::PROCESSES_MAX;
use crate::network::PROXY_PORT;
use crate::wire::Request;

/// The newest Landlock rules that are asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;
/// Open files of a process.
const DESCRIPTORS_MAX: u64 = 4096;
/// Stack of a process's first thread.
const STACK_BYTES: u64 = 8 << 20;
/// Memory that may be locked.
const LOCKED_BYTES: u64 = 8 << 20;
/// Bytes of POSIX message queues: the kernel's own default.
const QUEUE_BYTES: u64 = 819_200;
/// Signals that wait.
const SIGNALS_MAX: u64 = 4096;
/// Politeness: the machine's owner goes first, and process 1 before what it watches.
pub(crate) const NICE: i32 = 10;
/// Where memory runs out on the host, the program is ended before anybody else.
pub(crate) const OOM_SCORE: &str = "1000";
/// Scripts whose interpreters are scripts: what the kernel follows (fs/exec.c).
const SCRIPTS_MAX: usize = 6;
/// Bytes of a script's first line (BINPRM_BUF_SIZE).
const SCRIPT_LINE_BYTES: u64 = 256;
/// Where a program is searched when the image does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// No capability comes back by being user 0, and nothing of that can be changed (capabilities(7), securebits: `NOROOT`,
/// `NO_SETUID_FIXUP`, `NO_CAP_AMBIENT_RAISE`, each with its lock).
const SECUREBITS: libc::c_ulong = 0b1110_1111;
/// One past the last capability that a kernel may know.
const CAPABILITIES_MAX: libc::c_ulong = 64;
/// Addresses are not randomised: a program that orders things by their address does so in one way.
pub(crate) const ADDR_NO_RANDOMIZE: libc::c_ulong = 0x004_0000;

/// What can be told beforehand of the program's start.
pub(crate) struct Program {
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) candidates: Vec<CString>,
    pub(crate) working_dir: String,
    pub(crate) filters: Vec<BpfProgram>,
    memory_bytes: u64,
    cpu_s: u64,
    has_devices: bool,
    has_network: bool,
    /// The file of this program, by device and number: no container is to become it.
    ourselves: Option<(u64, u64)>,
}

impl Program {
    pub(crate) fn new(request: &Request, filters: Vec<BpfProgram>) -> Result<Self, String> {
        let text = |text: &str| CString::new(text).map_err(|_| format!("{text:?} has a zero byte"));
        let env: Vec<String> = request.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let path = request.env.iter().rev().find(|(key, _)| key == "PATH").map_or(PATH_DEFAULT, |(_, value)| value);
        let name = request.argv.first().map_or("", String::as_str);
        let candidates: Vec<String> = match name.contains('/') {
            true => vec![name.to_owned()],
            false => {
                path.split(':').filter(|folder| folder.starts_with('/')).map(|it| format!("{it}/{name}")).collect()
            }
        };
        Ok(Self {
            argv: request.argv.iter().map(|arg| text(arg)).collect::<Result<_, _>>()?,
            env: env.iter().map(|variable| text(variable)).collect::<Result<_, _>>()?,
            candidates: candidates.iter().map(|path| text(path)).collect::<Result<_, _>>()?,
            working_dir: match request.working_dir.as_str() {
                "" => "/".to_owned(),
                folder => folder.to_owned(),
            },
            filters,
            memory_bytes: request.memory_bytes,
            cpu_s: request.cpu_s,
            has_devices: !request.devices.is_none(),
            has_network: request.has_network,
            ourselves: identity(Path::new("/proc/self/exe")),
        })
    }

    /// Becomes the program, as soon as process 1 says by `go` that it is closed to it. Returns only when that fails, with what the
    /// kernel said of it. `failure` stays open until then.
    pub(crate) fn become_it(&self, stdio: [BorrowedFd<'_>; 3], failure: BorrowedFd<'_>, go: BorrowedFd<'_>) -> Failure {
        match self.prepare(stdio, failure, go) {
            Ok(()) => self.execute(),
            Err(failure) => failure,
        }
    }

    fn prepare(&self, stdio: [BorrowedFd<'_>; 3], failure: BorrowedFd<'_>, go: BorrowedFd<'_>) -> Result<(), Failure> {
        let step = |what: &'static str| move |error: Errno| Failure { what, error };
        nix::unistd::setsid().map_err(step("a session of its own"))?;
        redirect(stdio, [failure, go]).map_err(step("its standard files"))?;
        default_signals().map_err(step("its signals"))?;
        self.limit().map_err(step("its limits"))?;
        let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
        // SAFETY: plain system calls without pointers; 0 is this process. Being less important is nobody's to refuse.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
        // SAFETY: as above.
        unsafe { libc::personality(ADDR_NO_RANDOMIZE) };
        prctl::set_no_new_privs().map_err(step("no new privileges"))?;
        drop_capabilities().map_err(step("no capabilities"))?;
        wait_for(go).map_err(step("process 1"))?;
        // Only now, when it cannot look into process 1 any more: what the image calls /tmp, or the task its working folder, may be
        // a link to something that process 1 has open.
        self.go_to_work()?;
        landlock(self.has_network);
        for filter in &self.filters {
            seccompiler::apply_filter(filter)
                .map_err(|_| Failure { what: "the list of system calls", error: Errno::last() })?;
        }
        Ok(())
    }

    /// Makes /tmp, and goes to the working folder. That there can be none is the task's or the image's fault, on each host.
    fn go_to_work(&self) -> Result<(), Failure> {
        let _ =
            fs::create_dir_all("/tmp").and_then(|()| fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777)));
        let _ = fs::create_dir_all(&self.working_dir);
        let entered = nix::unistd::chdir(Path::new(&self.working_dir)).and_then(|()| nix::unistd::getcwd());
        match entered {
            Ok(folder) if folder.as_os_str().as_bytes().starts_with(b"/") => Ok(()),
            // Out of the root, the kernel names folders otherwise (getcwd(2)).
            _ => Err(Failure { what: "", error: Errno::EACCES }),
        }
    }

    fn limit(&self) -> nix::Result<()> {
        for (resource, limit) in self.limits() {
            let (_, hard) = getrlimit(resource)?;
            // The same on every host, unless that has less.
            let limit = limit.min(hard);
            setrlimit(resource, limit, limit)?;
        }
        Ok(())
    }

    /// What one process of it may have.
    pub(crate) fn limits(&self) -> [(Resource, u64); 11] {
        // Drivers map what is the device's and lock what it reads; what of that is the host's memory, the run's bound of memory counts.
        let (data, locked) = match self.has_devices {
            true => (libc::RLIM_INFINITY, self.memory_bytes.max(LOCKED_BYTES)),
            false => (self.memory_bytes, LOCKED_BYTES),
        };
        [
            (Resource::RLIMIT_CPU, self.cpu_s),
            (Resource::RLIMIT_DATA, data),
            (Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX),
            (Resource::RLIMIT_NPROC, PROCESSES_MAX),
            (Resource::RLIMIT_STACK, STACK_BYTES),
            (Resource::RLIMIT_MEMLOCK, locked),
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_MSGQUEUE, QUEUE_BYTES),
            (Resource::RLIMIT_SIGPENDING, SIGNALS_MAX),
            (Resource::RLIMIT_NICE, 0),
            (Resource::RLIMIT_RTPRIO, 0),
        ]
    }

    fn execute(&self) -> Failure {
        let mut last = Errno::ENOENT;
        for path in &self.candidates {
            if self.ourselves.is_some_and(|ourselves| leads_to(path, ourselves)) {
                return Failure { what: "", error: Errno::EACCES };
            }
            let Err(error) = nix::unistd::execve(path, &self.argv, &self.env);
            // As a shell searches: what is not there, or no file, is looked for further on.
            match error {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => last = error,
                _ => return Failure { what: "", error },
            }
        }
        Failure { what: "", error: last }
    }
}

/// Why the program could not be started.
pub(crate) struct Failure {
    /// What of the sandbox failed; empty when it was the program itself.
    pub(crate) what: &'static str,
    pub(crate) error: Errno,
}

/// What tells a file from all others.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether a program, or the interpreter of a script, is the file that this process runs. A container that ran it would have it
/// open, and it is the host's: a worker that is an ordinary user owns it, and so may the container (CVE-2019-5736).
fn leads_to(path: &CString, ourselves: (u64, u64)) -> bool {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..SCRIPTS_MAX {
        let at = Path::new(std::ffi::OsStr::from_bytes(&path));
        let Some(file) = identity(at) else { return false };
        if file == ourselves {
            return true;
        }
        let is_file = fs::metadata(at).is_ok_and(|metadata| metadata.is_file());
        let mut line = Vec::new();
        if !is_file || fs::File::open(at).and_then(|file| file.take(SCRIPT_LINE_BYTES).read_to_end(&mut line)).is_err()
        {
            return false;
        }
        let Some(rest) = line.strip_prefix(b"#!") else { return false };
        let words = rest.split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0));
        // An empty first line ends it; a line break is as good as a blank for the rest.
        match words.into_iter().find(|word| !word.is_empty()) {
            Some(interpreter) => path = interpreter.to_vec(),
            None => return false,
        }
    }
    false
}

/// Closes every descriptor past 2 but these.
pub(crate) fn close_all_but(keep: &[RawFd]) -> nix::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|number| number.cast_unsigned()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for number in keep.into_iter().map(u64::from).chain([u64::from(u32::MAX) + 1]) {
        if first < number {
            // SAFETY: what owns them is never used in this process again: it becomes another program, or ends.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0u32) })?;
        }
        first = first.max(number + 1);
    }
    Ok(())
}

/// Leaves the three standard files and `keep`, which go away when the program begins.
fn redirect(stdio: [BorrowedFd<'_>; 3], keep: [BorrowedFd<'_>; 2]) -> nix::Result<()> {
    for (number, file) in stdio.iter().enumerate() {
        // SAFETY: all these descriptors lie past 2, so that none is overwritten before it was copied.
        Errno::result(unsafe { libc::dup2(file.as_raw_fd(), number as i32) })?;
    }
    close_all_but(&keep.map(|file| file.as_raw_fd()))
}

/// Waits for a byte. That none comes is an error: whoever was to write it is gone.
pub(crate) fn wait_for(go: BorrowedFd<'_>) -> nix::Result<()> {
    let mut byte = [0];
    loop {
        match nix::unistd::read(go, &mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Errno::EPIPE),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What this program ignores or holds back, the other is to have as ever.
pub(crate) fn default_signals() -> nix::Result<()> {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    for each in Signal::iterator().filter(|each| !matches!(each, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default handler is no code of ours.
        unsafe { signal(each, SigHandler::SigDfl)? };
    }
    SigSet::all().thread_unblock()
}

/// Takes all capabilities away for good, those that a user 0 would get again too.
pub(crate) fn drop_capabilities() -> nix::Result<()> {
    for capability in 0..CAPABILITIES_MAX {
        // SAFETY: a plain system call without pointers. It fails for what the kernel does not know.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) })?;
    // Version 3 of the interface: three sets of 64 bits, in two halves (capget(2)).
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: both are as long as version 3 says, and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// A second wall behind the namespaces: no TCP but to the way out, no abstract sockets or signals outwards, no device nodes made.
/// Whether the kernel has it was asked before.
fn landlock(has_network: bool) {
    let _ = restrict(has_network);
}

fn restrict(has_network: bool) -> Result<RulesetStatus, landlock::RulesetError> {
    let everything = AccessFs::from_all(LANDLOCK) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock);
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    let Ok(root) = PathFd::new("/") else { return Ok(RulesetStatus::NotEnforced) };
    let mut rules = rules.add_rule(PathBeneath::new(root, everything))?;
    if has_network {
        rules = rules.add_rule(NetPort::new(PROXY_PORT, AccessNet::ConnectTcp))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_that_hold_capabilities_down_are_those_of_the_manual() {
        let noroot = 1 << 0 | 1 << 1;
        let no_setuid_fixup = 1 << 2 | 1 << 3;
        let keep_caps_locked = 1 << 5;
        let no_ambient = 1 << 6 | 1 << 7;
        assert_eq!(SECUREBITS, noroot | no_setuid_fixup | keep_caps_locked | no_ambient);
    }
}
