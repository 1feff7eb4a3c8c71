//! Install what tests need from Python's package index, from pinned lists, into virtual environments below `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::command;

/// The list with HTCondor's library.
const ORACLE: &str = "crates/classad/oracle/requirements.txt";
/// The list with the peers of the settlement's benchmark, and what runs them.
const PEERS: &str = "crates/network/benches/peers/requirements.txt";
const PEERS_SCRIPT: &str = "crates/network/benches/peers/peers.py";
/// What the lists need: HTCondor's library is published for these versions.
const NEEDED: &str = "Python 3.9 to 3.14";

/// Says clearly what is missing when Python is, or its module venv.
pub fn require() -> Result<()> {
    let advice = "(Debian: apt-get install python3-venv)";
    match Command::new("python3").args(["-c", "import ensurepip, venv"]).output() {
        Err(_) => {
            bail!("`python3` is missing: the tests of `classad` ask HTCondor's library, which needs {NEEDED} {advice}")
        }
        Ok(output) if !output.status.success() => {
            bail!("`python3` has no module venv: HTCondor's library goes into a virtual environment {advice}")
        }
        Ok(_) => Ok(()),
    }
}

/// The folder of the environment `target/NAME`, with the packages of a list in it; made anew when the list has changed.
pub fn environment(name: &str, list: &Path) -> Result<PathBuf> {
    let place = crate::root().join("target").join(name);
    let wanted = fs::read(list).with_context(|| format!("{} is missing", list.display()))?;
    let stamp = place.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(place);
    }
    require()?;
    let shown = place.display().to_string();
    command("python3", &["-m", "venv", "--clear", &shown])
        .run()
        .with_context(|| format!("cannot make a virtual environment in {shown}"))?;
    let pip = place.join("bin/pip").display().to_string();
    command(&pip, &["install", "--quiet", "--no-deps", "--requirement", &list.display().to_string()])
        .run()
        .with_context(|| format!("cannot install {} into {shown} with {NEEDED}", list.display()))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(place)
}

/// Installs HTCondor's library, and returns the Python that has it: what the tests and the benchmark of `classad` read as
/// `GRISTMILL_HTCONDOR_PYTHON`.
pub fn htcondor() -> Result<PathBuf> {
    Ok(environment("htcondor", &crate::root().join(ORACLE))?.join("bin/python"))
}

/// Items and tasks settled a second by us, and tasks a second by HyperQueue, Dask and Ray, in one run: each line says what it counts.
pub fn peers() -> Result<()> {
    let python = environment("peers", &crate::root().join(PEERS))?.join("bin/python").display().to_string();
    for [tasks, workers, trust, items] in
        [["1000", "4", "1", "0"], ["1000", "4", "1", "100"], ["1000", "4", "5", "100"]]
    {
        let what =
            ["bench", "--locked", "--profile", "release", "-p", "gristmill-network", "--bench", "settlement", "--"];
        command("cargo", &[what.as_slice(), &[tasks, workers, trust, items]].concat()).run()?;
    }
    command(&python, &[&crate::root().join(PEERS_SCRIPT).display().to_string()]).run()
}
