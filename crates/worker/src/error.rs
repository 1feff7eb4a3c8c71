//! What ends a worker.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use gristmill_datadir::{DataDirError, DbError, FileError};
use gristmill_hub::{HubError, OutboxError};
use gristmill_protocol::control::ListenError;
use gristmill_protocol::link::LinkError;
use gristmill_sandbox::SandboxError;

use crate::config::POOLS_MAX;

/// A worker could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Its sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its pool turned it away for good, or is not the one its address names.
    #[error(transparent)]
    Link(LinkError),
    /// The ledger.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Its transactions.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Its control socket.
    #[error(transparent)]
    Control(#[from] ListenError),
    /// Its status page.
    #[error("cannot show the status page at {address}: choose another port with --status-page")]
    StatusPage {
        /// Where.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The thread that looks after the machine.
    #[error("cannot start the thread that looks after the machine")]
    Guard(#[source] io::Error),
    /// A number of pools that no worker works for.
    #[error("a worker works for 1 to {POOLS_MAX} pools, not for {0}")]
    Pools(usize),
    /// Two of the pools are one.
    #[error("a pool is named twice: two of the addresses have the same key")]
    SamePool,
    /// Pools of one worker are on two ledgers.
    #[error(
        "the pool is on {met}, the worker's other pools on {known}: run a second worker for it, with a --data-dir of its own"
    )]
    OtherLedger {
        /// The ledger of the first pool that connected.
        known: String,
        /// This pool's.
        met: String,
    },
    /// A file of an earlier version could not be moved to its new place.
    #[error("cannot move {} to {}", from.display(), to.display())]
    Move {
        /// Where it is.
        from: PathBuf,
        /// Where it belongs.
        to: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The pool's welcome makes no sense.
    #[error("the pool's welcome is refused: {0}")]
    Welcome(String),
}

impl WorkerError {
    /// Whether asking again later may help: the ledger was not reached, or did not answer in time.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_transient(),
            Self::Outbox(OutboxError::Ledger(error)) => error.is_transient(),
            _ => false,
        }
    }
}
