//! What the host looks like, before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench::Bench;

/// How long what a run had may take to be gone.
pub const GONE_WITHIN: Duration = Duration::from_secs(2);

/// All of the host that a run could have changed, as far as it can be told from what others do at the same time.
#[derive(Debug)]
pub struct Snapshot {
    /// What the worker's folder holds, besides the outputs: kind and mode, owner, size and the last change.
    files: BTreeMap<PathBuf, (u32, u32, u64, i64, i64)>,
    mounts: BTreeSet<String>,
    /// Shared memory and queues of the host's own.
    shared: Vec<String>,
}

impl Snapshot {
    pub fn take(bench: &Bench) -> Self {
        let shared = ["shm", "sem", "msg"].map(|name| {
            let text = std::fs::read_to_string(format!("/proc/sysvipc/{name}")).unwrap_or_default();
            // Whose they are: the first columns name key and number.
            text.lines()
                .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join(";")
        });
        Self { files: files(bench), mounts: mounts(bench), shared: shared.into() }
    }

    /// Fails when something is left or something is different.
    pub fn is_still_so(&self, bench: &Bench) {
        let kind = bench.kind;
        nothing_left(bench, &self.mounts);
        let now = Self::take(bench);
        assert_eq!(now.shared, self.shared, "{kind:?}: shared memory or queues of the host");
        for (path, was) in &self.files {
            assert_eq!(now.files.get(path), Some(was), "{kind:?}: {} is not what it was", path.display());
        }
        assert_eq!(now.files.len(), self.files.len(), "{kind:?}: files are there that were not");
    }
}

/// Waits until no process, mount, cgroup or file of a bench's user is left.
pub fn nothing_left(bench: &Bench, mounts_before: &BTreeSet<String>) {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        let mut left: Vec<String> = Vec::new();
        if let Some(user) = bench.user() {
            // The next run's helper, which waits, is the worker's own: it is this process's child.
            let own = std::process::id();
            left.extend(
                processes_of(user).into_iter().filter(|it| it.parent != own).map(|it| format!("process {it:?}")),
            );
            left.extend(files_of(user).into_iter().map(|path| format!("file {}", path.display())));
        }
        left.extend(mounts(bench).difference(mounts_before).map(|line| format!("mount {line}")));
        left.extend(empty_groups(std::process::id()).into_iter().map(|path| format!("cgroup {}", path.display())));
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{:?}: left after {GONE_WITHIN:?}: {left:#?}", bench.kind);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn files(bench: &Bench) -> BTreeMap<PathBuf, (u32, u32, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![bench.dir.path().to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() && path != bench.path("outputs") {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        // An input is made readable for the program, once, on purpose; the outputs are the program's.
        let (changed, nanos) = match path.starts_with(bench.path("given")) || path.starts_with(bench.path("outputs")) {
            true => (0, 0),
            false => (metadata.ctime(), metadata.ctime_nsec()),
        };
        let size = if metadata.is_dir() { 0 } else { metadata.size() };
        found.insert(path, (metadata.mode() | 0o555, metadata.uid(), size, changed, nanos));
    }
    found
}

/// Mounts that could be a run's: where the sandbox is put together, or in the worker's folder.
fn mounts(bench: &Bench) -> BTreeSet<String> {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = bench.dir.path().to_str().unwrap();
    let is_ours = |line: &&str| ["/sys", "/mnt", "/srv", folder].iter().any(|place| line.contains(place));
    all.lines().filter(is_ours).map(str::to_owned).collect()
}

/// A process, as `/proc` has it.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub name: String,
    /// A letter: `R` runs, `T` is stopped.
    pub state: String,
}

/// All processes that run as a user.
pub fn processes_of(user: u32) -> Vec<Process> {
    let all = std::fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        let owner: u32 = field("Uid:")?.parse().ok()?;
        (owner == user).then(|| Process {
            pid,
            parent: field("PPid:").and_then(|number| number.parse().ok()).unwrap_or(0),
            name: field("Name:").unwrap_or("").to_owned(),
            state: field("State:").unwrap_or("").to_owned(),
        })
    })
    .collect()
}

/// Files of a user where everybody may make some.
fn files_of(user: u32) -> Vec<PathBuf> {
    let places = ["/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/run", "/run/lock", "/mnt", "/srv"];
    let entries = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    // A bench's own folder belongs to its user when that is an ordinary one.
    let is_bench = |path: &Path| path.join("outputs").is_dir();
    let owned = entries.filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == user));
    owned.map(|entry| entry.path()).filter(|path| !is_bench(path)).collect()
}

/// Groups of a worker in which nobody is.
pub fn empty_groups(worker: u32) -> Vec<PathBuf> {
    groups_of(worker).into_iter().filter(|path| members(path).is_empty()).collect()
}

/// Groups that a worker made, wherever such are made.
pub fn groups_of(worker: u32) -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in own.lines() {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let [_, names, path] = fields.as_slice() else { continue };
        let tree = Path::new("/sys/fs/cgroup").join(names).join(path.trim_start_matches('/'));
        let entries = std::fs::read_dir(tree).into_iter().flatten().flatten();
        let prefix = format!("gristmill-{worker}-");
        found.extend(entries.map(|entry| entry.path()).filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
        }));
    }
    found
}

/// Who is in a group.
pub fn members(group: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Waits until something is so.
pub fn wait_until(what: &str, within: Duration, mut reached: impl FnMut() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
