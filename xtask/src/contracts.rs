//! Compile and test the contracts, and hold them against the checked-in artifacts.

use std::path::PathBuf;

use anyhow::Result;

use crate::npm;
use crate::step::command;

fn folder() -> PathBuf {
    crate::root().join("contracts")
}

/// forge's tests: unit, fuzz, invariants.
pub fn test() -> Result<()> {
    npm::install(&folder())?;
    command("node", &["build.mjs", "--test"]).current_dir(&folder()).run()
}

/// Compiles and fails if an artifact differs from what is checked in.
pub fn compare() -> Result<()> {
    npm::install(&folder())?;
    command("node", &["build.mjs", "--check"]).current_dir(&folder()).run()
}

/// Compiles and writes the artifacts.
pub fn write() -> Result<()> {
    npm::install(&folder())?;
    command("node", &["build.mjs"]).current_dir(&folder()).run()
}
