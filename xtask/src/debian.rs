//! Make a bare Debian in a folder, of the packages that this machine gets its own from.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::step::{Program, command};

/// The longest that a bare Debian takes, in seconds, on a slow line.
const SECONDS_MAX: &str = "1800";
/// Programs that it takes, and the package of each.
const PROGRAMS: [(&str, &str); 4] =
    [("debootstrap", "debootstrap"), ("apt-get", "apt"), ("unshare", "util-linux"), ("setpriv", "util-linux")];

/// What this machine lacks to make one, each a sentence; empty when it can.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !command("id", &["-u"]).output().is_ok_and(|user| user.trim() == "0") {
        missing.push("it has to be root".to_owned());
    }
    if !Path::new("/etc/debian_version").exists() {
        missing.push("this is neither Debian nor Ubuntu".to_owned());
    }
    for (program, package) in PROGRAMS {
        if command(program, &["--version"]).output().is_err() {
            missing.push(format!("there is no program {program}: `apt-get install {package}`"));
        }
    }
    missing
}

/// The release that runs on this machine, such as `bookworm`.
pub fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no VERSION_CODENAME")?.trim_matches('"').to_owned())
}

/// Where this machine gets the packages of a release from.
pub fn mirror(release: &str) -> Result<String> {
    let format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
    let listed = command("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]).output()?;
    let wanted = format!("{release} main ");
    let mirror = listed.lines().find_map(|line| line.strip_prefix(&wanted));
    let advice = || format!("apt knows no source of {release} main: add one, and run `apt-get update`");
    mirror.map(str::to_owned).with_context(advice)
}

/// A program to be run with mounts and processes of its own, and what else `unshare` is told. All that it mounts and starts is gone
/// with it, when it ends, when its seconds are over, and when this program is killed.
pub fn alone(seconds: &str, unshare: &[&str], words: &[&str]) -> Program {
    const DIE_WITH_PARENT: [&str; 3] = ["--pdeathsig", "KILL", "--"];
    let mut all = DIE_WITH_PARENT.to_vec();
    all.extend(["timeout", "--kill-after=9", seconds, "setpriv"]);
    all.extend(DIE_WITH_PARENT);
    all.extend(["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
    all.extend(unshare);
    all.push("--");
    all.extend(words);
    command("setpriv", &all)
}

/// Makes `folder` a release of Debian with the packages that every system has, and those named. What is left of an attempt that failed lies beside
/// it, and is removed by the next.
pub fn bootstrap(release: &str, packages: &[&str], folder: &Path) -> Result<()> {
    let unfinished = folder.with_extension("part");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let started = Instant::now();
    let place = unfinished.to_str().with_context(|| format!("{} is no UTF-8", unfinished.display()))?;
    let (mirror, include) = (mirror(release)?, format!("--include={}", packages.join(",")));
    let mut words = vec!["debootstrap", "--variant=minbase"];
    if !packages.is_empty() {
        words.push(&include);
    }
    words.extend([release, place, &mirror]);
    // What a power cut spoils is made anew; dpkg need not wait for the disk after each package.
    alone(SECONDS_MAX, &["--mount-proc"], &words).env("DPKG_FORCE", "unsafe-io").run()?;
    fs::rename(&unfinished, folder).with_context(|| format!("cannot make {}", folder.display()))?;
    eprintln!("{}: {release} from {mirror} in {:.0} s", folder.display(), started.elapsed().as_secs_f64());
    Ok(())
}
