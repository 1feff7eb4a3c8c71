//! Use the service where systemd is the first process, with all that its unit says.
//!
//! What a unit forbids can break a sandbox, and only systemd carries all of it out. It runs in namespaces of its own, in a control
//! group of its own, without the rights to change the machine's clock, modules or settings.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

use super::check::{
    APP, Network, PACKAGE, SHORT, UNIT, VISITOR, ask, gone, has_pool, have_computed, install, private, run_root,
    user_id,
};
use super::root::{self, LUGGAGE, SAID, mount_kind, until};
use super::service::Service;
use crate::debian;

/// The longest that it takes, in seconds; the Debian beside.
const SECONDS_MAX: &str = "900";
/// What it takes more than a bare Debian.
const PACKAGES: [&str; 2] = ["systemd", "systemd-sysv"];
/// This program's name among the luggage.
const SELF: &str = "xtask";
/// Rights over the whole machine, namespaces or not.
const RIGHTS_LOST: &str = "--bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio,-syslog,-mac_admin,-mac_override";
const SERVICE: &str = "gristmill-worker.service";
const GROUP: &str = "gristmill-dist-check-";
/// A control group cannot be removed while its last process is still dying.
const GROUP_TRIES: u32 = 50;

/// Boots a Debian with systemd, and uses the service there.
pub fn run(folder: &Path, release: &str, package: &Path) -> Result<()> {
    let Some(group) = Group::make()? else {
        eprintln!("this machine has no cgroup v2 to write to: the service is not started by systemd");
        return Ok(());
    };
    let base = folder.join("root").join(format!("{release}-systemd"));
    if !base.is_dir() {
        debian::bootstrap(release, &PACKAGES, &base)?;
    }
    let said = folder.join("booted.log");
    fs::write(&said, "").with_context(|| format!("cannot write {}", said.display()))?;
    let own = std::env::current_exe().context("this program has no path")?;
    let app = crate::root().join("apps/primes").join(APP);
    let place = folder.join("check");
    let paths = [&group.0, &own, &base, &place, package, &app, &said].map(|path| path.display().to_string());
    // It has to be in its group before it takes that for all there is.
    let into_group = "echo $$ >\"$1/cgroup.procs\" && shift && exec unshare --cgroup -- \"$@\"";
    let mut words = vec!["sh", "-c", into_group, "sh", &paths[0], &paths[1], "dist", "--check-boot"];
    words.extend(paths[2..].iter().map(String::as_str));
    let checked = debian::alone(SECONDS_MAX, &["--net", "--uts", "--ipc"], &words).run();
    eprint!("{}", fs::read_to_string(&said).unwrap_or_default());
    checked.context("the service does not do under systemd what it should")
}

/// Makes itself the first process of the Debian: systemd, which runs [`booted`]. `words` are the base, an empty folder, the package, the
/// app, and a file to write to.
pub fn boot(words: &[&str]) -> Result<()> {
    let [base, place, package, app, said] = words else { bail!("--check-boot is for this program itself") };
    let own = std::env::current_exe().context("this program has no path")?;
    let luggage = [(PathBuf::from(package), PACKAGE), (app.into(), APP), (own, SELF)];
    root::enter(Path::new(base), Path::new(place), &luggage, Some(Path::new(said)))?;
    for folder in ["/dev/pts", "/dev/shm"] {
        fs::create_dir(folder).with_context(|| format!("cannot make {folder}"))?;
    }
    mount_kind("devpts", Path::new("/dev/pts"), "newinstance,ptmxmode=666")?;
    mount_kind("sysfs", Path::new("/sys"), "")?;
    mount_kind("cgroup2", Path::new("/sys/fs/cgroup"), "")?;
    for place in ["/sys", "/proc/sys"] {
        let none = None::<&str>;
        let failed = || format!("cannot protect {place}");
        mount(Some(place), place, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).with_context(failed)?;
        mount(none, place, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)
            .with_context(failed)?;
    }
    let check = format!(
        "[Unit]\nSuccessAction=exit\nSuccessActionExitStatus=0\nFailureAction=exit\nFailureActionExitStatus=1\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nStandardOutput=append:{SAID}\nStandardError=append:{SAID}\n\
         ExecStart={LUGGAGE}/{SELF} dist --check-booted\n"
    );
    fs::write("/etc/systemd/system/check.service", check).context("cannot write a unit")?;
    let words = [RIGHTS_LOST, "--", "/lib/systemd/systemd", "--unit=check.service"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let error = Command::new("setpriv").args(words).env_clear().env("PATH", path).env("container", "other").exec();
    Err(error).context("cannot start systemd")
}

/// The check itself, as a service of that systemd.
pub fn booted() -> Result<()> {
    run_root(&["useradd", "--create-home", "--shell", "/bin/sh", VISITOR])?;
    install(&format!("{LUGGAGE}/{PACKAGE}"))?;
    let unit = fs::read_to_string(UNIT).with_context(|| format!("cannot read {UNIT}"))?;
    let service = Service::parse(&unit)?;
    run_root(&["systemctl", "start", SERVICE])?;
    expect("ActiveState", "inactive").context("without a pool")?;
    let mut network = Network::start()?;
    network.name_pool()?;
    start(&service)?;
    have_computed(&service)?;
    private(&service)?;
    caged(&service)?;
    run_root(&["systemctl", "stop", SERVICE])?;
    over(&service).context("stopped")?;
    start(&service)?;
    ask(&service, "drain")?;
    let ended = until(SHORT, || Ok((property("ActiveState")? == "inactive").then_some(())))?;
    ended.context("the drained service does not end")?;
    over(&service).context("drained")?;
    start(&service)?;
    run_root(&["dpkg", "--purge", "gristmill"])?;
    // A user with processes would not have been removed.
    if user_id(service.user()?).is_ok() || Path::new(&service.folder()?).exists() {
        bail!("a purge should end the running service, and leave neither its user nor its folder");
    }
    network.process.stop(SHORT)
}

/// Starts the service and waits until it has its pool.
fn start(service: &Service) -> Result<()> {
    run_root(&["systemctl", "start", SERVICE])?;
    let address = until(SHORT, || has_pool(service))?;
    let journal = || run_root(&["journalctl", "--no-pager", "--unit", SERVICE]).unwrap_or_default();
    let address = address.with_context(|| format!("the service does not reach its pool\n{}", journal()))?;
    eprintln!("           the service works as {address}");
    Ok(())
}

/// Fails unless the service has ended well, once, with all its processes.
fn over(service: &Service) -> Result<()> {
    expect("ActiveState", "inactive")?;
    expect("Result", "success")?;
    expect("NRestarts", "0")?;
    gone(service)
}

/// Fails unless the worker has lost what its unit takes.
fn caged(service: &Service) -> Result<()> {
    let (user, group) = user_id(service.user()?)?;
    let main = property("MainPID")?;
    let status = fs::read_to_string(format!("/proc/{main}/status")).context("the service's main process is gone")?;
    let four = |id: u32| [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join("\t");
    let none = "0000000000000000";
    let expected = [
        format!("Uid:\t{}", four(user)),
        format!("Gid:\t{}", four(group)),
        format!("CapEff:\t{none}"),
        format!("CapBnd:\t{none}"),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
    ];
    match expected.iter().find(|line| !status.lines().any(|other| other == line.as_str())) {
        Some(missing) => bail!("the worker's process should have `{missing}`:\n{status}"),
        None => Ok(()),
    }
}

fn property(name: &str) -> Result<String> {
    let mut shown = root::Running::start(root::program("root", &["systemctl", "show", "-P", name, SERVICE]), name)?;
    if !shown.wait(SHORT)?.success() {
        bail!("systemctl does not say {name}\n{}", shown.stderr());
    }
    Ok(shown.stdout()?.trim().to_owned())
}

fn expect(name: &str, value: &str) -> Result<()> {
    let found = property(name)?;
    if found != value {
        bail!("the service has {name}={found}, not {value}");
    }
    Ok(())
}

/// A control group below this process's own, removed when it is dropped.
struct Group(PathBuf);

impl Group {
    /// None where there is no cgroup v2 that can be written to.
    fn make() -> Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mounted = mounts.lines().map(fields).find(|fields| fields.get(2).is_some_and(|kind| kind == "cgroup2"));
        let own = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let (Some(mounted), Some(own)) = (mounted, own) else { return Ok(None) };
        let above = Path::new(&mounted[1]).join(own);
        // What a check that was killed has left. One that runs cannot be removed.
        for entry in fs::read_dir(&above).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(GROUP) {
                remove_groups(&entry.path());
            }
        }
        let group = above.join(format!("{GROUP}{}", std::process::id()));
        Ok(fs::create_dir(&group).is_ok().then_some(Self(group)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..GROUP_TRIES {
            remove_groups(&self.0);
            if !self.0.exists() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("the control group {} is still there", self.0.display());
    }
}

/// Removes a control group and those below it, as far as they are empty.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
