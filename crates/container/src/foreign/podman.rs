//! Have podman make the container, with process 1 as what it takes for its runtime.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use nix::unistd::mkfifo;

use super::{Children, Given, Heard, ID, LINE_BYTES_MAX, Made, PLACE, ended, spawn};
use crate::oci;
use crate::rootfs::{Refused, make_folder, refused};
use crate::runtime::last_lines;

/// Has podman make the container: its store, its configuration, its hooks. What it takes for its runtime asks this process, which
/// has the real one do it; else the program would be the child of podman's monitor, which tells a signal as an exit code.
pub(super) fn make(
    podman: &Path,
    given: &Given<'_>,
    children: &mut Children<'_>,
    made: &Made,
    pipe: &OwnedFd,
) -> Result<(), Refused> {
    let place = Path::new(PLACE);
    let [ask, answer, empty] = ["ask", "answer", "empty"].map(|name| place.join(name));
    make_folder(&empty)?;
    let line = |path: &Path| -> Result<OwnedFd, Refused> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(refused("a line to podman"))?;
        open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
            .map_err(refused("a line to podman"))
    };
    let (asked, answered) = (line(&ask)?, line(&answer)?);
    // Podman wants no cgroups of runtimes by this name only, whatever they are.
    let runtime = place.join("crun");
    let script = format!(
        "#!/bin/sh\nfor word; do [ \"$word\" = create ] || continue\necho \"$*\" >{}\nread -r code <{}\nexit \"$code\"\ndone\n",
        ask.display(),
        answer.display()
    );
    fs::write(&runtime, script).map_err(refused("podman's runtime"))?;
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).map_err(refused("podman's runtime"))?;
    let [store, state, own, runtime, empty] =
        [place.join("store"), place.join("engine"), place.join("libpod"), runtime, empty]
            .map(|path| path.display().to_string());
    let global =
        ["--root", &store, "--runroot", &state, "--tmpdir", &own, "--storage-driver", "vfs", "--runtime", &runtime];
    let unmanaged =
        ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "run", "--detach", "--log-driver", "none"];
    let inherited =
        ["--cgroups", "disabled", "--network", "host", "--ipc", "host", "--uts", "host", "--pid", "private"];
    let said = place.join("podman.log");
    let file = fs::File::create(&said).map_err(refused("podman's log"))?;
    let args = [&global[..], &unmanaged, &inherited, &["--no-hosts", "--rootfs", &empty, "/starter"]].concat();
    let child = spawn(podman, &args, [given.null.as_fd(), given.null.as_fd(), file.as_fd()], &[])?;
    let mut is_created = false;
    loop {
        match children.wait(child, None, Some(asked.as_fd()))? {
            Heard::Asked => {
                let mut line = [0; LINE_BYTES_MAX];
                let count = nix::unistd::read(&asked, &mut line).map_err(refused("what podman asks for"))?;
                let created = create_as_asked(&String::from_utf8_lossy(&line[..count]), given, children, made, pipe);
                let code = if created.is_ok() { "0\n" } else { "1\n" };
                nix::unistd::write(&answered, code.as_bytes()).map_err(refused("the answer to podman"))?;
                created?;
                is_created = true;
            }
            Heard::Ended(WaitStatus::Exited(_, 0), _) if is_created => return Ok(()),
            Heard::Ended(how, _) => {
                let words = last_lines(&fs::read_to_string(&said).unwrap_or_default());
                return Err(format!("`{} run` {}: {words}", podman.display(), ended(how)));
            }
            Heard::TooMuch => {}
        }
    }
}

/// Does what podman asks of a runtime, with our configuration in place of most of its own.
fn create_as_asked(
    asked: &str,
    given: &Given<'_>,
    children: &mut Children<'_>,
    made: &Made,
    pipe: &OwnedFd,
) -> Result<(), Refused> {
    let words: Vec<&str> = asked.split_whitespace().collect();
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).map(PathBuf::from)
    };
    let (Some(bundle), Some(pid_file)) = (after("--bundle"), after("--pid-file")) else {
        return Err(format!("podman asks for `{}`", asked.trim()));
    };
    let text = fs::read_to_string(bundle.join(oci::NAME)).map_err(refused("podman's configuration"))?;
    let mut config = made.config.clone();
    oci::merge(&mut config, &serde_json::from_str(&text).map_err(refused("podman's configuration"))?);
    made.write_config(&bundle, &config)?;
    made.create(given, children, &bundle, pipe, ID, &pid_file)?;
    fs::copy(pid_file, &made.pid_file).map(drop).map_err(refused("the program's process number"))
}
