//! Have the container runtimes that the tests run beside our own.

use std::path::Path;

use anyhow::{Result, bail};

use crate::step::command;

/// Programs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 2] = [("crun", "crun"), ("runc", "runc")];
/// Those that only the slow tests run.
const SLOW_PROGRAMS: [(&str, &str); 2] = [("podman", "podman"), ("conmon", "conmon")];

/// Installs what is missing, where that can be done without asking anybody, and says what is missing still.
pub fn require(slow: bool) -> Result<()> {
    let wanted = || PROGRAMS.into_iter().chain(SLOW_PROGRAMS.into_iter().filter(|_| slow));
    let packages = missing(wanted());
    if packages.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["-qq", "-y", "--no-install-recommends", "install"];
    arguments.extend(&packages);
    // Without root or without Debian's packages it fails, and what is missing is said below.
    let tried = command("apt-get", &arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
    let packages = missing(wanted());
    if packages.is_empty() {
        return Ok(());
    }
    let why = tried.err().map_or_else(String::new, |error| format!("\n{error:#}"));
    bail!(
        "the tests of containers run other runtimes too, and some are missing: install {0} (Debian, as root: apt-get \
         install {0}){why}",
        packages.join(" ")
    );
}

/// The packages of those that are not in `PATH`, nor where Debian has what not everybody's `PATH` names.
fn missing(wanted: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<&'static str> {
    let is_there = |program: &str| {
        ["/usr/sbin", "/usr/local/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file())
            || command(program, &["--version"]).output().is_ok()
    };
    wanted.filter(|(program, _)| !is_there(program)).map(|(_, package)| package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_by_its_package() {
        assert_eq!(missing([("cargo", "cargo"), ("no-such-runtime", "runtimes")].into_iter()), ["runtimes"]);
    }
}
