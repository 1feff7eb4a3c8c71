//! Run the applications that are container images as their READMEs say, on a network of this machine, and look at what comes out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::images;
use crate::step::{command, run_steps};

/// How a command in a README begins.
const RUN: &str = "    gristmill run ";
/// What the network prints last before it is of use.
const READY: &str = "workers";
/// Workers of the network: two more than the default confidence needs to agree.
const WORKERS: &str = "5";

/// Checks the named applications, or all whose images are built.
pub fn check(names: &[&str]) -> Result<()> {
    let built = |name: &String| images::target().join(format!("{name}.oci.tar")).is_file();
    let names: Vec<String> = match names {
        [] => images::all()?.into_iter().filter(built).collect(),
        named => named.iter().map(|name| (*name).to_owned()).collect(),
    };
    if let Some(missing) = names.iter().find(|name| !built(name)) {
        bail!("there is no image of {missing}: `cargo xtask apps images {missing}` builds it");
    }
    if names.is_empty() {
        bail!("no image is built: `cargo xtask apps images` builds them");
    }
    let place = images::target().join("check");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let network = Network::start(&place)?;
    let checks: Vec<_> = names.iter().map(|name| (name.as_str(), || check_one(name, &network, &place))).collect();
    let steps: Vec<(&str, &dyn Fn() -> Result<()>)> =
        checks.iter().map(|(name, check)| (*name, check as &dyn Fn() -> Result<()>)).collect();
    run_steps(&steps)
}

/// Makes the example, runs the README's first command, and has `check.sh` look at the results.
fn check_one(name: &str, network: &Network, place: &Path) -> Result<()> {
    let folder = crate::root().join("apps").join(name);
    let example = folder.join("example");
    for (program, script) in [("sh", "make.sh"), ("python3", "make.py")] {
        if example.join(script).is_file() {
            command(program, &[script]).current_dir(&example).run()?;
        }
    }
    let results = place.join(name);
    let text = format!(
        "{} --data-dir '{}' --out '{}'",
        readme_command(&folder.join("README.md"))?,
        network.folder.display(),
        results.display(),
    );
    // The README means cargo's usual folder.
    let text = text.replace(" target/apps/", &format!(" {}/", images::target().display()));
    let path = std::env::var("PATH").unwrap_or_default();
    let own = network.program.parent().unwrap_or(Path::new(".")).display().to_string();
    command("sh", &["-c", &text]).env("PATH", format!("{own}:{path}")).run()?;
    command("sh", &["check.sh", &results.display().to_string()]).current_dir(&folder).run()
}

/// The first `gristmill run` of a page, its continued lines joined.
fn readme_command(page: &Path) -> Result<String> {
    let text = fs::read_to_string(page).with_context(|| format!("{} is missing", page.display()))?;
    command_of(&text).with_context(|| format!("{} has no line `{}...`", page.display(), RUN))
}

fn command_of(page: &str) -> Option<String> {
    let mut words = String::new();
    for line in page.lines().skip_while(|line| !line.starts_with(RUN)) {
        match line.trim().strip_suffix('\\') {
            Some(part) => words.push_str(part),
            None => {
                words.push_str(line.trim());
                return Some(words);
            }
        }
    }
    None
}

/// `gristmill up`, stopped when it is dropped.
struct Network {
    program: PathBuf,
    folder: PathBuf,
    process: Child,
}

impl Network {
    fn start(place: &Path) -> Result<Self> {
        let program = images::target().with_file_name("release").join("gristmill");
        if !program.is_file() {
            bail!("there is no {}: `cargo build --release` builds it", program.display());
        }
        let folder = place.join("network");
        let log_path = place.join("network.log");
        let log = fs::File::create(&log_path).with_context(|| format!("cannot make {}", log_path.display()))?;
        let mut process = Command::new(&program)
            .args(["up", "--workers", WORKERS, "--data-dir"])
            .arg(&folder)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = process.stdout.take().context("the network has no output")?;
        let network = Self { program, folder, process };
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.starts_with(READY)));
        if !ready {
            bail!("the network did not start; {} says why", log_path.display());
        }
        // It may go on printing: somebody has to read that.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Asked, it ends its tasks' programs too.
        if command("kill", &["-TERM", &self.process.id().to_string()]).run().is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_of_a_page_is_found_whole() {
        let page =
            "# X\n\n    cargo xtask apps images x\n    gristmill run a \\\n        --arg b\n\n    gristmill run c\n";
        assert_eq!(command_of(page).as_deref(), Some("gristmill run a --arg b"));
        assert_eq!(command_of("# X\n\ngristmill run a\n"), None);
    }
}
