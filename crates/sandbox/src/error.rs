//! Say why an execution could not even begin.

use std::path::PathBuf;

use gristmill_types::ContentId;

use crate::profile::ProfileError;

/// The sandbox could not begin. None of these is a result; an app that no host could run is one
/// ([`gristmill_result::Ending::NotRunnable`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The app's file cannot be read.
    #[error("cannot read the app {}", path.display())]
    App {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The app's file holds other bytes than the deal names.
    #[error("the app {} is not {expected}: its bytes hash to {got}", path.display())]
    AppMismatch {
        /// The file.
        path: PathBuf,
        /// The content id of the deal.
        expected: ContentId,
        /// What the file hashes to.
        got: ContentId,
    },
    /// An input is missing or is something that no app can be given.
    #[error("cannot use the input {}: {problem}", path.display())]
    Input {
        /// The host's file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An output folder cannot be used.
    #[error("cannot use the output folder {}: {problem}", path.display())]
    Output {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cache of compiled modules cannot be used.
    #[error("cannot use the cache of compiled modules {}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This host cannot run guests under the profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The request itself is malformed.
    #[error("the execution is malformed: {0}")]
    Malformed(String),
    /// The child process could not be started.
    #[error("cannot start the sandbox process {}", program.display())]
    Spawn {
        /// The executable.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
