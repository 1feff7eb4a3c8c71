//! Compile and test the contracts, and hold them against the checked-in artifacts.

use std::path::PathBuf;

use anyhow::Result;

use crate::npm;
use crate::step::command;

/// Where they are.
pub fn folder() -> PathBuf {
    crate::root().join("contracts")
}

/// forge's tests: unit, fuzz, invariants. The slow ones are the same with more runs: a million random steps and more.
pub fn test(slow: bool) -> Result<()> {
    npm::install(&folder())?;
    let profile = if slow { "slow" } else { "default" };
    command("node", &["build.mjs", "--test"]).current_dir(&folder()).env("FOUNDRY_PROFILE", profile).run()
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
