//! A folder, an image of one static program, and runners of every kind that this user can have.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gristmill_container::{Container, ContainerRunner, RunAs, RunnerConfig, Runtime};
use gristmill_result::Ending;
use gristmill_sandbox::{ChildCommand, Control, Finished, HostFault, Input, ItemRun, Outcome};
use gristmill_types::ResourceLimits;

use crate::host::Snapshot;

pub const MIB: u64 = 1 << 20;
/// The users of these tests begin here: past all that systems give out by themselves.
const USERS_FROM: u32 = 1_000_000;
/// Benches that one process may make, and processes until numbers come again.
const BENCHES_MAX: u32 = 1000;
const PROCESSES_MAX: u32 = 1000;

/// A user of the host who is nobody else's: what a bench leaves behind is told from all else by it.
fn next_user() -> u32 {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    assert!(made < BENCHES_MAX);
    USERS_FROM + std::process::id() % PROCESSES_MAX * BENCHES_MAX + made
}

/// How containers are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The worker is root: a spare user, cgroups where the host has them.
    Root,
    /// The worker is root, and the host has no cgroups.
    RootWithoutCgroups,
    /// The worker is an ordinary user.
    Ordinary,
    /// As root, and as an ordinary user, with another runtime.
    Crun,
    CrunOrdinary,
    Runc,
    RuncOrdinary,
    Podman,
    PodmanOrdinary,
}

impl Kind {
    /// Whether the worker is an ordinary user.
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::Ordinary | Self::CrunOrdinary | Self::RuncOrdinary | Self::PodmanOrdinary)
    }

    /// Whether it uses cgroups where the host has them.
    pub fn has_cgroups(self) -> bool {
        self != Self::RootWithoutCgroups && !self.is_ordinary()
    }

    pub fn runtime(self) -> Runtime {
        match self {
            Self::Root | Self::RootWithoutCgroups | Self::Ordinary => Runtime::Own,
            Self::Crun | Self::CrunOrdinary => Runtime::Crun(None),
            Self::Runc | Self::RuncOrdinary => Runtime::Runc(None),
            Self::Podman | Self::PodmanOrdinary => Runtime::Podman(None),
        }
    }

    /// The number of the program's parent: that of another runtime's container was none of its own namespace.
    pub fn parent(self) -> u32 {
        u32::from(self.runtime() == Runtime::Own)
    }
}

/// All that this process can be: as root, an ordinary user too. Other runtimes once as each, unless the slow tests are asked for.
pub fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::Root, Kind::RootWithoutCgroups, Kind::Ordinary, Kind::Crun, Kind::RuncOrdinary];
    if is_slow() {
        kinds.extend([Kind::CrunOrdinary, Kind::Runc, Kind::Podman, Kind::PodmanOrdinary]);
    }
    kinds.retain(|kind| kind.is_ordinary() || nix::unistd::geteuid().is_root());
    kinds
}

/// Those whose containers are started by our own helper, which alone gives devices and a network.
pub fn own_kinds() -> Vec<Kind> {
    kinds().into_iter().filter(|kind| kind.runtime() == Runtime::Own).collect()
}

/// Whether the slow tests are asked for.
pub fn is_slow() -> bool {
    std::env::var_os("GRISTMILL_SLOW_TESTS").is_some()
}

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub runner: ContainerRunner,
    pub kind: Kind,
    user: u32,
}

impl Bench {
    pub fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(kind, dir, next_user())
    }

    pub fn at(kind: Kind, dir: tempfile::TempDir, user: u32) -> Self {
        // An ordinary user's worker owns its folders; the others' are closed to whom the program runs as.
        let root = nix::unistd::geteuid().is_root();
        let owner = match (kind.is_ordinary(), root) {
            (true, true) => Some(user),
            _ => None,
        };
        chown(dir.path(), owner, owner).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let program = env!("CARGO_BIN_EXE_gristmill-container-child").into();
        let mut config = RunnerConfig::new(ChildCommand { program, args: vec![] });
        (config.cgroups, config.runtime) = (kind.has_cgroups(), kind.runtime());
        if kind.is_ordinary() {
            config.run_as = RunAs::Ourselves;
            if root {
                config.child.args = vec!["as".into(), user.to_string().into()];
            }
        } else {
            config.run_as = RunAs::Spare { uid: user, gid: user };
        }
        for folder in ["outputs", "given"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            chown(dir.path().join(folder), owner, owner).unwrap();
        }
        Self { runner: ContainerRunner::new(config), dir, kind, user }
    }

    /// The user that owns what an image or a task has; nobody special where this process may be nobody else.
    pub fn user(&self) -> Option<u32> {
        nix::unistd::geteuid().is_root().then_some(self.user)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A layer with these files (executable) and folders (names that end in `/`), as an image's are kept.
    pub fn layer(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (path, bytes) in files {
            let path = folder.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.to_str().unwrap().ends_with('/') {
                std::fs::create_dir_all(&path).unwrap();
            } else {
                std::fs::write(&path, bytes).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        give(&folder, self.user());
        folder
    }

    /// One run of the probe with these words.
    pub fn probe(&self, words: &[&str]) -> Container {
        let mut argv = vec!["/bin/probe".to_owned()];
        argv.extend(words.iter().map(|&word| word.to_owned()));
        self.container(vec![self.probe_layer()], argv)
    }

    /// The layer with the probe, and nothing else.
    pub fn probe_layer(&self) -> PathBuf {
        let folder = self.path("layer");
        if folder.exists() { folder } else { self.layer("layer", &[("bin/probe", &std::fs::read(probe()).unwrap())]) }
    }

    /// What the probe prints when it is given these words, as lines.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        self.printed(&self.probe(words)).lines().map(str::to_owned).collect()
    }

    pub fn container(&self, layers: Vec<PathBuf>, argv: Vec<String>) -> Container {
        Container {
            layers,
            argv,
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            working_dir: String::new(),
            inputs: vec![],
            runs: vec![self.item(0)],
            limits: ResourceLimits { fuel: 0, memory_bytes: 64 * MIB, output_bytes: 4 * MIB, output_files: 100 },
            // Programs are polite: beside a busy machine they may take long.
            wall_clock: Duration::from_secs(120),
            devices: vec![],
            network: None,
        }
    }

    /// An item with a new output folder.
    pub fn item(&self, index: u64) -> ItemRun {
        let folder = tempfile::tempdir_in(self.path("outputs")).unwrap().keep();
        give(&folder, self.user().filter(|_| self.kind.is_ordinary()));
        ItemRun { index, env: vec![], inputs: vec![], output_dir: folder }
    }

    /// An input with this content, which its owner alone may read.
    pub fn input(&self, at: &str, bytes: impl AsRef<[u8]>) -> Input {
        let host = self.path("given").join(at);
        std::fs::create_dir_all(host.parent().unwrap()).unwrap();
        std::fs::write(&host, bytes).unwrap();
        std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o600)).unwrap();
        give(&self.path("given"), self.user().filter(|_| self.kind.is_ordinary()));
        Input { at: at.to_owned(), host }
    }

    /// Runs it, and looks whether the host is as it was.
    pub fn run(&self, container: &Container) -> Outcome {
        self.run_under(container, &Control::new())
    }

    /// As [`Bench::run`], to be stopped or held still.
    pub fn run_under(&self, container: &Container, control: &Control) -> Outcome {
        let before = Snapshot::take(self);
        let t0 = std::time::Instant::now();
        let outcome = self.runner.run(container, control).unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
        let t1 = t0.elapsed();
        before.is_still_so(self);
        eprintln!("{:?} run {t1:?} check {:?}", self.kind, t0.elapsed() - t1);
        outcome
    }

    pub fn finish(&self, container: &Container) -> Finished {
        match self.run(container) {
            Outcome::Finished(finished) => finished,
            other => panic!("{:?}: did not finish: {other:?}", self.kind),
        }
    }

    pub fn fault(&self, container: &Container) -> HostFault {
        match self.run(container) {
            Outcome::HostFault(fault) => fault,
            other => panic!("{:?}: no fault of the host: {other:?}", self.kind),
        }
    }

    /// What a program, which has to exit with 0, printed.
    pub fn printed(&self, container: &Container) -> String {
        let finished = self.finish(container);
        let files = tree(&container.runs[0].output_dir);
        let stdout = String::from_utf8_lossy(files.get("stdout.txt").map_or(&[], Vec::as_slice)).into_owned();
        let log = String::from_utf8_lossy(&finished.log).into_owned();
        assert_eq!(finished.runs[0].ending, Ending::Exited(0), "{:?}\nstdout:\n{stdout}\nlog:\n{log}", self.kind);
        stdout
    }
}

/// Makes all below a folder somebody's.
pub fn give(path: &Path, user: Option<u32>) {
    let Some(user) = user else { return };
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), Some(user));
        }
    }
}

/// The program of these tests, compiled once.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/probe");
        // Two test runs at once must not see each other's half of a file.
        let unfinished = folder.join(format!("probe-{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-pthread", "-o"])
            .arg(&unfinished)
            .args(["probe", "files", "calls", "bombs", "facts", "reach"].map(|name| sources.join(format!("{name}.c"))))
            .status()
            .expect("the tests need a C compiler");
        assert!(status.success(), "{} does not compile", sources.display());
        let program = folder.join("container-probe");
        std::fs::rename(&unfinished, &program).unwrap();
        program
    })
}

/// Every file below a folder with its bytes; folders end in `/`. Nothing but files and folders may be there.
pub fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.insert(name + "/", vec![]);
                pending.push(path);
            } else {
                assert!(metadata.is_file(), "{name} is neither file nor folder");
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
