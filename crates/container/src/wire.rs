//! What runner and helper say to each other: a place and later a request, each as a line of JSON, then words of a byte; replies as
//! lines of JSON.

use std::path::PathBuf;

use gristmill_result::Ending;
use gristmill_sandbox::{HostFaultKind, Input};
use serde::{Deserialize, Serialize};

use crate::device::Devices;
use crate::runtime::Foreign;

/// Bytes of a request.
pub(crate) const REQUEST_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a reply's line: the log is the most of it, a byte of it up to four characters.
pub(crate) const REPLY_BYTES_MAX: u64 = 1 << 20;
/// After the request: hold everything still.
pub(crate) const WORD_FREEZE: u8 = b'f';
/// After the request: let it go on.
pub(crate) const WORD_THAW: u8 = b't';

/// What the helper is told first: where it goes while it waits for its run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Files into which it writes `0` to be in the cgroup.
    pub(crate) doors: Vec<PathBuf>,
    /// Whom of the host it runs as; the helper's own user when none.
    pub(crate) user: Option<(u32, u32)>,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) layers: Vec<PathBuf>,
    /// Empty: nothing is run, it is only tried whether it could be.
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) working_dir: String,
    pub(crate) inputs: Vec<Input>,
    pub(crate) output_dir: PathBuf,
    pub(crate) memory_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) output_files: u64,
    pub(crate) cpu_s: u64,
    /// The core it runs on; any when none.
    pub(crate) core: Option<usize>,
    /// A cgroup bounds its memory, so that nobody else need.
    pub(crate) memory_is_bounded: bool,
    /// What of the host's devices it is given.
    #[serde(default)]
    pub(crate) devices: Devices,
    /// Whether it is given a way out.
    #[serde(default)]
    pub(crate) has_network: bool,
    /// What makes the container, if it is not the helper itself.
    pub(crate) runtime: Option<Foreign>,
    /// The request's number, which the reply repeats.
    pub(crate) number: u64,
}

/// What the helper has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The sandbox stands, but for these guarantees; the program is about to begin.
    Ready { missing: Vec<String> },
    /// The run ended in a way that replicas agree on.
    Ended { ending: Ending, delivered: Delivered, peak_bytes: u64, log: Vec<u8> },
    /// It did not.
    Fault { kind: HostFaultKind, reason: String, log: Vec<u8> },
    /// A device cannot be given.
    NoDevice { problem: String },
    /// This host does not give what a container needs.
    Unable { reason: String },
}

/// What a run left below `/iexec_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) bytes: u64,
    /// Files and folders.
    pub(crate) files: u64,
}
