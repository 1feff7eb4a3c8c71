//! What parent and child say to each other: one request as a line of JSON, then replies as lines of JSON.

use std::path::PathBuf;

use gristmill_types::ContentId;
use serde::{Deserialize, Serialize};

use crate::execution::{Execution, HostFault, RunReport};

/// Bytes of a request. A task of 100,000 items stays far below.
pub(crate) const REQUEST_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a reply's line.
pub(crate) const REPLY_BYTES_MAX: u64 = 4 << 20;

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The parent's process id: a child with another parent was orphaned before it could ask to die with it.
    pub(crate) parent: u32,
    pub(crate) work: Work,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    Compile(Compile),
    Run(Box<Run>),
}

/// Compile a module into the cache.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compile {
    pub(crate) app: PathBuf,
    pub(crate) app_id: ContentId,
    pub(crate) cache_file: PathBuf,
}

/// Run a compiled module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) execution: Execution,
    pub(crate) cache_file: PathBuf,
}

/// What the child has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The child has locked itself down, but for these guarantees.
    Locked { missing: Vec<String> },
    /// The compiled module lies in the cache.
    Compiled,
    /// No host could run this module.
    NotRunnable { reason: String },
    /// The app's file cannot be read; the error's number.
    AppUnreadable { code: i32 },
    /// The app's file holds other bytes.
    AppMismatch { got: ContentId },
    /// The cached module is not there or damaged.
    CacheInvalid,
    /// A run has ended.
    Ran { report: RunReport, log: Vec<u8> },
    /// All runs have ended.
    Finished { witness: [u8; 32] },
    /// The host could not do its part.
    Fault(HostFault),
}
