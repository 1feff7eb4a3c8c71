//! Take from the child process what it does not need, before it touches anything that a stranger made.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope,
};
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::Signal;

/// The newest Landlock rules that are asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;
/// Politeness of the child: the machine's owner goes first.
const NICE: i32 = 10;
/// File descriptors of the child: those of the guest, inputs kept open, and a few of its own.
const DESCRIPTORS_MAX: u64 = 1024;

/// What a child may use.
pub(crate) struct Allowance {
    /// Bytes of address space.
    pub(crate) address_bytes: u64,
    /// When there is one task, and it is known; otherwise [`limit_task`] follows.
    pub(crate) task: Option<TaskLimits>,
    /// Files and folders it may open. A child that runs guests opens none: it is handed open descriptors.
    pub(crate) read: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
}

/// What one task may use.
pub(crate) struct TaskLimits {
    /// Seconds of CPU time, on top of what the process has used.
    pub(crate) cpu_s: u64,
    /// Bytes of one file.
    pub(crate) file_bytes: u64,
    /// Bytes of private memory that can be written to.
    pub(crate) data_bytes: u64,
}

/// Closes every descriptor but stdin, stdout and stderr. Call it before anything is opened.
pub(crate) fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor past 2 yet, so none is owned by a Rust value.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if closed != 0 {
        for fd in 3..DESCRIPTORS_MAX as i32 {
            // SAFETY: as above; closing one that is not open only returns an error.
            unsafe { libc::close(fd) };
        }
    }
}

/// Ties the child's life to its parent's. False when the parent is gone already.
pub(crate) fn die_with(parent: u32) -> bool {
    prctl::set_pdeathsig(Signal::SIGKILL).is_ok() && nix::unistd::getppid().as_raw().cast_unsigned() == parent
}

/// Locks the process down; returns the guarantees that this host does not give, in words.
///
/// Call it while there is one thread: Landlock binds the calling thread and those it starts later.
pub(crate) fn lock_down(allowance: &Allowance) -> Vec<String> {
    let mut missing = Vec::new();
    let mut need = |what: &str, outcome: Result<(), String>| {
        if let Err(error) = outcome {
            missing.push(format!("{what}: {error}"));
        }
    };
    need("no new privileges", prctl::set_no_new_privs().map_err(|error| error.to_string()));
    need("no inspection by other processes", prctl::set_dumpable(false).map_err(|error| error.to_string()));
    // SAFETY: a plain system call without pointers; 0 is this process.
    let nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    need("low priority", if nice == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().to_string()) });
    for (what, resource, limit) in [
        ("limit of descriptors", Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX),
        ("no core dumps", Resource::RLIMIT_CORE, 0),
        ("limit of address space", Resource::RLIMIT_AS, allowance.address_bytes),
    ] {
        need(what, lower(resource, limit).map_err(|error| error.to_string()));
    }
    if let Some(task) = &allowance.task {
        need("limits of the task", limit_task(task));
    }
    need("file and network rules (Landlock)", restrict(allowance));
    missing
}

/// Limits the process to what its next task may use. File size and memory can only be lowered: another task's must be the same.
/// CPU time adds up over tasks, so only its soft limit is moved; the parent's watch is the one that ends a run.
pub(crate) fn limit_task(task: &TaskLimits) -> Result<(), String> {
    let text = |error: nix::Error| error.to_string();
    lower(Resource::RLIMIT_FSIZE, task.file_bytes).map_err(text)?;
    lower(Resource::RLIMIT_DATA, task.data_bytes).map_err(text)?;
    let used = getrusage(UsageWho::RUSAGE_SELF).map_err(text)?;
    let used_s = (used.user_time() + used.system_time()).tv_sec().cast_unsigned() + 1;
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU).map_err(text)?;
    setrlimit(Resource::RLIMIT_CPU, used_s.saturating_add(task.cpu_s).min(hard), hard).map_err(text)
}

/// Lowers a limit for good; one that is lower already stays.
fn lower(resource: Resource, limit: u64) -> nix::Result<()> {
    let (soft, hard) = getrlimit(resource)?;
    setrlimit(resource, soft.min(limit), hard.min(limit))
}

/// Leaves only the named files and folders, and no network.
fn restrict(allowance: &Allowance) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let all = AccessFs::from_all(LANDLOCK);
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .handle_access(all)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .map_err(|error| text(&error))?;
    let readable = allowance.read.iter().map(|path| (path, reading));
    let writable = allowance.write.iter().map(|path| (path, all & !AccessFs::Execute));
    for (path, access) in readable.chain(writable) {
        // What is not there cannot be opened anyway, and whoever needs it says so better.
        let Ok(fd) = PathFd::new(path) else { continue };
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let access = if is_file { access & AccessFs::from_file(LANDLOCK) } else { access };
        rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(|error| text(&error))?;
    }
    let status = rules.restrict_self().map_err(|error| text(&error))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("the kernel knows only a part of them".to_owned()),
        RulesetStatus::NotEnforced => Err("the kernel has none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Where the other process may read and write.
    const FOLDER: &str = "SANDBOX_LOCKDOWN_DIR";

    fn folder() -> PathBuf {
        std::env::var_os(FOLDER).expect("started by another test").into()
    }

    #[test]
    fn a_locked_process_reaches_its_folders_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["read", "write", "other"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("file"), name).unwrap();
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lockdown::tests::helper_that_is_locked", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("every door was tried") || said.contains("skipped"), "{said}");
    }

    #[test]
    #[ignore = "a part of a_locked_process_reaches_its_folders_and_nothing_else"]
    fn helper_that_is_locked() {
        let folder = folder();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let allowance = Allowance {
            address_bytes: 8 << 30,
            task: Some(TaskLimits { cpu_s: 60, file_bytes: 1 << 20, data_bytes: 4 << 30 }),
            read: vec![folder.join("read")],
            write: vec![folder.join("write"), folder.join("not there")],
        };
        let missing = lock_down(&allowance);
        if !missing.is_empty() {
            println!("skipped: this host does not give {missing:?}");
            return;
        }
        let denied = |outcome: std::io::Result<()>| {
            assert_eq!(outcome.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
        };
        assert_eq!(std::fs::read(folder.join("read/file")).unwrap(), b"read");
        std::fs::write(folder.join("write/new"), "x").unwrap();
        std::fs::rename(folder.join("write/new"), folder.join("write/newer")).unwrap();
        denied(std::fs::write(folder.join("read/new"), "x"));
        denied(std::fs::read(folder.join("other/file")).map(drop));
        denied(std::fs::write(folder.join("other/new"), "x"));
        denied(std::fs::read("/etc/passwd").map(drop));
        denied(std::fs::read_dir("/").map(drop));
        denied(std::fs::remove_file(folder.join("read/file")));
        denied(TcpStream::connect(listener.local_addr().unwrap()).map(drop));
        denied(TcpListener::bind("127.0.0.1:0").map(drop));
        denied(std::process::Command::new("/bin/true").status().map(drop));
        println!("every door was tried");
    }
}
