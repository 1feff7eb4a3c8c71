//! Ask and tell a running pool, through the socket in its folder ([`gristmill_protocol::control`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use gristmill_protocol::control::{self as socket, Listening, Service};
pub use gristmill_protocol::control::{ControlError, SOCKET_FILE};
use gristmill_types::{Address, TaskId};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::engine::Query;
use crate::error::PoolError;
use crate::members::Deed;
use crate::report::{By, Report};
use crate::settings::{Change, Held};
use crate::status::{Cause, Invited, Queue, Roster, Status, WorkerPage};
use crate::trace::Timeline;

/// Who is asked. A report reads the whole ledger, which takes its time.
const POOL: Service = Service { name: "pool", start: "gristmill pool", time_max: Duration::from_secs(120) };
/// Tasks in one answer about the queue.
pub const QUEUE_MAX: u32 = 1_000;
/// Characters of the reason for a ban.
pub const REASON_CHARS_MAX: usize = 200;

/// What a pool is asked or told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// What it does.
    Status,
    /// A page of its workers.
    Workers {
        /// After this address.
        after: Option<Address>,
    },
    /// The tasks that wait.
    Queue {
        /// At most so many, up to [`QUEUE_MAX`].
        limit: u32,
    },
    /// Why something does not move.
    Explain(Subject),
    /// What happened to a task.
    Trace(TaskId),
    /// To give a worker no more work, from now on and after a restart, and to take back what it has.
    Ban {
        /// Who.
        worker: Address,
        /// Why, for the worker and for `workers`.
        reason: String,
    },
    /// To let a banned worker come back, whoever banned it.
    Unban {
        /// Who.
        worker: Address,
    },
    /// To take no new deals, finish those it has, and end; also after a restart.
    Drain,
    /// To take new deals again.
    Resume,
    /// The settings that hold.
    Settings,
    /// To read the settings again: what they say holds from now on, or, where anything is wrong with them, nothing changes.
    Reload,
    /// What was done for whom, from the first deal on.
    Report(By),
    /// The metrics, in the text exposition format.
    Metrics,
    /// Who belongs to it.
    Members,
    /// To make an invitation.
    Invite(InviteAsk),
    /// To withdraw an invitation.
    Withdraw {
        /// The first digits of its token's hash.
        id: String,
    },
    /// To change who may what.
    Deed(Deed),
}

/// What kind of invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteAsk {
    /// For this group, which is made if there is none.
    pub group: Option<String>,
    /// For this user, which is made if there is none; `None`: for a new one.
    pub user: Option<String>,
    /// Lets a key in that asks for work.
    pub requester: bool,
    /// Lets a worker in.
    pub worker: bool,
    /// The workers are for the group alone.
    pub exclusive: bool,
    /// Machines that it lets in.
    pub uses: u32,
    /// For how long it is good, in seconds.
    pub expires_s: u64,
    /// It is for users of this machine, where nobody else can dial the pool.
    pub this_machine: bool,
}

/// What is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A task.
    Task(TaskId),
    /// A worker.
    Worker(Address),
    /// A job, by its request's hash; or a deal.
    Job(B256),
}

/// What a pool answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What it does, after what it was told.
    Status(Box<Status>),
    /// Workers.
    Workers(WorkerPage),
    /// Tasks that wait.
    Queue(Queue),
    /// Why something does not move, or what was done.
    Explain(Cause),
    /// What was done for whom.
    Report(Box<Report>),
    /// What happened to a task.
    Trace(Box<Timeline>),
    /// What holds.
    Settings(Box<Held>),
    /// What became different.
    Reloaded(Reloaded),
    /// Metrics.
    Metrics(String),
    /// Who belongs to it.
    Members(Box<Roster>),
    /// An invitation.
    Invited(Invited),
}

/// What another reading of the settings did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What became different.
    pub changes: Vec<Change>,
    /// Why what that means for the ledger does not stand there yet; the pool tries again.
    pub trouble: Option<String>,
}

/// Asks the pool whose folder (of [`crate::PoolConfig::data_dir`]) this is. Blocks: for a moment, or as long as a report takes.
///
/// # Errors
/// [`ControlError`].
pub fn ask(folder: &Path, ask: &Ask) -> Result<Answer, ControlError> {
    socket::ask(POOL, folder, ask)
}

/// The error when the answer is to another question.
pub fn other_question(folder: &Path) -> ControlError {
    let text = "something else was asked".to_owned();
    ControlError::Refused { service: POOL, folder: folder.to_path_buf(), text }
}

/// The error when no pool runs in `folder`.
pub fn not_running(folder: PathBuf) -> ControlError {
    ControlError::NotRunning { service: POOL, folder }
}

/// Listens, and passes on what is asked.
pub(crate) fn listen(folder: &Path, queries: mpsc::Sender<Query>) -> Result<Listening, PoolError> {
    Ok(socket::listen(POOL, folder, move |ask| pass_on(ask, queries.clone()))?)
}

/// Has the pool's loop answer.
pub(crate) async fn pass_on(ask: Ask, queries: mpsc::Sender<Query>) -> Result<Answer, String> {
    let stopping = || "the pool is stopping".to_owned();
    let (reply, answer) = oneshot::channel();
    queries.send(Query::Operator(ask, reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}
