//! Build and test the applications.

use anyhow::Result;

use crate::step::{cargo, command, run_steps};
use crate::{check, images};

/// Applications in `apps/`, each with a `test.sh`; `wasm.sh` builds them.
const APPS: [&str; 4] = ["compare-numbers", "compare-pixels", "efast", "primes"];

/// Runs each application's own tests with the host build.
pub fn test() -> Result<()> {
    for app in APPS {
        command("bash", &["test.sh"]).current_dir(&crate::root().join("apps").join(app)).run()?;
    }
    Ok(())
}

/// Rebuilds each module from source and fails if its bytes differ from what is checked in.
pub fn rebuild() -> Result<()> {
    for app in APPS {
        command("bash", &["apps/wasm.sh", app, "--check"]).run()?;
    }
    Ok(())
}

/// Builds and checks all: modules, images, and what the images compute.
pub fn all() -> Result<()> {
    run_steps(&[
        ("modules", &rebuild),
        ("modules: tests", &test),
        ("images", &|| images::build(&[])),
        ("gristmill", &|| cargo(&["build", "--release", "--locked"])),
        ("images: checks", &|| check::check(&[])),
    ])
}
