//! Bound what a run's processes use together, by a cgroup of their own, where this host lets us make one.
//!
//! Version 2 (one tree, of which a service manager delegates a part) and version 1 (a tree a controller) are known, also side by side,
//! as on hosts that are just moving from one to the other. Without any of them rlimits and the watch of process 1 have to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where trees are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Groups of ours begin so; the maker's process id and a number follow.
const PREFIX: &str = "gristmill-";
/// The group that the worker itself moves to: in version 2 a group with groups below has no processes of its own.
const OWN_GROUP: &str = "gristmill-worker";
/// Times that an empty group is tried to be removed: the kernel lets go of the dead a moment later. The first pauses are short.
const REMOVE_ATTEMPTS: u32 = 200;
const REMOVE_PAUSE_MIN: Duration = Duration::from_micros(50);
const REMOVE_PAUSE_MAX: Duration = Duration::from_millis(2);
/// A run has one processor: all of a period.
const PERIOD_US: u64 = 100_000;
/// What a run is worth when others want the processor too, of 1024 (version 1) and of 100 (version 2): the machine's owner goes first,
/// as by a nice of 10, which counts between the processes of one group only.
const SHARES: u64 = 110;
const WEIGHT: u64 = 10;
/// What groups are worth by themselves.
const SHARES_DEFAULT: u64 = 1024;
const WEIGHT_DEFAULT: u64 = 100;

/// What one run may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u64,
}

/// Where groups can be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroups {
    /// The folder in which groups are made, of each controller; the same for all in version 2.
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    unified: bool,
}

/// A number that no other group of this process has, whoever of it makes groups.
fn next_number() -> u64 {
    static MADE: AtomicU64 = AtomicU64::new(0);
    MADE.fetch_add(1, Ordering::Relaxed)
}

/// A group, in one folder or several. Dropping it kills who is in it and removes it.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    unified: bool,
}

impl Cgroups {
    /// Looks where this process may make groups, and removes what dead workers left there.
    pub(crate) fn find() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let found = Self::unified(&own).unwrap_or_else(|| Self::by_controller(&own));
        for folder in found.folders() {
            remove_orphans(folder);
        }
        found
    }

    /// What cannot be bounded here, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (what, found) in [
            (
                "a bound of all memory together (cgroup memory): each process is bounded, and the sum is watched",
                &self.memory,
            ),
            ("a bound of processes by cgroup: an rlimit bounds them", &self.pids),
        ] {
            if found.is_none() {
                missing.push(what.to_owned());
            }
        }
        missing
    }

    fn folders(&self) -> Vec<&PathBuf> {
        let mut folders: Vec<&PathBuf> = [&self.memory, &self.pids, &self.cpu].into_iter().flatten().collect();
        folders.sort();
        folders.dedup();
        folders
    }

    fn unified(own: &str) -> Option<Self> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let folder = Path::new(MOUNT).join(path.trim_start_matches('/'));
        let has = fs::read_to_string(folder.join("cgroup.controllers")).ok()?;
        if !has.split_whitespace().any(|name| name == "memory") {
            return None;
        }
        // Our own processes move down, so that the group may hand its controllers on.
        let worker = folder.join(OWN_GROUP);
        fs::create_dir(&worker).or_else(if_exists).ok()?;
        let members = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
        for member in members.lines() {
            let _ = fs::write(worker.join("cgroup.procs"), member);
        }
        let wanted = ["memory", "pids", "cpu"].map(|name| has.split_whitespace().any(|it| it == name).then_some(name));
        for name in wanted.into_iter().flatten() {
            fs::write(folder.join("cgroup.subtree_control"), format!("+{name}")).ok()?;
        }
        let [memory, pids, cpu] = wanted.map(|name| name.map(|_| folder.clone()));
        Some(Self { memory, pids, cpu, unified: true })
    }

    fn by_controller(own: &str) -> Self {
        let folder = |controller: &str| {
            let line = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let names = fields.next()?;
                names.split(',').any(|name| name == controller).then(|| (names, fields.next().unwrap_or("/")))
            });
            let (names, path) = line?;
            let trees = [Path::new(MOUNT).join(controller), Path::new(MOUNT).join(names)];
            let folder = trees.iter().map(|tree| tree.join(path.trim_start_matches('/'))).find(|it| it.is_dir())?;
            // A trial tells more than modes do: the tree may be mounted read-only, or another user's.
            let trial = folder.join(format!("{PREFIX}{}-{}", std::process::id(), next_number()));
            fs::create_dir(&trial).ok()?;
            fs::remove_dir(&trial).ok()?;
            Some(folder)
        };
        Self { memory: folder("memory"), pids: folder("pids"), cpu: folder("cpu"), unified: false }
    }

    /// A new group, which bounds nothing yet. It is of no folders where there are no controllers.
    pub(crate) fn make(&self) -> io::Result<Group> {
        let name = format!("{PREFIX}{}-{}", std::process::id(), next_number());
        let below = |parent: &Option<PathBuf>| parent.as_ref().map(|parent| parent.join(&name));
        let mut group = Group {
            folders: Vec::new(),
            memory: below(&self.memory),
            pids: below(&self.pids),
            cpu: below(&self.cpu),
            unified: self.unified,
        };
        for parent in self.folders() {
            let folder = parent.join(&name);
            fs::create_dir(&folder)?;
            group.folders.push(folder);
        }
        Ok(group)
    }
}

impl Group {
    /// Bounds what those in it use together. True if their memory is.
    pub(crate) fn bound(&self, allowance: Allowance) -> bool {
        let set = |folder: &Option<PathBuf>, file: &str, value: &str| {
            folder.as_ref().is_some_and(|folder| fs::write(folder.join(file), value).is_ok())
        };
        let memory = allowance.memory_bytes.to_string();
        let processes = allowance.processes.to_string();
        let bounds_memory;
        if self.unified {
            bounds_memory = set(&self.memory, "memory.max", &memory);
            set(&self.memory, "memory.swap.max", "0");
            set(&self.memory, "memory.oom.group", "1");
            set(&self.pids, "pids.max", &processes);
            set(&self.cpu, "cpu.max", &format!("{PERIOD_US} {PERIOD_US}"));
        } else {
            bounds_memory = set(&self.memory, "memory.limit_in_bytes", &memory);
            // Not on every kernel.
            set(&self.memory, "memory.memsw.limit_in_bytes", &memory);
            set(&self.pids, "pids.max", &processes);
            set(&self.cpu, "cpu.cfs_period_us", &PERIOD_US.to_string());
            set(&self.cpu, "cpu.cfs_quota_us", &PERIOD_US.to_string());
        }
        bounds_memory
    }

    /// The files by which a process of one thread puts itself in, and with it those that it will make: it writes `0`.
    ///
    /// Where there is one for a single thread it is that one. To move a whole process the kernel waits until no process is being made
    /// anywhere, some milliseconds.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        let file = if self.unified { "cgroup.procs" } else { "tasks" };
        self.folders.iter().map(|folder| folder.join(file)).collect()
    }

    /// From now on others that want the processor have it first. Making the sandbox is not slowed down by that, nor is dying.
    pub(crate) fn be_polite(&self) {
        self.weigh(SHARES, WEIGHT);
    }

    /// The program has ended, or is to end.
    pub(crate) fn hurry(&self) {
        self.weigh(SHARES_DEFAULT, WEIGHT_DEFAULT);
    }

    fn weigh(&self, shares: u64, weight: u64) {
        let Some(folder) = &self.cpu else { return };
        let (file, value) = if self.unified { ("cpu.weight", weight) } else { ("cpu.shares", shares) };
        // Who cannot be made to wait is at least nice.
        let _ = fs::write(folder.join(file), value.to_string());
    }

    /// Whether the kernel killed somebody in it for memory.
    pub(crate) fn was_killed_for_memory(&self) -> bool {
        let Some(folder) = &self.memory else { return false };
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = remove(folder) {
                tracing::warn!(folder = %folder.display(), %error, "a cgroup could not be removed");
            }
        }
    }
}

fn if_exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// Kills who is in a group and removes it.
fn remove(folder: &Path) -> io::Result<()> {
    let (mut last, mut pause) = (None, REMOVE_PAUSE_MIN);
    for _ in 0..REMOVE_ATTEMPTS {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => last = Some(error),
        }
        // Version 2, since Linux 5.14; else one by one.
        if fs::write(folder.join("cgroup.kill"), "1").is_err() {
            let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for member in members.lines().filter_map(|line| line.parse().ok()).filter(|member| *member > 1) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(member), nix::sys::signal::Signal::SIGKILL);
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(REMOVE_PAUSE_MAX);
    }
    Err(last.unwrap_or_else(|| io::Error::other("it does not get empty")))
}

/// Groups whose maker is dead: it was killed, and what it ran may still be there.
fn remove_orphans(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')?.0.parse::<i32>().ok());
        let Some(maker) = maker else { continue };
        let is_dead = nix::sys::signal::kill(nix::unistd::Pid::from_raw(maker), None) == Err(nix::errno::Errno::ESRCH);
        if is_dead && let Err(error) = remove(&entry.path()) {
            tracing::warn!(folder = %entry.path().display(), %error, "a cgroup of a dead worker could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orphans_of_a_dead_worker_are_found_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        // No process has this number: it is past the kernel's largest.
        let (dead, alive) = (format!("{PREFIX}{}-0", 1 << 23), format!("{PREFIX}{}-0", std::process::id()));
        for name in [dead.as_str(), alive.as_str(), OWN_GROUP, "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        remove_orphans(folder.path());
        let is_there = |name: &str| folder.path().join(name).exists();
        assert!(!is_there(&dead) && is_there(&alive) && is_there(OWN_GROUP) && is_there("other"));
    }

    #[test]
    fn a_group_is_gone_when_it_is_dropped_with_all_that_were_in_it() {
        let groups = Cgroups::find();
        let group = groups.make().unwrap();
        let folders = group.folders.clone();
        assert_eq!(group.bound(Allowance { memory_bytes: 64 << 20, processes: 10 }), groups.memory.is_some());
        let mut command = std::process::Command::new("sh");
        // The shell goes in by itself, as the helper does.
        command.args(["-c", "for door; do echo 0 > $door || exit 1; done; sleep 1000", "sh"]).args(group.doors());
        let mut sleeper = command.spawn().unwrap();
        let begun = std::time::Instant::now();
        let is_in = |folder: &PathBuf| {
            fs::read_to_string(folder.join("cgroup.procs"))
                .unwrap()
                .lines()
                .any(|line| line == sleeper.id().to_string())
        };
        while !folders.iter().all(is_in) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not go in");
            std::thread::sleep(Duration::from_millis(5));
        }
        if folders.is_empty() {
            // Nothing can be made here, which is said.
            assert_eq!(groups.missing().len(), 2);
            sleeper.kill().unwrap();
        }
        let waiting = std::thread::spawn(move || sleeper.wait().unwrap());
        drop(group);
        assert!(!waiting.join().unwrap().success());
        assert!(folders.iter().all(|folder| !folder.exists()));
    }
}
