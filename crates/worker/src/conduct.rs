//! Behave, or misbehave in one of the ways that the market must survive.
//!
//! Only demonstrations and tests make a worker misbehave; no flag of `gristmill worker` does. They speak the same
//! protocol with the same keys and stakes as everybody, so what catches them is what would catch a stranger.

use std::time::Duration;

/// How late a slow worker begins.
pub const SLOW_START: Duration = Duration::from_millis(700);

/// What a worker does with its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    /// Runs what it is given and says what came out.
    #[default]
    Honest,
    /// Honest, on a machine that comes to each task [`SLOW_START`] late: whoever is not slow is asked before it.
    Slow,
    /// Runs nothing and makes a result up.
    Liar,
    /// Runs nothing, waits for somebody's commitment on the ledger and commits to the same hash, under a seal that
    /// cannot be right.
    Copier,
    /// Runs and commits, then never reveals.
    Silent,
    /// Takes leases and never answers.
    Mute,
}

impl Conduct {
    /// It says what came out, however late.
    pub fn is_honest(self) -> bool {
        matches!(self, Self::Honest | Self::Slow)
    }
}
