//! Be in a bare Debian: a root of its own, with its own processes and network, that is gone with the process.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};

/// Where what is brought along lies.
pub const LUGGAGE: &str = "/run/luggage";
/// Where what is said is written, for somebody outside to read.
pub const SAID: &str = "/run/said";
/// What changes in the root is kept in memory, no more than this.
const CHANGES_MAX: &str = "size=6g";
/// What a program printed is shown to so many bytes when it fails.
const SHOWN_BYTES_MAX: usize = 16 << 10;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often it is looked whether a program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Devices that every system has, with their minor numbers.
const DEVICES: [(&str, u64); 5] = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];

/// Makes a writable copy of `base` this process's root. It must have been started in namespaces of its own: mounts, processes, network.
///
/// `place` is an empty folder that everything is mounted on, `luggage` files to find in [`LUGGAGE`], `said` a file that stays outside
/// and is [`SAID`] in there.
pub fn enter(base: &Path, place: &Path, luggage: &[(PathBuf, &str)], said: Option<&Path>) -> Result<()> {
    umask(Mode::from_bits_truncate(0o022));
    mount_kind("tmpfs", place, &format!("{CHANGES_MAX},mode=755"))?;
    let (upper, work, root) = (place.join("upper"), place.join("work"), place.join("root"));
    for folder in [&upper, &work, &root] {
        fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let layers = format!("lowerdir={},upperdir={},workdir={}", base.display(), upper.display(), work.display());
    mount_kind("overlay", &root, &layers)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).context("cannot open the root to all")?;
    for (folder, options) in [("run", "mode=755"), ("tmp", "mode=1777"), ("dev", "mode=755")] {
        mount_kind("tmpfs", &root.join(folder), options)?;
    }
    mount_kind("proc", &root.join("proc"), "")?;
    for (name, minor) in DEVICES {
        let all = Mode::from_bits_truncate(0o666);
        let path = root.join("dev").join(name);
        mknod(&path, SFlag::S_IFCHR, all, makedev(1, minor))
            .with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    std::os::unix::fs::symlink("/proc/self/fd", root.join("dev/fd")).context("cannot make /dev/fd")?;
    let luggage_folder = root.join(LUGGAGE.trim_start_matches('/'));
    fs::create_dir(&luggage_folder).context("cannot make a folder")?;
    for (path, name) in luggage {
        fs::copy(path, luggage_folder.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    if let Some(said) = said {
        let inside = root.join(SAID.trim_start_matches('/'));
        File::create(&inside).context("cannot make a file")?;
        mount(Some(said), &inside, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("cannot bind a file")?;
    }
    loopback_up()?;
    // The new root over the old one, which is then taken away from below.
    std::env::set_current_dir(&root).context("cannot go into the root")?;
    nix::unistd::pivot_root(".", ".").context("cannot make it the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot leave the old root")?;
    std::env::set_current_dir("/").context("cannot go into the root")
}

/// Mounts something that has no source.
pub fn mount_kind(kind: &str, place: &Path, options: &str) -> Result<()> {
    mount(Some(kind), place, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {kind} at {} ({options})", place.display()))
}

/// A new network has a loopback that is down.
fn loopback_up() -> Result<()> {
    let failed = || format!("cannot bring the loopback up: {}", std::io::Error::last_os_error());
    let name = CString::new("lo").context("a name")?;
    // SAFETY: plain numbers, of which all bits zero are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: no pointers; the descriptor is closed below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        bail!(failed());
    }
    // SAFETY: the request is one that this call reads, and lives longer than it.
    let set = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &request) };
    let result = if set < 0 { Err(anyhow::anyhow!(failed())) } else { Ok(()) };
    // SAFETY: it was opened above and is closed once.
    unsafe { libc::close(socket) };
    result
}

/// A program of the root, to be run by this user in their home. Only root's programs keep root's rights.
pub fn program(user: &str, words: &[&str]) -> Command {
    let mut command = Command::new(if user == "root" { words[0] } else { "setpriv" });
    if user == "root" {
        command.args(&words[1..]);
    } else {
        command.args(["--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all", "--reset-env", "--"]);
        command.args(["sh", "-c", "cd && exec \"$@\"", "sh"]).args(words);
    }
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Runs a program of the root that should succeed; returns what it printed on standard output.
pub fn run(user: &str, words: &[&str], time_max: Duration) -> Result<String> {
    let text = words.join(" ");
    let started = Instant::now();
    let mut running = Running::start(program(user, words), &text)?;
    let status = running.wait(time_max)?;
    if !status.success() {
        bail!("`{text}` of {user} failed ({status})\n{}", running.said());
    }
    eprintln!("{:>7.1} s  {user}: {text}", started.elapsed().as_secs_f64());
    running.stdout()
}

/// A program that runs, with what it prints. It is killed when this is dropped.
pub struct Running {
    child: Child,
    text: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts it; `text` is what it is called in errors.
    pub fn start(mut command: Command, text: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] = ["out", "err"].map(|kind| PathBuf::from(format!("/run/{number}.{kind}")));
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot make {}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        let child = command.spawn().with_context(|| format!("cannot start `{text}`"))?;
        Ok(Self { child, text: text.to_owned(), stdout, stderr })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; too long is an error.
    pub fn wait(&mut self, time_max: Duration) -> Result<ExitStatus> {
        let ended = until(time_max, || self.child.try_wait().context("cannot wait"))?;
        ended.with_context(|| format!("`{}` did not end within {} s\n{}", self.text, time_max.as_secs(), self.said()))
    }

    /// Waits until `look` finds something; an end of the program before, or too long, is an error.
    pub fn until<T>(
        &mut self,
        time_max: Duration,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let found = until(time_max, || {
            let found = look(self)?;
            if found.is_none()
                && let Some(status) = self.child.try_wait().context("cannot wait")?
            {
                bail!("`{}` ended ({status}) before {what}\n{}", self.text, self.said());
            }
            Ok(found)
        })?;
        found.with_context(|| format!("{what}: not within {} s\n{}", time_max.as_secs(), self.said()))
    }

    /// Asks it to end, waits, and fails if it did not end well.
    pub fn stop(&mut self, time_max: Duration) -> Result<()> {
        let id = nix::unistd::Pid::from_raw(self.id() as i32);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).context("cannot ask it to end")?;
        let started = Instant::now();
        let status = self.wait(time_max)?;
        if !status.success() {
            bail!("`{}` was asked to end and failed ({status})\n{}", self.text, self.said());
        }
        eprintln!("{:>7.1} s  it ended when asked: {}", started.elapsed().as_secs_f64(), self.text);
        Ok(())
    }

    /// What it has printed on standard output.
    pub fn stdout(&self) -> Result<String> {
        fs::read_to_string(&self.stdout).with_context(|| format!("cannot read what `{}` printed", self.text))
    }

    /// What it has printed on standard error.
    pub fn stderr(&self) -> String {
        tail(&self.stderr)
    }

    fn said(&self) -> String {
        format!("{}{}", tail(&self.stdout), tail(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something; `None` after this time.
pub fn until<T>(time_max: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if started.elapsed() > time_max {
            return Ok(None);
        }
        sleep(LOOK_EVERY);
    }
}

/// The end of a file.
fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(std::io::SeekFrom::Start(length.saturating_sub(SHOWN_BYTES_MAX as u64)))?;
        let mut bytes = Vec::new();
        file.take(SHOWN_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
