//! Build the file system that a program sees: layers stacked, inputs and a place for outputs bound in, a few devices.
//!
//! Of the new root the helper touches five folders by path, which it made itself in the overlay's upper folder: a link that an
//! image has of that name is hidden, not followed. A folder of that name would be merged, links in it and all; so each of them is
//! mounted on before anything is made or mounted below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use gristmill_sandbox::Input;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use crate::device::DEVICES;
use crate::wire::Request;
use crate::{SCRATCH_BYTES, SCRATCH_FILES};

/// Folders that every Linux has and that nothing here needs: the sandbox is put together on one of them, out of sight.
const WORKSHOPS: [&str; 3] = ["/sys", "/mnt", "/srv"];
/// Bytes of outputs past the limit, so that the limit is seen to be passed before the memory is full.
const OUTPUT_MARGIN_BYTES: u64 = 1 << 20;
/// Files past the limit, for the same reason: two, and the folders that hold them.
const OUTPUT_MARGIN_FILES: u64 = 8;

/// What stands in for `/proc/sys`: what libraries look at, with the values of a common kernel.
const SETTINGS: [(&str, &str); 21] = [
    ("fs/file-max", "4096"),
    ("fs/nr_open", "4096"),
    ("fs/pipe-max-size", "1048576"),
    ("kernel/cap_last_cap", "40"),
    ("kernel/domainname", "(none)"),
    ("kernel/hostname", "gristmill"),
    ("kernel/ngroups_max", "65536"),
    ("kernel/osrelease", "6.1.0"),
    ("kernel/ostype", "Linux"),
    ("kernel/overflowgid", "65534"),
    ("kernel/overflowuid", "65534"),
    ("kernel/pid_max", "32768"),
    ("kernel/random/boot_id", "00000000-0000-4000-8000-000000000000"),
    ("kernel/random/entropy_avail", "256"),
    ("kernel/random/poolsize", "256"),
    ("kernel/random/uuid", "00000000-0000-4000-8000-000000000000"),
    ("kernel/threads-max", "512"),
    ("kernel/version", "#1"),
    ("net/core/somaxconn", "4096"),
    ("vm/max_map_count", "65530"),
    ("vm/overcommit_memory", "0"),
];

/// Something that this host did not let us do.
pub(crate) type Refused = String;

pub(crate) fn refused<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Refused {
    move |error| format!("{what}: {error}")
}

/// A file system that waits to become the root.
pub(crate) struct Rootfs {
    /// Where it is mounted.
    pub(crate) root: PathBuf,
    /// Files that hide what the kernel tells of the host.
    pub(crate) masks: PathBuf,
    /// Folder of the outputs' own memory: `out` is what the program sees, `stdout` what it printed.
    pub(crate) outputs: OwnedFd,
    /// What the program prints.
    pub(crate) stdout: File,
}

/// As root of the host: makes what the sandbox needs reachable for a user who cannot go into the worker's folders.
pub(crate) fn stage(request: &mut Request) -> Result<PathBuf, Refused> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(refused("a mount namespace"))?;
    make_private()?;
    let workshop = workshop(request.runtime.is_some())?;
    mount_tmpfs(&workshop, "mode=755,size=1m")?;
    let mut count = 0;
    let mut show = |path: &mut PathBuf| -> Result<(), Refused> {
        let at = workshop.join(format!("h{count}"));
        count += 1;
        placeholder(&at, path.is_dir())?;
        bind(path, &at)?;
        *path = at;
        Ok(())
    };
    request.layers.iter_mut().try_for_each(&mut show)?;
    for input in &mut request.inputs {
        open_to_all(&input.host).map_err(refused(format_args!("open {} to the task", input.host.display())))?;
        show(&mut input.host)?;
    }
    let inner = workshop.join("s");
    fs::create_dir(&inner).map_err(refused("a folder of the workshop"))?;
    Ok(inner)
}

/// Lets everybody read what lies in the worker's private folder.
fn open_to_all(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let wanted = mode | if metadata.is_dir() { 0o555 } else { 0o444 };
    if wanted != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(wanted))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            open_to_all(&entry?.path())?;
        }
    }
    Ok(())
}

/// The folder on which the sandbox is put together, when nobody staged one.
///
/// Other runtimes look at `/sys`.
pub(crate) fn workshop(leave_sys: bool) -> Result<PathBuf, Refused> {
    let found = WORKSHOPS.iter().skip(usize::from(leave_sys)).map(Path::new).find(|path| path.is_dir());
    found.map(Path::to_owned).ok_or_else(|| format!("none of {} is a folder", WORKSHOPS.join(", ")))
}

/// Nothing that is mounted from now on is seen outside.
pub(crate) fn make_private() -> Result<(), Refused> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(refused("private mounts"))
}

impl Rootfs {
    /// Puts it together at `base`. In the new namespaces, before process 1 is made.
    pub(crate) fn build(request: &Request, base: &Path) -> Result<Self, Refused> {
        let scratch = format!("mode=755,size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES}");
        mount_tmpfs(base, &scratch)?;
        let [layers, upper, work, root, out, masks, nothing] =
            ["l", "up", "work", "root", "out", "masks", "nothing"].map(|name| base.join(name));
        for folder in [&layers, &upper, &work, &root, &out, &masks, &nothing] {
            make_folder(folder)?;
        }
        mount_tmpfs(&out, &outputs_size(request.output_bytes, request.output_files))?;
        make_folder(&out.join("out"))?;
        let stdout = File::create(out.join("stdout")).map_err(refused("a file for what is printed"))?;
        // Places to mount on. What the image has there is hidden if it is no folder, and by the mount if it is one.
        for name in ["proc", "dev", "sys", "iexec_in", "iexec_out"] {
            make_folder(&upper.join(name))?;
        }
        stack(request, base, &layers)?;
        bind_devices(base, &root)?;
        bind_read_only(&nothing, &root.join("sys"))?;
        bind_inputs(&request.inputs, base, &root)?;
        bind(&out.join("out"), &root.join("iexec_out"))?;
        restrict(&root.join("iexec_out"), libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)?;
        write_masks(&masks, request).map_err(refused("files that hide the host"))?;
        let outputs = open(&out, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let outputs = outputs.map_err(refused("the folder of the outputs"))?;
        Ok(Self { root, masks, outputs, stdout })
    }
}

/// Mounts the layers over each other, with what the program writes on top.
fn stack(request: &Request, base: &Path, layers: &Path) -> Result<(), Refused> {
    // Names of a few bytes: the options of a mount have to fit one page.
    let mut names = Vec::new();
    for (number, layer) in request.layers.iter().enumerate() {
        symlink(layer, layers.join(number.to_string())).map_err(refused("a name for a layer"))?;
        names.push(format!("l/{number}"));
    }
    names.reverse();
    std::env::set_current_dir(base).map_err(refused("the workshop"))?;
    let options = format!("lowerdir={},upperdir=up,workdir=work,userxattr", names.join(":"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), "root", Some("overlay"), flags, Some(options.as_str())).map_err(refused("overlayfs"))
}

/// Options of the outputs' memory: room for all that is granted, each file in pages of its own, and a little more.
fn outputs_size(bytes: u64, files: u64) -> String {
    let files = files.saturating_add(OUTPUT_MARGIN_FILES);
    let pages = files.saturating_mul(page_bytes());
    format!("mode=755,size={},nr_inodes={files}", bytes.saturating_add(pages).saturating_add(OUTPUT_MARGIN_BYTES))
}

pub(crate) fn page_bytes() -> u64 {
    // SAFETY: a plain call without pointers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn bind_devices(base: &Path, root: &Path) -> Result<(), Refused> {
    let folder = root.join("dev");
    make_folder(&base.join("dev"))?;
    bind(&base.join("dev"), &folder)?;
    for name in DEVICES {
        let at = folder.join(name);
        placeholder(&at, false)?;
        bind(&Path::new("/dev").join(name), &at)?;
    }
    make_folder(&folder.join("shm"))?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, folder.join(name)).map_err(refused("a link in /dev"))?;
    }
    Ok(())
}

fn bind_inputs(inputs: &[Input], base: &Path, root: &Path) -> Result<(), Refused> {
    // Of inputs with one name the last counts: an item's own.
    let by_name: BTreeMap<String, &Path> =
        inputs.iter().map(|input| (plain_name(&input.at), input.host.as_path())).collect();
    let folder = root.join("iexec_in");
    let whole = by_name.get("");
    if let (Some(whole), 1) = (whole, by_name.len()) {
        return bind_read_only(whole, &folder);
    }
    let room = base.join("in");
    make_folder(&room)?;
    for (name, host) in by_name.iter().filter(|(name, _)| !name.is_empty()) {
        let at = room.join(name);
        fs::create_dir_all(at.parent().unwrap_or(&room)).map_err(refused("folders of an input"))?;
        placeholder(&at, host.is_dir())?;
    }
    match whole {
        None => bind_read_only(&room, &folder)?,
        // A folder below which others are put: it is not ours to make room in, so the room is laid over it.
        Some(whole) => {
            symlink(whole, base.join("l/in")).map_err(refused("a name for the inputs"))?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
            mount(Some("overlay"), &folder, Some("overlay"), flags, Some("lowerdir=in:l/in,userxattr"))
                .map_err(refused("overlayfs of the inputs"))?;
        }
    }
    for (name, host) in by_name.iter().filter(|(name, _)| !name.is_empty()) {
        bind_read_only(host, &folder.join(name))?;
    }
    Ok(())
}

/// `a//b/` as `a/b`.
pub(crate) fn plain_name(at: &str) -> String {
    at.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// What stands in for files of `/proc` that tell of the host.
fn write_masks(masks: &Path, request: &Request) -> io::Result<()> {
    let memory_kib = request.memory_bytes / 1024;
    fs::create_dir(masks.join("folder"))?;
    for (name, text) in [
        ("nothing", String::new()),
        ("cpuinfo", "processor\t: 0\nmodel name\t: virtual\ncpu cores\t: 1\n\n".to_owned()),
        (
            "meminfo",
            format!(
                "MemTotal:       {memory_kib:>8} kB\nMemFree:        {memory_kib:>8} kB\nMemAvailable:   {memory_kib:>8} kB\n\
                 Buffers:               0 kB\nCached:                0 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n"
            ),
        ),
        ("stat", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\nbtime 0\n".to_owned()),
        ("uptime", "0.00 0.00\n".to_owned()),
        ("loadavg", "0.00 0.00 0.00 1/1 1\n".to_owned()),
        ("version", "Linux version 6.1.0 (gristmill)\n".to_owned()),
        ("filesystems", "nodev\tproc\nnodev\ttmpfs\nnodev\toverlay\n".to_owned()),
    ] {
        fs::write(masks.join(name), text)?;
    }
    let sys = masks.join("sys");
    let folders: BTreeSet<&Path> = SETTINGS.iter().filter_map(|(name, _)| Path::new(name).parent()).collect();
    folders.into_iter().try_for_each(|folder| fs::create_dir_all(sys.join(folder)))?;
    for (name, text) in SETTINGS {
        fs::write(sys.join(name), format!("{text}\n"))?;
    }
    Ok(())
}

pub(crate) fn make_folder(path: &Path) -> Result<(), Refused> {
    fs::create_dir(path).map_err(refused(format_args!("the folder {}", path.display())))
}

/// Something to mount on.
fn placeholder(at: &Path, folder: bool) -> Result<(), Refused> {
    match folder {
        true => fs::create_dir_all(at),
        false => File::create(at).map(drop),
    }
    .map_err(refused(format_args!("a place at {}", at.display())))
}

pub(crate) fn mount_tmpfs(at: &Path, options: &str) -> Result<(), Refused> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(refused("memory for files"))
}

/// Shows at `at` what lies at `from`.
pub(crate) fn bind(from: &Path, at: &Path) -> Result<(), Refused> {
    mount(Some(from), at, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(refused(format_args!(
        "{} at {}",
        from.display(),
        at.display()
    )))
}

pub(crate) fn bind_read_only(from: &Path, at: &Path) -> Result<(), Refused> {
    bind(from, at)?;
    restrict(at, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
}

/// Takes rights from what is mounted at `at`.
fn restrict(at: &Path, attributes: u64) -> Result<(), Refused> {
    let at = open(at, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(refused(at.display()))?;
    restrict_tree(at.as_fd(), attributes, libc::AT_EMPTY_PATH).map_err(refused("a read-only mount (Linux 5.12)"))
}

/// Takes rights from a mount, and with `AT_RECURSIVE` from those below it.
pub(crate) fn restrict_tree(at: BorrowedFd<'_>, attributes: u64, flags: libc::c_int) -> nix::Result<()> {
    // SAFETY: all its fields are numbers, of which 0 means that nothing is asked for.
    let mut change: libc::mount_attr = unsafe { std::mem::zeroed() };
    change.attr_set = attributes;
    // SAFETY: the descriptor is open, the path is empty, and the structure outlives the call and has the size that is said.
    let changed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(changed).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_inputs_are_made_plain() {
        for (at, plain) in [("", ""), ("/", ""), ("a", "a"), ("a//b/", "a/b")] {
            assert_eq!(plain_name(at), plain);
        }
    }
}
