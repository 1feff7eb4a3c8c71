//! Says what went wrong, where, and what to do about it.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why the program could not finish.
#[derive(Debug)]
pub enum Failure {
    /// The command line does not make sense.
    Usage(String),
    /// The environment does not give what the command needs.
    Environment(String),
    /// A file could not be read or written.
    File { path: PathBuf, doing: &'static str, cause: ErrorKind },
    /// A file was read, but its content is not what it should be.
    Content { path: PathBuf, problem: String },
    /// The options and the data do not fit each other.
    Settings(String),
}

impl Failure {
    /// Whether the command line is to blame.
    pub fn is_usage(&self) -> bool {
        matches!(self, Failure::Usage(_))
    }

    /// A failure of the file system. The cause is named by its kind, because its number differs between systems.
    pub fn file(path: &Path, doing: &'static str, cause: &std::io::Error) -> Failure {
        Failure::File { path: path.to_path_buf(), doing, cause: cause.kind() }
    }

    /// A file with the wrong content.
    pub fn content(path: &Path, problem: impl Into<String>) -> Failure {
        Failure::Content { path: path.to_path_buf(), problem: problem.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(problem) => write!(out, "{problem}; `efast help` lists the options"),
            Failure::Environment(problem) | Failure::Settings(problem) => out.write_str(problem),
            Failure::File { path, doing, cause } => {
                write!(out, "cannot {doing} {}: {cause}", path.display())
            }
            Failure::Content { path, problem } => write!(out, "{}: {problem}", path.display()),
        }
    }
}
