//! Install what the tests need from npm, from the lock files, into the folders that use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::command;

/// The folder whose lock file has PoCo's published contracts.
const ORACLE: &str = "contracts/oracle";

/// Says clearly what is missing when node or npm are.
pub fn require() -> Result<()> {
    for program in ["node", "npm"] {
        if Command::new(program).arg("--version").output().is_err() {
            bail!(
                "`{program}` is missing: the contract and client tests need Node.js 20 or newer with npm (Debian: apt-get install nodejs npm)"
            );
        }
    }
    Ok(())
}

/// `npm ci` in `folder`, unless what is installed was installed from the same lock file.
pub fn install(folder: &Path) -> Result<()> {
    require()?;
    let lock = fs::read(folder.join("package-lock.json")).context("package-lock.json is missing")?;
    let stamp = folder.join("node_modules/.installed-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    command("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(folder).run()?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs PoCo's published contracts, and returns where they are: what the hub's tests read as `GRISTMILL_POCO_PACKAGE`.
pub fn published_poco() -> Result<PathBuf> {
    let folder = crate::root().join(ORACLE);
    install(&folder)?;
    Ok(folder.join("node_modules/@iexec/poco"))
}
