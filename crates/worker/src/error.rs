//! What ends a worker.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use gristmill_datadir::{DataDirError, DbError, FileError};
use gristmill_hub::{HubError, OutboxError};
use gristmill_protocol::link::LinkError;
use gristmill_sandbox::SandboxError;

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
    #[error("cannot listen on the control socket {}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
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
    /// The pool's welcome makes no sense.
    #[error("the pool's welcome is refused: {0}")]
    Welcome(String),
}
