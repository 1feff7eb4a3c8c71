//! What parent and child say to each other; [`crate::channel`] says how.
//!
//! A child that compiles is asked once. A child that serves is handed tasks one after the other: a [`Order::Task`], its items in
//! batches, and [`Order::End`]. It cannot open a file; when the guest needs one it asks ([`Reply::Wants`]) and is handed an open
//! descriptor ([`Order::Done`]).

use std::path::PathBuf;

use gristmill_types::{ContentId, ResourceLimits};
use serde::{Deserialize, Serialize};

use crate::execution::{HostFault, RunReport};
use crate::profile::EngineProfile;
use crate::stop::HostProblem;

/// Bytes of a message to the child. A task of 100,000 items stays far below, since its items come in batches.
pub(crate) const ORDER_BYTES_MAX: usize = 256 << 20;
/// Bytes of a reply.
pub(crate) const REPLY_BYTES_MAX: usize = 4 << 20;
/// Entries that are placed at a time.
pub(crate) const PLACED_MAX: usize = 1000;

/// What the child is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The parent's process id: a child with another parent was orphaned before it could ask to die with it.
    pub(crate) parent: u32,
    pub(crate) work: Work,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    Compile(Compile),
    /// Run what is ordered, under this profile.
    Serve(EngineProfile),
}

/// Compile a module into the cache.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compile {
    pub(crate) profile: EngineProfile,
    pub(crate) app: PathBuf,
    pub(crate) app_id: ContentId,
    pub(crate) cache_file: PathBuf,
}

/// What a serving child is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Begin a task. The compiled module comes as a descriptor, unless it is the one of the task before.
    Task(Box<Task>),
    /// Run these, in this order. The bytes of their small files come with it, one after the other.
    Items(Vec<Item>),
    /// There is no item more.
    End,
    /// What was wanted is done; a file comes as a descriptor.
    Done,
    /// What was wanted cannot be done.
    Refused(HostProblem),
}

/// What all items of a task share.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) seed: [u8; 32],
    pub(crate) limits: ResourceLimits,
    /// Seconds of CPU time that the task may take.
    pub(crate) cpu_s: u64,
    /// Items in all.
    pub(crate) items: usize,
    pub(crate) inputs: Vec<Entry>,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) index: u64,
    pub(crate) env: Vec<(String, String)>,
    /// Laid over the task's.
    pub(crate) inputs: Vec<Entry>,
}

/// A file or folder among the inputs. Files are numbered in the order in which they are listed, small ones left out: first the
/// task's, then the item's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where below `/iexec_in`; a folder comes before what lies in it.
    pub(crate) at: String,
    /// Bytes of a file; none for a folder.
    pub(crate) size: Option<u64>,
    /// A small file, whose bytes come with the message.
    pub(crate) small: bool,
}

/// What a guest needs of the host's disk.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Want {
    /// An input file, open for reading.
    Input(u32),
    /// A scratch file of the item, open for reading and writing.
    Scratch { number: u64, create: bool },
    /// A scratch file removed.
    Remove(u64),
    /// Files and folders put at their names below the output folder. The bytes of those that were in memory come with it.
    Place(Vec<Placed>),
    /// The scratch folder removed; nothing is placed after that.
    Clear,
}

/// An entry of the output folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// Its path below the output folder; a folder comes before what lies in it.
    pub(crate) path: String,
    pub(crate) what: What,
}

/// What an entry of the output folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Folder,
    /// The scratch file of this number.
    Scratch(u64),
    /// A file of so many of the bytes that come with the message.
    Bytes(u64),
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
    /// The compiled module cannot be used.
    CodeInvalid,
    /// The guest needs something, and waits for it.
    Wants(Want),
    /// A run has ended. `left` is put into the output folder after what was asked to be placed; the bytes come with it.
    Ran { report: RunReport, log: Vec<u8>, left: Vec<Placed> },
    /// All runs have ended.
    Finished { witness: [u8; 32] },
    /// The host could not do its part.
    Fault(HostFault),
}
