//! A workbench for tests: folders, modules from text, and executions with small limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_result::Ending;
use gristmill_sandbox::{
    ChildCommand, Control, Execution, Finished, HostFault, Input, ItemRun, Outcome, PoolConfig, Runner, RunnerConfig,
    SandboxError,
};
use gristmill_types::{ContentId, ResourceLimits};

pub const MIB: u64 = 1 << 20;

/// Folders and a runner.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub runner: Runner,
}

impl Bench {
    pub fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    /// A bench below a folder that somebody else removes.
    pub fn in_dir(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        Self { dir, runner: runner(&shared_cache(), PoolConfig::default()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the bench, folders included.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// An execution of these bytes: one run, small limits, output in `out`.
    pub fn execution(&self, module: &[u8]) -> Execution {
        let app_id = ContentId(*blake3::hash(module).as_bytes());
        Execution {
            app: self.write(&format!("{app_id}.wasm"), module),
            app_id,
            args: vec![],
            env: vec![],
            seed: [7; 32],
            inputs: vec![],
            runs: vec![self.item(0, "out")],
            limits: ResourceLimits {
                fuel: 2_000_000_000,
                memory_bytes: 64 * MIB,
                output_bytes: 4 * MIB,
                output_files: 100,
            },
            wall_clock: Duration::from_secs(20),
        }
    }

    /// An execution of WebAssembly text.
    pub fn text(&self, wat: &str) -> Execution {
        self.execution(&wat::parse_str(wat).unwrap())
    }

    /// An execution of the probe with these commands.
    pub fn probe(&self, commands: &[&str]) -> Execution {
        let mut execution = self.execution(include_bytes!("../guests/probe.wasm"));
        execution.args = commands.iter().map(|&command| command.to_owned()).collect();
        execution
    }

    pub fn item(&self, index: u64, folder: &str) -> ItemRun {
        ItemRun { index, env: vec![], inputs: vec![], output_dir: self.path(folder) }
    }

    /// An input with this content.
    pub fn input(&self, at: &str, bytes: impl AsRef<[u8]>) -> Input {
        Input { at: at.to_owned(), host: self.write(&format!("given/{at}"), bytes) }
    }

    pub fn try_run(&self, execution: &Execution) -> Result<Outcome, SandboxError> {
        self.runner.run(execution, &Control::new())
    }

    /// Runs what has to finish.
    pub fn finish(&self, execution: &Execution) -> Finished {
        match self.try_run(execution).unwrap() {
            Outcome::Finished(finished) => finished,
            other => panic!("did not finish: {other:?}"),
        }
    }

    /// Runs what has to fail for reasons of the host.
    pub fn fault(&self, execution: &Execution) -> HostFault {
        match self.try_run(execution).unwrap() {
            Outcome::HostFault(fault) => fault,
            other => panic!("no fault of the host: {other:?}"),
        }
    }

    /// Runs one item; its ending, and all it left as path and bytes (folders end in `/`).
    pub fn outcome(&self, execution: &Execution) -> (Ending, BTreeMap<String, Vec<u8>>) {
        let finished = self.finish(execution);
        (finished.runs[0].ending, tree(&execution.runs[0].output_dir))
    }

    /// Runs the probe, which has to exit with 0, and returns what it printed.
    pub fn printed(&self, execution: &Execution) -> String {
        let finished = self.finish(execution);
        let stdout = std::fs::read(execution.runs[0].output_dir.join("stdout.txt")).unwrap_or_default();
        let stdout = String::from_utf8(stdout).unwrap();
        let log = String::from_utf8_lossy(&finished.log).into_owned();
        assert_eq!(finished.runs[0].ending, Ending::Exited(0), "stdout:\n{stdout}\nlog:\n{log}");
        stdout
    }
}

/// A runner of children without a mark.
pub fn runner(cache_dir: &Path, pool: PoolConfig) -> Runner {
    let child = ChildCommand { program: env!("CARGO_BIN_EXE_gristmill-sandbox-child").into(), args: vec![] };
    Runner::with_pool(RunnerConfig { child, cache_dir: cache_dir.to_path_buf() }, pool).unwrap()
}

/// Compiled modules are kept from test to test, for as long as the child is the same program: another one may compile otherwise
/// before its version is raised. What is about the cache itself takes one of its own.
fn shared_cache() -> PathBuf {
    let child = std::fs::metadata(env!("CARGO_BIN_EXE_gristmill-sandbox-child")).unwrap();
    let built = child.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-modules-{}", built.as_nanos()))
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
