//! Install the package on a bare Debian and use it: the demonstration, then the service, then removal.
//!
//! The Debian is made once. Each check is in a writable copy of it, in namespaces of its own, so nothing is left whatever happens.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::root::{self, LUGGAGE, Running};
use super::service::Service;
use super::{boot, hex};
use crate::debian;
use crate::step::command;

/// The longest that the whole check takes, in seconds; the Debian beside.
const SECONDS_MAX: &str = "1200";
/// For what takes moments on an idle machine.
pub const SHORT: Duration = Duration::from_secs(60);
/// For what computes.
const LONG: Duration = Duration::from_secs(600);
/// Exposure of the unit that `systemd-analyze security` may find at most, in tenths.
const EXPOSURE_MAX: &str = "40";
/// An ordinary user of the bare Debian.
pub const VISITOR: &str = "visitor";
pub const PACKAGE: &str = "gristmill.deb";
pub const APP: &str = "primes.wasm";
pub const UNIT: &str = "/usr/lib/systemd/system/gristmill-worker.service";
const SETTINGS: &str = "/etc/gristmill/worker.toml";
/// What the app is asked, and what it should say.
const PRIMES: (&str, &str) = ("1000000", "78498");
/// Files of the service that may be open to others, were its folder not closed: they say which format their folder has.
const PUBLIC: &str = "VERSION";
/// Folders that are not looked at for what a removal leaves: they are not of the root, or of somebody's home.
const NOT_COMPARED: [&str; 5] = ["/proc", "/dev", "/run", "/tmp", "/home"];
/// What a removal may leave: the package manager's own records and the copies that `useradd` makes of its files.
const MAY_CHANGE: [&str; 4] = ["/var/lib/dpkg", "/var/log/dpkg.log", "/var/cache/ldconfig", "/var/log/lastlog"];

/// Installs and uses the package; `program` is the one in it. Call [`require`] before.
pub fn run(package: &Path, program: &Path) -> Result<()> {
    let folder = super::target()?.join("dist");
    unit_by_systemd(&folder, program)?;
    let release = debian::release()?;
    let base = folder.join("root").join(&release);
    if !base.is_dir() {
        debian::bootstrap(&release, &[], &base)?;
    }
    let place = folder.join("check");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let own = std::env::current_exe().context("this program has no path")?;
    let app = crate::root().join("apps/primes").join(APP);
    let paths = [own.as_path(), &base, &place, package, &app].map(|path| path.display().to_string());
    let mut words = vec![paths[0].as_str(), "dist", "--check-inside"];
    words.extend(paths[1..].iter().map(String::as_str));
    let checked = debian::alone(SECONDS_MAX, &["--net", "--uts", "--ipc"], &words).run();
    checked.context("the package does not do on a bare Debian what it should")?;
    boot::run(&folder, &release, package)
}

/// Fails with all that this machine lacks.
pub fn require() -> Result<()> {
    let mut missing = debian::missing();
    let works = |words: &[&str]| command("unshare", words).output().is_ok();
    if missing.is_empty() && !works(&["--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "true"]) {
        missing.push("it may not make namespaces (is this a container?)".to_owned());
    }
    if missing.is_empty() && !works(&["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        missing.push("it may not mount (is this a container?)".to_owned());
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("`cargo xtask dist --check` cannot work here:\n  {}", missing.join("\n  "))
}

/// What systemd says of the unit, where its tools are installed.
fn unit_by_systemd(folder: &Path, program: &Path) -> Result<()> {
    if command("systemd-analyze", &["--version"]).output().is_err() {
        eprintln!("systemd-analyze is not here: the unit is not looked at");
        return Ok(());
    }
    let units = folder.join("units");
    fs::create_dir_all(&units).with_context(|| format!("cannot make {}", units.display()))?;
    let program = fs::canonicalize(program).with_context(|| format!("cannot find {}", program.display()))?;
    let mut paths = Vec::new();
    for name in ["gristmill-worker.service", "gristmill.slice"] {
        // It looks whether the program is there.
        let text = super::text(&format!("{}/{name}", super::PACKAGING))?;
        let path = units.join(name);
        fs::write(&path, text.replace("/usr/bin/gristmill ", &format!("{} ", program.display())))?;
        paths.push(path.display().to_string());
    }
    let verify = ["verify", "--man=no", "--recursive-errors=no", &paths[0], &paths[1]];
    command("systemd-analyze", &verify).run()?;
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", "--no-pager", &threshold, &paths[0]];
    let said = command("systemd-analyze", &security).output().context("the unit protects too little")?;
    let score = said.lines().find(|line| line.contains("exposure level"));
    eprintln!("systemd-analyze: {}", score.context("systemd-analyze names no exposure level")?.trim());
    Ok(())
}

/// The check itself, as the first process of its namespaces. `words` are the base, an empty folder, the package and the app.
pub fn inside(words: &[&str]) -> Result<()> {
    let [base, place, package, app] = words else { bail!("--check-inside is for this program itself") };
    root::enter(Path::new(base), Path::new(place), &[(package.into(), PACKAGE), (app.into(), APP)], None)?;
    run_root(&["useradd", "--create-home", "--shell", "/bin/sh", VISITOR])?;
    let before = snapshot()?;
    let package = format!("{LUGGAGE}/{PACKAGE}");
    install(&package)?;
    let version = root::run(VISITOR, &["gristmill", "--version"], SHORT)?;
    eprintln!("           {}", version.trim());
    root::run(VISITOR, &["gristmill", "demo"], LONG)?;
    let unit = fs::read_to_string(UNIT).with_context(|| format!("cannot read {UNIT}"))?;
    let service = Service::parse(&unit)?;
    eprintln!("           of the unit, these need systemd: {}", service.left_out().join(" "));
    let worker = serve(&service)?;
    remove(&package, &service, &worker)?;
    compare(&before, &snapshot()?)
}

pub fn run_root(words: &[&str]) -> Result<String> {
    root::run("root", words, SHORT)
}

/// Installs the package, and looks whether the package manager is content.
pub fn install(package: &str) -> Result<()> {
    run_root(&["dpkg", "--install", package])?;
    let status = run_root(&["dpkg-query", "--show", "--showformat", "${Status}", "gristmill"])?;
    let faults = run_root(&["dpkg", "--audit"])?;
    if status != "install ok installed" || !faults.is_empty() {
        bail!("the package is `{status}`\n{faults}");
    }
    let changed = run_root(&["dpkg", "--verify", "gristmill"])?;
    // A `c` marks settings, which their owner may change.
    if changed.lines().any(|line| !line.contains(" c /etc/")) {
        bail!("installed files are not as they were packed\n{changed}");
    }
    Ok(())
}

/// Runs the service for a network of the visitor's: it is skipped, started, works, ends, is started again and drained. Returns the
/// worker's address.
fn serve(service: &Service) -> Result<String> {
    let condition = || -> Result<bool> {
        let mut condition = Running::start(service.command("ExecCondition")?, "ExecCondition")?;
        Ok(condition.wait(SHORT)?.success())
    };
    if condition()? {
        bail!("the service would start without a pool");
    }
    let mut network = Network::start()?;
    network.name_pool()?;
    if !condition()? {
        bail!("the service would not start with a pool");
    }
    let mut worker = start(service)?;
    let address = connected(service, &mut worker)?;
    have_computed(service)?;
    private(service)?;
    worker.stop(service.stop_max()?)?;
    gone(service)?;
    private(service)?;
    let mut worker = start(service)?;
    if connected(service, &mut worker)? != address {
        bail!("the service is another worker after a restart");
    }
    ask(service, "drain")?;
    let status = worker.wait(service.stop_max()?)?;
    if !status.success() {
        bail!("the drained worker failed ({status})\n{}", worker.stderr());
    }
    gone(service)?;
    network.process.stop(SHORT)?;
    Ok(address)
}

/// Has the service's worker, the only one there is, compute a task.
pub fn have_computed(service: &Service) -> Result<()> {
    let app = format!("{LUGGAGE}/{APP}");
    root::run(VISITOR, &["gristmill", "run", &app, "--arg", PRIMES.0, "--trust", "1", "--out", "primes"], LONG)?;
    let counted = root::run(VISITOR, &["find", "primes", "-name", "primes.txt", "-exec", "cat", "{}", "+"], SHORT)?;
    if !counted.contains(PRIMES.1) {
        bail!("there are {} primes below {}, and the worker says: {counted}", PRIMES.1, PRIMES.0);
    }
    let status = ask(service, "status")?;
    if status["counters"]["contributions"].as_u64() != Some(1) {
        bail!("the service's worker should have contributed once: {status}");
    }
    eprintln!("           {}", counted.trim());
    eprintln!("           not guaranteed there: {}", status["missing_guarantees"]);
    Ok(())
}

/// A network of the visitor's that has no worker of its own.
pub struct Network {
    pub process: Running,
    pool: String,
}

impl Network {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let words = ["gristmill", "up", "--workers", "0", "--json"];
        let mut process = Running::start(root::program(VISITOR, &words), "gristmill up")?;
        let pool = process.until(SHORT, "the network is up", |process| {
            let said: Option<Value> = serde_json::from_str(&process.stdout()?).ok();
            Ok(said.and_then(|said| said["addresses"]["pools"][0].as_str().map(str::to_owned)))
        })?;
        eprintln!("           network of {VISITOR} with the pool {pool}");
        Ok(Self { process, pool })
    }

    /// Writes its pool into the service's settings, as its owner would.
    pub fn name_pool(&self) -> Result<()> {
        let settings = fs::read_to_string(SETTINGS).with_context(|| format!("cannot read {SETTINGS}"))?;
        let in_force = format!("pool = \"{}\"", self.pool);
        let settings = settings.replace("#pool = \"grist://HOST:PORT/KEYHASH\"", &in_force);
        fs::write(SETTINGS, settings).with_context(|| format!("cannot write {SETTINGS}"))
    }
}

fn start(service: &Service) -> Result<Running> {
    Running::start(service.command("ExecStart")?, "the service")
}

/// Waits until the worker has its pool; returns its address.
fn connected(service: &Service, worker: &mut Running) -> Result<String> {
    let address = worker.until(SHORT, "the service's worker has reached its pool", |_| has_pool(service))?;
    eprintln!("           the service works as {address}");
    Ok(address)
}

/// The worker's address once it has its pool.
pub fn has_pool(service: &Service) -> Result<Option<String>> {
    // Before it listens it cannot be asked.
    let Ok(status) = ask(service, "status") else { return Ok(None) };
    let is_connected = status["pools"][0]["connected"] == true;
    Ok(is_connected.then(|| status["worker"].as_str().map(str::to_owned)).flatten())
}

/// Asks or tells the worker, as its user.
pub fn ask(service: &Service, question: &str) -> Result<Value> {
    let words = ["gristmill", "worker", question, "--json", "--data-dir", &service.folder()?];
    let mut asked = Running::start(root::program(service.user()?, &words), question)?;
    if !asked.wait(SHORT)?.success() {
        bail!("`{}` failed\n{}", words.join(" "), asked.stderr());
    }
    serde_json::from_str(&asked.stdout()?).context("the worker's answer is no JSON")
}

/// Fails when something of the service's folder is not its user's, or open to others.
pub fn private(service: &Service) -> Result<()> {
    let user = user_id(service.user()?)?;
    let (mut open, mut count) = (vec![PathBuf::from(service.folder()?)], 0);
    while let Some(path) = open.pop() {
        let failed = || format!("cannot look at {}", path.display());
        let metadata = match fs::symlink_metadata(&path) {
            // The worker tidies up meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata.with_context(failed)?,
        };
        let mode = metadata.permissions().mode() & 0o7777;
        let is_public = path.ends_with(PUBLIC);
        let is_right = match mode {
            0o700 => metadata.is_dir(),
            0o600 => !metadata.is_dir(),
            0o644 => is_public,
            _ => metadata.is_symlink(),
        };
        if (metadata.uid(), metadata.gid()) != user || !is_right {
            bail!("{} has mode {mode:o} and belongs to {}:{}", path.display(), metadata.uid(), metadata.gid());
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).with_context(failed)? {
                open.push(entry.with_context(failed)?.path());
            }
        }
        count += usize::from(metadata.is_file() || metadata.file_type().is_socket());
    }
    eprintln!("           {count} files of the service, its user's alone");
    Ok(())
}

/// User and group of a name.
pub fn user_id(name: &str) -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    let fields: Vec<&str> = line.with_context(|| format!("there is no user {name}"))?.split(':').collect();
    let [_, _, user, group, ..] = fields.as_slice() else { bail!("/etc/passwd is malformed") };
    Ok((user.parse()?, group.parse()?))
}

/// Fails when something of the service's user still runs.
pub fn gone(service: &Service) -> Result<()> {
    let (user, _) = user_id(service.user()?)?;
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        // It may end while it is looked at.
        let Ok(status) = fs::read_to_string(entry?.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let of_user = field("Uid:").split_whitespace().any(|id| id == user.to_string());
        if of_user && !field("State:").starts_with('Z') {
            bail!("{} of the service's user still runs", field("Name:"));
        }
    }
    Ok(())
}

/// Removes the package, which keeps settings and key; installs it again, which finds them; purges it.
fn remove(package: &str, service: &Service, worker: &str) -> Result<()> {
    let wallet = format!("{}/wallet.json", service.folder()?);
    let kept = [wallet.as_str(), SETTINGS].map(|path| fs::read(path).unwrap_or_default());
    let is_kept = || [wallet.as_str(), SETTINGS].map(|path| fs::read(path).unwrap_or_default()) == kept;
    run_root(&["dpkg", "--remove", "gristmill"])?;
    if Path::new("/usr/bin/gristmill").exists() || Path::new(UNIT).exists() {
        bail!("the removed program is still there");
    }
    if kept.iter().any(Vec::is_empty) || !is_kept() {
        bail!("a removal should keep the worker's key and settings");
    }
    install(package)?;
    let shown = root::run(service.user()?, &["gristmill", "wallet", "show", "--wallet", &wallet], SHORT)?;
    if !is_kept() || !shown.to_lowercase().contains(&worker.to_lowercase()) {
        bail!("installed again, the worker is no longer {worker}: {shown}");
    }
    run_root(&["dpkg", "--purge", "gristmill"]).map(drop)
}

/// Every file with its mode, owner and what is in it.
fn snapshot() -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::from("/")];
    while let Some(path) = open.pop() {
        if NOT_COMPARED.iter().chain(&MAY_CHANGE).any(|place| path == Path::new(place)) {
            continue;
        }
        let failed = || format!("cannot look at {}", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(failed)?;
        let content = if metadata.is_symlink() {
            fs::read_link(&path).with_context(failed)?.display().to_string()
        } else if metadata.is_file() {
            hex(&Sha256::digest(fs::read(&path).with_context(failed)?))
        } else {
            String::new()
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).with_context(failed)? {
                open.push(entry.with_context(failed)?.path());
            }
        }
        let owner = (metadata.uid(), metadata.gid());
        found.insert(path, format!("{:o} {owner:?} {content}", metadata.permissions().mode()));
    }
    Ok(found)
}

/// Fails when the root is not what it was.
fn compare(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Result<()> {
    // `useradd` keeps the last version of what it changes, with a dash at the end.
    let is_backup = |path: &Path| path.starts_with("/etc") && path.display().to_string().ends_with('-');
    let mut paths: Vec<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let differs = |path: &&PathBuf| before.get(*path) != after.get(*path) && !is_backup(path);
    let left: Vec<String> = paths.into_iter().filter(differs).map(|path| path.display().to_string()).collect();
    if !left.is_empty() {
        bail!("after a purge these are not as they were:\n  {}", left.join("\n  "));
    }
    eprintln!("           {} files are as they were before", after.len());
    Ok(())
}
