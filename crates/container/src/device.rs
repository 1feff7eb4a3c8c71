//! Say which devices a container is given, and look whether this host has them.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::error::ContainerError;
use crate::soname::soname;

/// Device files, mounts, links, variables and folders that all devices of a container may have together, of each kind.
pub const DEVICE_ITEMS_MAX: usize = 2_048;
/// Where the libraries of devices are found by the names by which programs ask for them: a folder of links.
pub const DEVICE_LIBRARIES: &str = "/dev/libraries";
/// What a container has in `/dev` anyway.
pub(crate) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Names in `/dev` that are no device's.
const TAKEN: [&str; 8] = ["fd", "stdin", "stdout", "stderr", "shm", "pts", "mqueue", "libraries"];
/// Folders of a container that are not for mounts and links of devices.
const OURS: [&str; 5] = ["/dev", "/proc", "/sys", gristmill_sandbox::IEXEC_IN, gristmill_sandbox::IEXEC_OUT];
/// Kinds of device that are nobody's accelerator, by their major number (the kernel's devices.txt): consoles and terminals, raw
/// access to disks and tapes.
const MAJORS_REFUSED: [u32; 8] = [3, 4, 5, 7, 9, 21, 162, 204];
const PTYS_REFUSED: std::ops::RangeInclusive<u32> = 128..=143;
/// Of the kernel's own memory and ports (major 1), these are left: null, zero, full, random, urandom.
const MEMORY_MAJOR: u32 = 1;
const MEMORY_ALLOWED: [u32; 5] = [3, 5, 7, 8, 9];

/// What a container is given for one device: device files of the host, and the files that go with them.
///
/// Whoever says what is in it has the host's trust: descriptions are its root's. The image and the task have not.
///
/// Device files are the host's own, bound in: the program may do with them what whom it runs as may do. If a file is open to its group
/// alone, a worker that is root keeps that group for the program, and no other; an ordinary user's program has the user's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What it is called, for messages: `vendor/class=name`.
    pub name: String,
    /// Its device files.
    pub nodes: Vec<DeviceNode>,
    /// Files and folders of the host that the program sees, always read-only. Sockets and pipes are left out: no program in a
    /// container could speak to them.
    pub mounts: Vec<DeviceMount>,
    /// Variables of the environment; they replace the image's and the task's of the same name.
    pub env: Vec<(String, String)>,
    /// Symbolic links. One that is in the way is replaced; a file or folder that is stays.
    pub links: Vec<DeviceLink>,
    /// Folders of the container whose libraries, as far as they are among the mounts, are to be found by name. No cache of the
    /// image is written: each gets a link by the name that it has for programs (its `DT_SONAME`), beside itself and in
    /// [`DEVICE_LIBRARIES`], which `LD_LIBRARY_PATH` ends with. So nothing of the image's own comes before where it was.
    pub library_folders: Vec<String>,
}

/// A device file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// In the container: below `/dev`.
    pub path: String,
    /// On the host: below `/dev`, where links lead no further than `/dev`. A character device.
    pub host: PathBuf,
    /// Major and minor number that it must have, if that is known.
    pub numbers: Option<(u32, u32)>,
    /// Whether it must be possible to read it.
    pub read: bool,
    /// Whether it must be possible to write it.
    pub write: bool,
}

/// A file or folder of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMount {
    /// On the host: a whole path, which whom containers run as can go. Not in `/proc`.
    pub host: PathBuf,
    /// In the container: a whole path, not in a folder that containers are given anyway. Links that the image has on the way are
    /// followed as the program would see them, never out of the image.
    pub at: String,
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLink {
    /// In the container: a whole path.
    pub at: String,
    /// Where it leads, as it is.
    pub target: String,
}

/// All that the devices of one container amount to, as the helper is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Devices {
    pub(crate) nodes: Vec<DeviceNode>,
    pub(crate) mounts: Vec<DeviceMount>,
    pub(crate) links: Vec<DeviceLink>,
    /// Links in [`DEVICE_LIBRARIES`]: by which name, to what.
    pub(crate) libraries: Vec<(String, String)>,
    /// Which device is given, for messages.
    pub(crate) names: String,
}

impl Devices {
    /// Whether there are none.
    pub(crate) fn is_none(&self) -> bool {
        self.names.is_empty()
    }

    /// Looks whether the host has them, and puts together what they ask for.
    pub(crate) fn of(devices: &[Device]) -> Result<Self, ContainerError> {
        let mut all = Self::default();
        let mut env = 0;
        for device in devices {
            let refuse = |problem| ContainerError::Device { name: device.name.clone(), problem };
            all.add(device).map_err(refuse)?;
            env += device.env.len();
            let most = [all.nodes.len(), all.mounts.len(), all.links.len(), env].into_iter().max().unwrap_or(0);
            if most > DEVICE_ITEMS_MAX {
                return Err(refuse(format!(
                    "the devices have {most} things of one kind; {DEVICE_ITEMS_MAX} are allowed"
                )));
            }
        }
        // Folders before what may lie in them.
        all.mounts.sort_by(|one, other| one.at.cmp(&other.at));
        all.names = devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ");
        if all.names.is_empty() && !devices.is_empty() {
            all.names = "without a name".to_owned();
        }
        Ok(all)
    }

    fn add(&mut self, device: &Device) -> Result<(), String> {
        for node in &device.nodes {
            self.add_node(node.clone())?;
        }
        for mount in &device.mounts {
            self.add_mount(mount, &device.library_folders)?;
        }
        for link in &device.links {
            let at = plain(&link.at)?;
            let is_device = at.strip_prefix("/dev/").is_some_and(|rest| !is_taken(rest));
            if (is_ours(&at) && !is_device) || link.target.is_empty() || link.target.contains('\0') {
                return Err(format!("a link `{}` to `{}` is not made", link.at, link.target.escape_default()));
            }
            let link = DeviceLink { at, target: link.target.clone() };
            if !self.links.contains(&link) {
                self.links.push(link);
            }
        }
        for (key, value) in &device.env {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("`{}` is no name of a variable, or its value no value", key.escape_default()));
            }
        }
        Ok(())
    }

    fn add_node(&mut self, node: DeviceNode) -> Result<(), String> {
        let path = plain(&node.path)?;
        let Some(name) = path.strip_prefix("/dev/") else {
            return Err(format!("the device file {path} is not below /dev"));
        };
        let host = look_at(&node)?;
        if DEVICES.contains(&name) && host == Path::new(&path) {
            return Ok(());
        }
        if is_taken(name) || DEVICES.contains(&name) {
            return Err(format!("the name {path} is taken by something that every container has"));
        }
        match self.nodes.iter_mut().find(|known| known.path == path) {
            None => self.nodes.push(DeviceNode { path, host, ..node }),
            Some(known) if known.host == host => {
                known.read |= node.read;
                known.write |= node.write;
            }
            Some(known) => {
                return Err(format!("{path} is to be both {} and {}", known.host.display(), host.display()));
            }
        }
        Ok(())
    }

    fn add_mount(&mut self, mount: &DeviceMount, library_folders: &[String]) -> Result<(), String> {
        let (at, host) = (plain(&mount.at)?, &mount.host);
        plain(host.to_str().unwrap_or_default())?;
        let missing = |error| format!("{} on this host: {error}", host.display());
        let metadata = std::fs::metadata(host).map_err(missing)?;
        let real = std::fs::canonicalize(host).map_err(missing)?;
        if real == Path::new("/") || real.starts_with("/proc") {
            return Err(format!("{} is {}: that is no device's file", host.display(), real.display()));
        }
        let kind = metadata.file_type();
        if kind.is_socket() || kind.is_fifo() {
            return Ok(());
        }
        if kind.is_char_device() {
            // As some describe the links in /dev/dri/by-path.
            let node = DeviceNode { path: at, host: host.clone(), numbers: None, read: true, write: true };
            return self.add_node(node);
        }
        if !kind.is_file() && !kind.is_dir() {
            return Err(format!("{} is neither file nor folder", host.display()));
        }
        if is_ours(&at) {
            return Err(format!("nothing can be mounted at {at}: it lies in what every container has"));
        }
        match self.mounts.iter().find(|known| known.at == at) {
            Some(known) if known.host == *host => return Ok(()),
            Some(known) => return Err(format!("{at} is to be both {} and {}", known.host.display(), host.display())),
            None => {}
        }
        let folder = Path::new(&at).parent().and_then(Path::to_str).unwrap_or("/");
        if kind.is_file()
            && library_folders.iter().any(|known| plain(known).is_ok_and(|known| known == folder))
            && let Some(soname) = soname(host)
        {
            let file = at.rsplit('/').next().unwrap_or_default().to_owned();
            self.libraries.push((soname.clone(), at.clone()));
            if soname != file {
                self.links.push(DeviceLink { at: format!("{}/{soname}", folder.trim_end_matches('/')), target: file });
            }
        }
        self.mounts.push(DeviceMount { host: host.clone(), at });
        Ok(())
    }
}

/// What the variables of devices and the place of their libraries make of an environment.
pub(crate) fn add_env(devices: &[Device], prepared: &Devices, env: &mut Vec<(String, String)>) {
    const SEARCHED: &str = "LD_LIBRARY_PATH";
    for (key, value) in devices.iter().flat_map(|device| &device.env) {
        env.retain(|(other, _)| other != key);
        env.push((key.clone(), value.clone()));
    }
    if prepared.libraries.is_empty() {
        return;
    }
    match env.iter_mut().rev().find(|(key, value)| key == SEARCHED && !value.is_empty()) {
        Some((_, value)) => *value = format!("{value}:{DEVICE_LIBRARIES}"),
        None => {
            env.retain(|(key, _)| key != SEARCHED);
            env.push((SEARCHED.to_owned(), DEVICE_LIBRARIES.to_owned()));
        }
    }
}

/// A whole path without detours.
fn plain(path: &str) -> Result<String, String> {
    let shown = path.escape_default();
    let mut parts = Path::new(path).components();
    let is_whole = parts.next() == Some(Component::RootDir);
    let rest: Vec<Component> = parts.collect();
    let is_plain = rest.iter().all(|part| matches!(part, Component::Normal(_)));
    if !is_whole || !is_plain || rest.is_empty() || path.contains('\0') {
        return Err(format!("`{shown}` is not a whole path without `..`"));
    }
    let names = rest.iter().filter_map(|part| part.as_os_str().to_str());
    Ok(names.fold(String::new(), |path, name| format!("{path}/{name}")))
}

fn is_ours(at: &str) -> bool {
    OURS.iter().any(|folder| Path::new(at).starts_with(folder))
}

/// Whether a name below `/dev` is, or lies in, something that is no device's.
fn is_taken(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    TAKEN.contains(&first) || (DEVICES.contains(&first) && first != name)
}

/// Where the host has the device file, which is one that can be given away. The helper looks again, at what it has open.
fn look_at(node: &DeviceNode) -> Result<PathBuf, String> {
    let host = plain(node.host.to_str().unwrap_or_default())?;
    if !host.starts_with("/dev/") {
        return Err(format!("the device file {host} is not below /dev"));
    }
    let real = std::fs::canonicalize(&host).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("this host has no {host}"),
        _ => format!("{host}: {error}"),
    })?;
    if !real.starts_with("/dev") {
        return Err(format!("{host} leads to {}, which is not below /dev", real.display()));
    }
    let metadata = std::fs::metadata(&real).map_err(|error| format!("{host}: {error}"))?;
    check_numbers(node, metadata.mode(), metadata.rdev())?;
    Ok(real)
}

/// That an open file is the device that is meant.
pub(crate) fn check_numbers(node: &DeviceNode, mode: u32, rdev: u64) -> Result<(), String> {
    let host = node.host.display();
    if mode & libc::S_IFMT != libc::S_IFCHR {
        return Err(format!("{host} is no character device"));
    }
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    if let Some(numbers) = node.numbers
        && numbers != (major, minor)
    {
        let (expected_major, expected_minor) = numbers;
        return Err(format!(
            "{host} is the device {major}:{minor}, and its description says {expected_major}:{expected_minor}: is that older than the \
             driver?"
        ));
    }
    let is_memory = major == MEMORY_MAJOR && !MEMORY_ALLOWED.contains(&minor);
    if is_memory || MAJORS_REFUSED.contains(&major) || PTYS_REFUSED.contains(&major) {
        return Err(format!(
            "{host} ({major}:{minor}) is memory, a terminal or a disk of the host: it is given to nobody"
        ));
    }
    Ok(())
}

/// Groups without which a user of no other could not open the device files as they are to be opened. Never root's.
pub(crate) fn groups(nodes: &[DeviceNode]) -> BTreeSet<u32> {
    let needed = |node: &DeviceNode| {
        let metadata = std::fs::metadata(&node.host).ok()?;
        let wanted = u32::from(node.read) << 2 | u32::from(node.write) << 1;
        let (group, others) = (metadata.mode() >> 3 & wanted, metadata.mode() & wanted);
        (group == wanted && others != wanted && metadata.gid() != 0).then(|| metadata.gid())
    };
    nodes.iter().filter_map(needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, host: &str) -> DeviceNode {
        DeviceNode { path: path.to_owned(), host: host.into(), numbers: None, read: true, write: true }
    }

    fn refusal(device: Device) -> String {
        match Devices::of(&[Device { name: "a.com/b=x".to_owned(), ..device }]) {
            Ok(devices) => panic!("{devices:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_no_device_of_this_host_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for (path, host, shown) in [
            ("/dev/x", "/dev/not-here", "this host has no /dev/not-here"),
            ("/dev/x", "/dev/../etc/passwd", "without `..`"),
            ("/dev/../etc/x", "/dev/null", "without `..`"),
            ("/dev", "/dev/null", "not below /dev"),
            ("dev/x", "/dev/null", "not a whole path"),
            ("", "/dev/null", "not a whole path"),
            ("/dev/x\0y", "/dev/null", "not a whole path"),
            ("/x", "/dev/null", "/x is not below /dev"),
            ("/devx", "/dev/null", "/devx is not below /dev"),
            ("/dev/x", file.to_str().unwrap(), "is not below /dev"),
            ("/dev/x", "/proc/self/root/dev/null", "is not below /dev"),
            ("/dev/x", "/dev/fd/0/..", "without `..`"),
            ("/dev/x", "/dev/shm", "no character device"),
            ("/dev/zero", "/dev/null", "is taken"),
            ("/dev/fd/3", "/dev/null", "is taken"),
            ("/dev/null/x", "/dev/null", "is taken"),
            ("/dev/libraries", "/dev/null", "is taken"),
            ("/dev/x", "/dev/tty", "given to nobody"),
        ] {
            let text = refusal(Device { nodes: vec![node(path, host)], ..Device::default() });
            assert!(text.contains(shown) && text.contains("a.com/b=x"), "{path} {host}: {text}");
        }
        let wrong = DeviceNode { numbers: Some((195, 0)), ..node("/dev/x", "/dev/zero") };
        let text = refusal(Device { nodes: vec![wrong], ..Device::default() });
        assert!(text.contains("1:5") && text.contains("195:0"), "{text}");
        let both = vec![node("/dev/x", "/dev/zero"), node("/dev/x", "/dev/full")];
        assert!(refusal(Device { nodes: both, ..Device::default() }).contains("both /dev/zero and /dev/full"));
    }

    #[test]
    fn mounts_links_and_variables_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let mount = |host: &Path, at: &str| Device {
            mounts: vec![DeviceMount { host: host.to_owned(), at: at.to_owned() }],
            ..Device::default()
        };
        for (host, at, shown) in [
            (file.as_path(), "/proc/x", "nothing can be mounted at /proc/x"),
            (file.as_path(), "/dev/x", "nothing can be mounted at /dev/x"),
            (file.as_path(), "/sys", "nothing can be mounted"),
            (file.as_path(), "/iexec_out/x", "nothing can be mounted"),
            (file.as_path(), "/usr/../etc", "without `..`"),
            (file.as_path(), "/", "not a whole path"),
            (Path::new("relative"), "/x", "not a whole path"),
            (Path::new("/not-here"), "/x", "/not-here on this host"),
            (Path::new("/dev/zero"), "/x", "/x is not below /dev"),
            (Path::new("/proc/self/root"), "/x", "no device's file"),
            (Path::new("/proc/self/status"), "/x", "no device's file"),
        ] {
            let text = refusal(mount(host, at));
            assert!(text.contains(shown), "{} {at}: {text}", host.display());
        }
        let socket = dir.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(Devices::of(&[mount(&socket, "/run/socket")]).unwrap().mounts, []);
        assert_eq!(Devices::of(&[mount(Path::new("/dev/zero"), "/dev/by/path")]).unwrap().nodes.len(), 1);
        assert_eq!(Devices::of(&[mount(&file, "/a//b/"), mount(&file, "/a/b")]).unwrap().mounts.len(), 1);
        for (at, target) in [("/proc/x", "y"), ("/dev/fd", "y"), ("/dev", "y"), ("/x", ""), ("x", "y"), ("/x", "a\0b")]
        {
            let link = DeviceLink { at: at.to_owned(), target: target.to_owned() };
            refusal(Device { links: vec![link], ..Device::default() });
        }
        for (key, value) in [("", "x"), ("A=B", "x"), ("A", "x\0")] {
            refusal(Device { env: vec![(key.to_owned(), value.to_owned())], ..Device::default() });
        }
        let many = vec![node("/dev/x", "/dev/zero"); 2];
        assert_eq!(Devices::of(&[Device { nodes: many, ..Device::default() }]).unwrap().nodes.len(), 1);
        let links = |count: usize| (0..count).map(|n| DeviceLink { at: format!("/l{n}"), target: "x".to_owned() });
        let links = Device { links: links(DEVICE_ITEMS_MAX + 1).collect(), ..Device::default() };
        assert!(refusal(links).contains("2049"));
    }

    #[test]
    fn libraries_are_searched_last() {
        let devices = Devices { libraries: vec![("a".into(), "/a".into())], ..Devices::default() };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let given = [Device { env: vec![pair("A", "new")], ..Device::default() }];
        let mut env = vec![pair("A", "old"), pair("B", "b")];
        add_env(&given, &devices, &mut env);
        assert_eq!(env, [pair("B", "b"), pair("A", "new"), pair("LD_LIBRARY_PATH", DEVICE_LIBRARIES)]);
        let mut env = vec![pair("LD_LIBRARY_PATH", "/mine")];
        add_env(&[], &devices, &mut env);
        assert_eq!(env, [pair("LD_LIBRARY_PATH", &format!("/mine:{DEVICE_LIBRARIES}"))]);
        let mut env = vec![];
        add_env(&[], &Devices::default(), &mut env);
        assert_eq!(env, []);
    }
}
