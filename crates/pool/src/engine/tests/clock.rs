//! The clock of the pool under test and of its ledger: it runs as the real one does, and can be moved ahead. Each test has its own.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::chain_of_hub::chain::GENESIS_TIME;

thread_local! {
    /// When the ledger began, as far as this thread goes.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static AHEAD_MS: Cell<u64> = const { Cell::new(0) };
}

/// Begins at the ledger's first block.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
    AHEAD_MS.set(0);
}

/// Unix time; `None` on a thread whose clock is the real one.
pub fn now_ms() -> Option<u64> {
    let elapsed = BEGAN.get()?.elapsed().as_millis() as u64;
    Some(GENESIS_TIME * 1_000 + elapsed + AHEAD_MS.get())
}

/// Moves it ahead.
pub fn jump(by: Duration) {
    AHEAD_MS.set(AHEAD_MS.get() + by.as_millis() as u64);
}
