//! Run the applications that are container images as their READMEs say, on a network of this machine, and look at what comes out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::step::{command, run_steps};
use crate::{direct, images};

/// How a command in a README begins.
const RUN: &str = "    gristmill run ";
/// What the network prints last before it is of use.
const READY: &str = "workers";
/// Workers of the network: two more than the default confidence needs to agree.
const WORKERS: u32 = 5;
/// Applications of the fast tests: the smallest images, whose items take a fraction of a second.
const QUICK: [&str; 2] = ["povray", "blast"];
/// Workers that unpack these: as many as have to agree.
const QUICK_WORKERS: u32 = 3;

/// Checks the named applications, or all.
pub fn check(names: &[&str]) -> Result<()> {
    let names = if names.is_empty() { images::all()? } else { names.iter().map(|name| (*name).to_owned()).collect() };
    check_all(&names, WORKERS)
}

/// Builds and checks two that are quick, as a part of the tests.
pub fn quick() -> Result<()> {
    images::build_older(&QUICK)?;
    check_all(&QUICK.map(str::to_owned), QUICK_WORKERS)
}

fn check_all(names: &[String], workers: u32) -> Result<()> {
    images::require_root()?;
    let built = |name: &&String| images::archive(name).is_file();
    if let Some(missing) = names.iter().find(|name| !built(name)) {
        bail!("there is no image of {missing}: `cargo xtask apps images {missing}` builds it");
    }
    let place = images::target().join("check");
    images::remove(&place)?;
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let network = Network::start(&place, workers)?;
    let checks: Vec<_> = names.iter().map(|name| (name.as_str(), || check_one(name, &network, &place))).collect();
    let steps: Vec<(&str, &dyn Fn() -> Result<()>)> =
        checks.iter().map(|(name, check)| (*name, check as &dyn Fn() -> Result<()>)).collect();
    run_steps(&steps)?;
    // Each worker has unpacked each image. After a failure all of it stays, to be looked at.
    let folder = network.folder.clone();
    drop(network);
    images::remove(&folder)
}

/// Makes the example, runs the README's first command, compares what comes out with a direct run of the same, and has `check.sh`
/// look at whether it is right.
fn check_one(name: &str, network: &Network, place: &Path) -> Result<()> {
    let folder = crate::root().join("apps").join(name);
    let example = folder.join("example");
    for (program, script) in [("sh", "make.sh"), ("python3", "make.py")] {
        if example.join(script).is_file() {
            command(program, &[script]).current_dir(&example).run()?;
        }
    }
    let job = readme_command(&folder.join("README.md"))?;
    let results = place.join(name);
    let started = Instant::now();
    network.run(&job, &results)?;
    let through_network = started.elapsed();
    let direct = place.join(format!("{name}.direct"));
    fs::create_dir(&direct).with_context(|| format!("cannot make {}", direct.display()))?;
    let program = direct::Program::unpack(&images::archive(name), &direct.join("root"))?;
    let started = Instant::now();
    direct::compare(&direct::Job::of(&job)?, &program, &direct, &results)?;
    eprintln!(
        "{name}: {:.0} s by the network; the same bytes directly, in {:.1} s",
        through_network.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    command("sh", &["check.sh", images::text(&results)?, images::text(program.root())?]).current_dir(&folder).run()?;
    images::remove(&direct)
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
    fn start(place: &Path, workers: u32) -> Result<Self> {
        let program = images::target().with_file_name("release").join("gristmill");
        if !program.is_file() {
            bail!("there is no {}: `cargo build --release` builds it", program.display());
        }
        let folder = place.join("network");
        let log_path = place.join("network.log");
        let log = fs::File::create(&log_path).with_context(|| format!("cannot make {}", log_path.display()))?;
        let mut process = Command::new(&program)
            .args(["up", "--workers", &workers.to_string(), "--data-dir"])
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

    /// Runs a README's command here, with its results in the folder `results`.
    fn run(&self, job: &str, results: &Path) -> Result<()> {
        let text = format!("{job} --data-dir '{}' --out '{}'", self.folder.display(), results.display());
        // The README means cargo's usual folder.
        let text = text.replace(" target/apps/", &format!(" {}/", images::target().display()));
        let path = std::env::var("PATH").unwrap_or_default();
        let own = self.program.parent().unwrap_or(Path::new(".")).display().to_string();
        command("sh", &["-c", &text]).env("PATH", format!("{own}:{path}")).run()
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
