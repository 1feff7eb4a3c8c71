//! Run iExec's own clients, unmodified, against a network of ours.

use anyhow::{Context, Result, bail};

use crate::npm;
use crate::step::{cargo, command, run_steps};

/// Where the clients' lock file and the flows are.
const FOLDER: &str = "clients/iexec";
/// What can be run alone.
const PARTS: [&str; 3] = ["8", "9", "replicated"];

/// Installs the clients, builds the program, and runs `parts`, or all of them: the command lines 8.24.0 and 9.0.1, and the
/// replicated task by ethers.
pub fn end_to_end(parts: &[&str]) -> Result<()> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("iexec-e2e has no part `{unknown}`: it has {}", PARTS.join(", "));
    }
    let folder = crate::root().join(FOLDER);
    run_steps(&[
        ("iExec: install the clients", &|| npm::install(&folder)),
        ("iExec: build gristmill", &|| cargo(&["build", "--release", "--locked", "-p", "gristmill-cli"])),
        ("iExec: flows", &|| {
            let program = built_program()?;
            let mut args = vec![
                "clients/iexec/e2e.mjs",
                program.as_str(),
                "apps/efast/efast.wasm",
                "apps/efast/data/sp500_prices.csv.gz",
            ];
            args.extend(parts);
            command("node", &args).run()
        }),
    ])
}

/// The program, which cargo puts beside this one, wherever its target folder is.
fn built_program() -> Result<String> {
    let program = std::env::current_exe().context("this program has no path")?.with_file_name("gristmill");
    Ok(program.display().to_string())
}
