//! A folder, an image of one static program, and runners of every kind that this user can have.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use gristmill_container::{Container, ContainerRunner, RunAs, RunnerConfig};
use gristmill_result::Ending;
use gristmill_sandbox::{ChildCommand, Control, Finished, HostFault, Input, ItemRun, Outcome};
use gristmill_types::ResourceLimits;

pub const MIB: u64 = 1 << 20;
/// Whom an ordinary user's helper runs as in these tests.
const ORDINARY: u32 = 61_234;

/// How containers are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The worker is root: a spare user, cgroups where the host has them.
    Root,
    /// The worker is root, and the host has no cgroups.
    RootWithoutCgroups,
    /// The worker is an ordinary user.
    Ordinary,
}

/// All that this process can be: as root, an ordinary user too.
pub fn kinds() -> Vec<Kind> {
    if nix::unistd::geteuid().is_root() {
        vec![Kind::Root, Kind::RootWithoutCgroups, Kind::Ordinary]
    } else {
        vec![Kind::Ordinary]
    }
}

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub runner: ContainerRunner,
    pub kind: Kind,
}

impl Bench {
    pub fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // An ordinary user's worker owns its folders; the others' are closed to whom the program runs as.
        let root = nix::unistd::geteuid().is_root();
        let owner = match (kind, root) {
            (Kind::Ordinary, true) => Some(ORDINARY),
            _ => None,
        };
        chown(dir.path(), owner, owner).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let program = env!("CARGO_BIN_EXE_gristmill-container-child").into();
        let mut config = RunnerConfig::new(ChildCommand { program, args: vec![] });
        match kind {
            Kind::Root => {}
            Kind::RootWithoutCgroups => config.cgroups = false,
            Kind::Ordinary => {
                config.run_as = RunAs::Ourselves;
                config.cgroups = false;
                if root {
                    config.child.args = vec!["as".into(), ORDINARY.to_string().into()];
                }
            }
        }
        Self { runner: ContainerRunner::new(config), dir, kind }
    }

    /// The user that owns what an image or a task has.
    pub fn user(&self) -> Option<u32> {
        match self.runner.run_as().spare() {
            Some((uid, _)) => Some(uid),
            None if nix::unistd::geteuid().is_root() => Some(ORDINARY),
            None => None,
        }
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
        let layer = self.layer("layer", &[("bin/probe", &std::fs::read(probe()).unwrap())]);
        let mut argv = vec!["/bin/probe".to_owned()];
        argv.extend(words.iter().map(|&word| word.to_owned()));
        self.container(vec![layer], argv)
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
            wall_clock: Duration::from_secs(20),
        }
    }

    /// An item with a new output folder.
    pub fn item(&self, index: u64) -> ItemRun {
        let folder = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        give(&folder, self.user().filter(|_| self.kind == Kind::Ordinary));
        ItemRun { index, env: vec![], inputs: vec![], output_dir: folder }
    }

    /// An input with this content, which its owner alone may read.
    pub fn input(&self, at: &str, bytes: impl AsRef<[u8]>) -> Input {
        let host = self.path("given").join(at);
        std::fs::create_dir_all(host.parent().unwrap()).unwrap();
        std::fs::write(&host, bytes).unwrap();
        std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o600)).unwrap();
        give(&self.path("given"), self.user().filter(|_| self.kind == Kind::Ordinary));
        Input { at: at.to_owned(), host }
    }

    pub fn run(&self, container: &Container) -> Outcome {
        self.runner.run(container, &Control::new()).unwrap()
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
fn give(path: &Path, user: Option<u32>) {
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
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/probe.c");
        // Two test runs at once must not see each other's half of a file.
        let unfinished = folder.join(format!("probe-{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-pthread", "-o"])
            .args([&unfinished, &source])
            .status()
            .expect("the tests need a C compiler");
        assert!(status.success(), "{} does not compile", source.display());
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
