//! Describe what to run and what came of it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use gristmill_result::{Ending, Witness};
use gristmill_types::{ContentId, ResourceLimits};
use serde::{Deserialize, Serialize};

use crate::profile::EngineProfile;

/// One task's work for the sandbox: an app, and one run of it an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The module's file. Read only when its compiled form is not cached.
    pub app: PathBuf,
    /// BLAKE3 of the module's bytes; a file that does not hash to it is refused.
    pub app_id: ContentId,
    /// Arguments after `argv[0]`, which is always `app`.
    pub args: Vec<String>,
    /// Environment of every run. `IEXEC_IN` and `IEXEC_OUT` are added.
    pub env: Vec<(String, String)>,
    /// What the virtual randomness follows from. Replicas must be handed the same.
    pub seed: [u8; 32],
    /// Files and folders that every run sees.
    pub inputs: Vec<Input>,
    /// The runs, in the order in which they are made. At least one.
    pub runs: Vec<ItemRun>,
    /// Limits that replicas agree on. Fuel and memory are a run's, output bytes and files are all runs' together.
    pub limits: ResourceLimits,
    /// Time for all runs together, compiling excluded. Running past it is a fault of this host, not a result.
    pub wall_clock: Duration,
}

/// One run of the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRun {
    /// The item's global index; 0 for a task without items.
    pub index: u64,
    /// Environment of this run; replaces variables of the same name.
    pub env: Vec<(String, String)>,
    /// Files and folders that only this run sees; they replace what has the same name.
    pub inputs: Vec<Input>,
    /// Where the outputs are put. Made when missing; must be empty; no two runs may share one.
    pub output_dir: PathBuf,
}

/// How an [`Execution`] is run, apart from what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOptions {
    /// The engine profile; the default one of this host unless the deal says otherwise.
    pub profile: EngineProfile,
    /// Who the work is for: a process that has worked for one is used again for the same one, app, profile and limits alike,
    /// and for nobody else. None: the process is used once.
    pub reuse: Option<[u8; 32]>,
}

impl RunOptions {
    /// The default profile, in a process that is used once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Under this profile.
    pub fn profile(self, profile: EngineProfile) -> Self {
        Self { profile, ..self }
    }

    /// In a process that has worked for the same `deal`, if one is idle, and that may do so again.
    pub fn reuse(self, deal: [u8; 32]) -> Self {
        Self { reuse: Some(deal), ..self }
    }
}

/// A file or folder of the host that the guest sees below `/iexec_in`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Where below `/iexec_in`: a relative path; for a folder it may be empty, which means `/iexec_in` itself.
    pub at: String,
    /// The host's file or folder. Symbolic links in it are refused, not followed. It must not change meanwhile.
    pub host: PathBuf,
}

/// A file that is handed over in memory and never is on the disk. At most [`crate::SMALL_FILE_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallFile {
    /// Where: of an input below `/iexec_in`, of an output below `/iexec_out`. A relative path.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where the outputs of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// In its output folder.
    OnDisk,
    /// Here, all of them; the output folder was not made. Empty folders are not told of.
    InMemory(Vec<SmallFile>),
}

/// How to start the child process: this program again, with arguments that lead to [`crate::child_main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What came of an [`Execution`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every run ended in a way that replicas agree on.
    Finished(Finished),
    /// This host could not bring it to an end. Never a result: the task has to go elsewhere. The output folders may
    /// hold leftovers, scratch files included; as also when it was cancelled.
    HostFault(HostFault),
    /// The [`crate::Control`] was used.
    Cancelled,
}

/// Runs that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// One report a run, in the order of [`Execution::runs`].
    pub runs: Vec<RunReport>,
    /// Hash over fuel used and final memory of all runs.
    pub witness: Witness,
    /// The end of what the app wrote to stderr, and why runs failed. At most [`crate::LOG_BYTES_MAX`] bytes.
    /// Unverified: nobody else need see the same.
    pub log: Vec<u8>,
    /// Guarantees that this host could not give, in words.
    pub missing_guarantees: Vec<String>,
}

/// How one run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// The item's index.
    pub index: u64,
    /// How it ended.
    pub ending: Ending,
    /// Fuel used.
    pub fuel: u64,
    /// Linear memory at the end, in bytes.
    pub memory_bytes: u64,
    /// Bytes in the output folder.
    pub output_bytes: u64,
    /// Files and folders in the output folder.
    pub output_files: u64,
}

/// Why this host brought the execution to no end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFault {
    /// What kind of fault.
    pub kind: HostFaultKind,
    /// What happened, for a person.
    pub reason: String,
}

/// Kinds of [`HostFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HostFaultKind {
    /// [`Execution::wall_clock`] passed.
    WallClock,
    /// The guest's calls went deeper than the native stack. How deep that is depends on the host's code.
    StackOverflow,
    /// Reading or writing failed, or memory was refused.
    Io,
    /// An input is not what it was when the run began.
    InputChanged,
    /// The child process was killed or died.
    Killed,
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
