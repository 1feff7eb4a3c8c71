//! Choose which program makes the containers: our own helper, or one that the owner of the host trusts more.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::ContainerError;

/// Where programs are looked for after `PATH`, which for ordinary users often lacks the folders of the system's own.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Time in which a program says its version, and bytes of that.
const VERSION_TIME_MAX: Duration = Duration::from_secs(10);
const VERSION_BYTES_MAX: u64 = 4096;

/// Which program makes the containers.
///
/// As text it is a name, `own`, `runc`, `crun` or `podman`, and after a colon where that program is, if `PATH` does not tell:
/// `crun:/opt/crun/bin/crun`.
///
/// # What an owner gains or loses
/// Programs see the same whichever it is, so results agree. Ours is the default: it needs no other program and is the fastest by
/// far. With runc or crun the program is confined by what many others use, review and repair, and what the host's policy allows
/// them (AppArmor and SELinux know them by name) holds; that costs 15 ms a run with crun and 30 with runc. Podman adds its
/// configuration's hooks, labels and annotations, and 65 ms. What each of them does, and which guarantees are not theirs, is in the
/// crate's documentation. The owner has to keep such a program up to date: it runs as whom containers run as, in namespaces of its
/// own that are gone after the run, but it sees the host's files as that user does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Runtime {
    /// Our own helper.
    #[default]
    Own,
    /// `runc`, where it is if not in `PATH`.
    Runc(Option<PathBuf>),
    /// `crun`, likewise.
    Crun(Option<PathBuf>),
    /// `podman`, likewise. It has crun or runc do the work, whichever is there.
    Podman(Option<PathBuf>),
}

/// What is no [`Runtime`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no container runtime: it is `own`, `runc`, `crun` or `podman`, or one of the last three with its absolute \
     path, such as `runc:/usr/sbin/runc`"
)]
pub struct UnknownRuntime(String);

impl FromStr for Runtime {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None => (text, None),
        };
        let is_absolute = path.as_ref().is_none_or(|path| path.is_absolute());
        match (name, path) {
            ("own", None) => Ok(Self::Own),
            ("runc", path) if is_absolute => Ok(Self::Runc(path)),
            ("crun", path) if is_absolute => Ok(Self::Crun(path)),
            ("podman", path) if is_absolute => Ok(Self::Podman(path)),
            _ => Err(UnknownRuntime(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Runtime {
    type Error = UnknownRuntime;

    fn try_from(text: String) -> Result<Self, UnknownRuntime> {
        text.parse()
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path) = match self {
            Self::Own => ("own", &None),
            Self::Runc(path) => (RUNC.name, path),
            Self::Crun(path) => (CRUN.name, path),
            Self::Podman(path) => (PODMAN.name, path),
        };
        match path {
            Some(path) => write!(f, "{name}:{}", path.display()),
            None => f.write_str(name),
        }
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> Self {
        runtime.to_string()
    }
}

/// A program that is looked for, and the oldest version that does what is needed.
struct Wanted {
    name: &'static str,
    oldest: (u64, u64),
}

/// Before 1.1 runc cannot say which number a refused system call fails with.
const RUNC: Wanted = Wanted { name: "runc", oldest: (1, 1) };
/// Before 1.0 crun cannot either, and knows no `--cgroup-manager=disabled`.
const CRUN: Wanted = Wanted { name: "crun", oldest: (1, 0) };
/// Before 4.0 podman has other options.
const PODMAN: Wanted = Wanted { name: "podman", oldest: (4, 0) };

/// The programs of a runtime that is not our own, found: what the helper is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Foreign {
    /// Podman, when it is asked for.
    pub(crate) podman: Option<PathBuf>,
    /// What makes the container: runc or crun.
    pub(crate) maker: PathBuf,
    pub(crate) maker_is_crun: bool,
}

impl Foreign {
    /// The name that an owner knows it by.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.podman, self.maker_is_crun) {
            (Some(_), _) => PODMAN.name,
            (None, true) => CRUN.name,
            (None, false) => RUNC.name,
        }
    }

    /// Memory and processes of its own that a run's group has to have room for, most of it only until the program begins.
    pub(crate) fn needs(&self) -> (u64, u64) {
        match (&self.podman, self.maker_is_crun) {
            (Some(_), _) => (384 << 20, 128),
            (None, true) => (32 << 20, 16),
            (None, false) => (128 << 20, 64),
        }
    }
}

impl Runtime {
    /// Looks for its programs and asks them for their versions. None for our own.
    pub(crate) fn find(&self) -> Result<Option<Foreign>, ContainerError> {
        let (podman, maker) = match self {
            Self::Own => return Ok(None),
            Self::Runc(path) => (None, found(&RUNC, path.as_deref()).map(|maker| (maker, false))),
            Self::Crun(path) => (None, found(&CRUN, path.as_deref()).map(|maker| (maker, true))),
            Self::Podman(path) => {
                let podman = found(&PODMAN, path.as_deref()).map_err(ContainerError::Unable)?;
                let maker = found(&CRUN, None).map(|maker| (maker, true)).or_else(|no_crun| {
                    let runc = found(&RUNC, None).map(|maker| (maker, false));
                    runc.map_err(|no_runc| format!("podman needs crun or runc: {no_crun}; {no_runc}"))
                });
                (Some(podman), maker)
            }
        };
        let (maker, maker_is_crun) = maker.map_err(ContainerError::Unable)?;
        Ok(Some(Foreign { podman, maker, maker_is_crun }))
    }
}

/// The program, which is of an age that will do; otherwise why not, in words.
fn found(wanted: &Wanted, told: Option<&Path>) -> Result<PathBuf, String> {
    let Wanted { name, oldest } = wanted;
    let path = match told {
        Some(path) => path.to_owned(),
        None => search(name).ok_or_else(|| {
            let folders = FOLDERS.join(", ");
            format!(
                "there is no program {name}, in PATH or in {folders}: install it (Debian: apt-get install {name}), or say \
                 where it is, `{name}:/PATH`"
            )
        })?,
    };
    let at = path.display();
    let said = version_words(&path).map_err(|problem| format!("`{at} --version` {problem}"))?;
    let first = said.lines().next().unwrap_or("").trim();
    let version = version(first).filter(|_| first.starts_with(name));
    let version = version.ok_or_else(|| format!("`{at} --version` says `{first}`, which is no version of {name}"))?;
    if version < *oldest {
        let (major, minor) = oldest;
        return Err(format!("{at} is too old: `{first}`, and {major}.{minor} is the oldest that will do"));
    }
    Ok(path)
}

fn search(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    // Of folders that are this process's own a helper, which begins at `/`, would find nothing.
    let mut programs = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    programs.find(|program| nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_ok() && program.is_file())
}

/// What a program says of its version, or what it does instead.
fn version_words(program: &Path) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < VERSION_TIME_MAX => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let (_, _) = (child.kill(), child.wait());
                return Err(format!("does not end within {} s", VERSION_TIME_MAX.as_secs()));
            }
        }
    };
    let read = |pipe: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        pipe.map(|pipe| pipe.take(VERSION_BYTES_MAX).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let said = read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
    if status.success() {
        return Ok(said);
    }
    Err(format!("ended with {status}: {}", last_lines(&read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read)))))
}

/// The last lines of what a program said, as one.
pub(crate) fn last_lines(text: &str) -> String {
    const LINES: usize = 4;
    const CHARS: usize = 600;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines[lines.len().saturating_sub(LINES)..].join(" / ");
    let over = joined.chars().count().saturating_sub(CHARS);
    joined.chars().skip(over).collect()
}

/// The first two numbers of the first word that begins with one: `crun version 1.8.1` has 1 and 8.
fn version(line: &str) -> Option<(u64, u64)> {
    let word = line.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut numbers = word.split(|each: char| !each.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_read_as_it_is_written() {
        let path = || Some(PathBuf::from("/opt/a:b/crun"));
        for (text, runtime) in [
            ("own", Runtime::Own),
            ("runc", Runtime::Runc(None)),
            ("crun", Runtime::Crun(None)),
            ("podman", Runtime::Podman(None)),
            ("runc:/opt/a:b/crun", Runtime::Runc(path())),
            ("crun:/opt/a:b/crun", Runtime::Crun(path())),
            ("podman:/opt/a:b/crun", Runtime::Podman(path())),
        ] {
            assert_eq!(text.parse().as_ref(), Ok(&runtime));
            assert_eq!(runtime.to_string(), text);
            let json = serde_json::to_string(&runtime).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Runtime>(&json).unwrap(), runtime);
        }
        for text in ["", "docker", "Runc", "own:/usr/bin/own", "runc:", "crun:bin/crun", "/usr/bin/crun", "runc "] {
            let error = text.parse::<Runtime>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("podman"), "{error}");
            assert!(serde_json::from_str::<Runtime>(&format!("\"{text}\"")).is_err());
        }
        assert_eq!(Runtime::default(), Runtime::Own);
    }

    #[test]
    fn versions_are_read_as_these_programs_write_them() {
        for (line, expected) in [
            ("runc version 1.1.5+ds1", Some((1, 1))),
            ("runc version 1.2.0-rc.1+dev", Some((1, 2))),
            ("crun version 1.14.4-dirty", Some((1, 14))),
            ("podman version 5.4.0", Some((5, 4))),
            ("runc version 1", None),
            ("runc version unknown", None),
            ("", None),
        ] {
            assert_eq!(version(line), expected, "{line}");
        }
    }

    #[test]
    fn of_what_was_said_the_last_lines_are_told() {
        assert_eq!(last_lines("a\n\n b \nc\nd\ne\n"), "b / c / d / e");
        let long = last_lines(&"é".repeat(1000));
        assert_eq!(long.chars().count(), 600);
    }
}
