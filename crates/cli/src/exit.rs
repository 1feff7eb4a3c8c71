//! What a command ends with.

use std::process::ExitCode;

/// The exit codes, for `--help`.
pub const HELP: &str = "\
Exit codes: 0 done; 1 an error, described on standard error; 2 wrong usage; 3 the job is over, but some of its items or \
tasks failed; 4 the files are not what the ledger settled; 130 interrupted with Ctrl-C.

The environment variable GRISTMILL_LOG (such as `info` or `gristmill_hub=debug`) makes the program talk on standard error; \
with GRISTMILL_LOG_FORMAT=json each line of that is a JSON object.";

/// How a command ended, when it did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok,
    /// It could not be done.
    Error,
    /// The job is over; items or tasks of it failed.
    Failed,
    /// Files are not what the ledger settled.
    NotVerified,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Failed => 3,
            Self::NotVerified => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
