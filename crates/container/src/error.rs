//! Say why a container could not even begin.

use std::path::PathBuf;

/// The container could not begin. None of these is a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The request itself is malformed.
    #[error("the container is malformed: {0}")]
    Malformed(String),
    /// An input is missing or is something that no program can be given.
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
    /// A device is not on this host, or is nothing that a container can be given.
    #[error("cannot give the container the device {name}: {problem}")]
    Device {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The helper process could not be started.
    #[error("cannot start the container process {}", program.display())]
    Spawn {
        /// The executable.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This host does not give what a container needs.
    #[error("this host cannot run containers: {0}")]
    Unable(String),
}
