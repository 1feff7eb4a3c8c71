//! Say why a guest stops before it returns.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::execution::{HostFault, HostFaultKind};
use crate::preview1::errno::Errno;

/// A reason to end the run inside a call of the guest to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The guest called `proc_exit`, or raised a signal (128 + its number).
    Exit(i32),
    /// The call would cost more fuel than there is left.
    OutOfFuel,
    /// Linear memory or a table would grow past its cap.
    OutOfMemory,
    /// The output would hold more bytes than allowed.
    OutputLimit,
    /// The output would hold more files and folders than allowed.
    FileLimit,
    /// The host could not do its part: never a result.
    Host(HostProblem),
}

/// What went wrong on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HostProblem {
    /// Reading or writing failed, or memory was refused.
    Io(String),
    /// An input is not what it was when the run began.
    InputChanged(String),
}

impl Stop {
    /// The host could not do `what` because of `error`.
    pub(crate) fn io(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::Host(HostProblem::Io(format!("{what}: {error}")))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "the program exited with code {code}"),
            Self::OutOfFuel => f.write_str("the fuel limit was reached"),
            Self::OutOfMemory => f.write_str("the memory limit was reached"),
            Self::OutputLimit => f.write_str("the output size limit was reached"),
            Self::FileLimit => f.write_str("the limit of output files was reached"),
            Self::Host(problem) => problem.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(reason) => f.write_str(reason),
            Self::InputChanged(name) => write!(f, "the input {name} changed while it was read"),
        }
    }
}

impl From<HostProblem> for HostFault {
    fn from(problem: HostProblem) -> Self {
        let kind = match problem {
            HostProblem::Io(_) => HostFaultKind::Io,
            HostProblem::InputChanged(_) => HostFaultKind::InputChanged,
        };
        Self { kind, reason: problem.to_string() }
    }
}

/// How a call of the guest fails: with a number the guest sees, or for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// The guest sees this number and goes on.
    Errno(Errno),
    /// The run ends.
    Stop(Stop),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}
