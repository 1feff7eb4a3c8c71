//! Show things in a root that somebody else furnished: each path is followed as a program inside would follow it, links and all, and
//! never leads out, nor into what is mounted there already (openat2(2)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use crate::device::{DEVICE_LIBRARIES, DeviceNode, Devices, check_numbers};
use crate::rootfs::{Refused, refused};

/// Paths end here: one that has more parts is refused.
const DEPTH_MAX: usize = 64;

/// How often a path is followed anew.
const TRIES_MAX: usize = 1_000;

/// Follows a path that must not lead out. When anybody on the machine renames or mounts something meanwhile, the kernel cannot tell
/// whether a `..` in it did (EAGAIN in openat2(2)), and the path is followed again.
fn open_within(folder: &OwnedFd, path: &(impl NixPath + ?Sized), how: OpenHow) -> nix::Result<OwnedFd> {
    for _ in 1..TRIES_MAX {
        match openat2(folder, path, how) {
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            other => return other,
        }
    }
    openat2(folder, path, how)
}

/// A folder that is `/` for the paths in it.
struct Inside {
    root: OwnedFd,
}

impl Inside {
    fn of(folder: &Path) -> Result<Self, Refused> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: open(folder, flags, Mode::empty()).map_err(refused(folder.display()))? })
    }

    fn look(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        open_within(&self.root, path, OpenHow::new().flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve))
    }

    /// A folder; it is made, with those that it lies in.
    fn folder(&self, path: &str) -> Result<OwnedFd, Refused> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        if names.len() > DEPTH_MAX {
            return Err(format!("{path}: more than {DEPTH_MAX} folders in each other"));
        }
        let mut at = self.look(".", OFlag::O_DIRECTORY).map_err(refused("the root"))?;
        let mut so_far = String::new();
        for name in names {
            so_far = format!("{so_far}/{name}");
            let next = match self.look(&so_far, OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT) => mkdirat(&at, name, Mode::from_bits_truncate(0o755))
                    .and_then(|()| self.look(&so_far, OFlag::O_DIRECTORY)),
                other => other,
            };
            at = next.map_err(|error| format!("the folder {so_far} of the image: {}", why(error)))?;
        }
        Ok(at)
    }

    /// Something to mount on: what is there, or an empty file.
    fn file(&self, path: &str) -> Result<OwnedFd, Refused> {
        let (folder, name) = split(path);
        let folder = self.folder(folder)?;
        let found = match self.look(path, OFlag::empty()) {
            Err(Errno::ENOENT) => {
                // A link that leads nowhere is not what somebody looks for there.
                let _ = unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir);
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                openat(&folder, name, flags, Mode::from_bits_truncate(0o644))
                    .and_then(|_| self.look(path, OFlag::empty()))
            }
            other => other,
        };
        found.map_err(|error| format!("a place at {path}: {}", why(error)))
    }

    /// A link in place of a link, or of nothing.
    fn link(&self, path: &str, target: &str) -> Result<(), Refused> {
        let (folder, name) = split(path);
        let folder = self.folder(folder)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&folder, name, flags, Mode::empty()).and_then(|there| fstat(&there)) {
            Ok(there) if SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK => {
                unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir).map_err(refused(path))?;
            }
            Ok(_) => return Ok(()),
            Err(_) => {}
        }
        symlinkat(target, &folder, name).map_err(refused(format_args!("a link at {path}")))
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn why(error: Errno) -> &'static str {
    match error {
        Errno::EXDEV => "the image leads elsewhere from there",
        Errno::EEXIST => "the image has a link there that leads nowhere",
        other => other.desc(),
    }
}

/// The devices' files, open and looked at, before the host is out of sight.
pub(crate) struct OpenDevices<'a> {
    devices: &'a Devices,
    nodes: Vec<OwnedFd>,
    mounts: Vec<OwnedFd>,
}

impl<'a> OpenDevices<'a> {
    /// In the mount namespace in which they are to be shown, as whom the program runs as.
    pub(crate) fn open(devices: &'a Devices) -> Result<Self, Refused> {
        let dev = Path::new("/dev");
        let dev =
            open(dev, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(refused("/dev"))?;
        Ok(Self {
            devices,
            nodes: devices.nodes.iter().map(|node| open_node(&dev, node)).collect::<Result<_, _>>()?,
            mounts: devices
                .mounts
                .iter()
                .map(|mount| {
                    let file = open(&mount.host, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
                    let file = file.map_err(refused(mount.host.display()))?;
                    copy(&file, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
                        .map_err(refused(mount.host.display()))
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// Shows them in the root, where `/dev` is a folder of ours already.
    pub(crate) fn show(self, root: &Path) -> Result<(), Refused> {
        let (dev, root) = (Inside::of(&root.join("dev"))?, Inside::of(root)?);
        for (node, file) in self.devices.nodes.iter().zip(&self.nodes) {
            let path = node.path.strip_prefix("/dev").unwrap_or(&node.path);
            attach(file, &dev.file(path)?).map_err(refused(&node.path))?;
        }
        for (mount, file) in self.devices.mounts.iter().zip(&self.mounts) {
            let kind = fstat(file).map_err(refused(mount.host.display()))?.st_mode & libc::S_IFMT;
            let at = if kind == libc::S_IFDIR { root.folder(&mount.at)? } else { root.file(&mount.at)? };
            attach(file, &at).map_err(refused(format_args!("{} at {}", mount.host.display(), mount.at)))?;
        }
        for link in &self.devices.links {
            match link.at.strip_prefix("/dev/") {
                Some(name) => dev.link(&format!("/{name}"), &link.target)?,
                None => root.link(&link.at, &link.target)?,
            }
        }
        let folder = DEVICE_LIBRARIES.strip_prefix("/dev").unwrap_or(DEVICE_LIBRARIES);
        self.devices.libraries.iter().try_for_each(|(name, target)| dev.link(&format!("{folder}/{name}"), target))
    }
}

/// Looks at a device file, whether it is what it should be and may be used, and takes it out of the host's `/dev`.
fn open_node(dev: &OwnedFd, node: &DeviceNode) -> Result<OwnedFd, Refused> {
    let host = node.host.display();
    let name = node.host.strip_prefix("/dev").map_err(refused(&host))?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = open_within(dev, name, how).map_err(refused(&host))?;
    let found = fstat(&file).map_err(refused(&host))?;
    check_numbers(node, found.st_mode, found.st_rdev)?;
    let wanted = (libc::R_OK * i32::from(node.read)) | (libc::W_OK * i32::from(node.write));
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the descriptor is open and the path is an empty C string.
    let allowed = unsafe { libc::syscall(libc::SYS_faccessat2, file.as_raw_fd(), c"".as_ptr(), wanted, flags) };
    Errno::result(allowed).map_err(|error| {
        let (mode, owner, group) = (found.st_mode & 0o777, found.st_uid, found.st_gid);
        format!(
            "{host} is closed to whom containers run as: {} (mode {mode:o}, user {owner}, group {group})",
            error.desc()
        )
    })?;
    copy(&file, libc::MOUNT_ATTR_NOSUID).map_err(refused(&host))
}

/// What is mounted where a file lies, from there on, as a mount of its own with fewer rights; it is nowhere yet.
fn copy(file: &OwnedFd, attributes: u64) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | libc::AT_EMPTY_PATH.cast_unsigned()
        | libc::AT_RECURSIVE.cast_unsigned();
    // SAFETY: the descriptor is open and the path is an empty C string.
    let tree = Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, file.as_raw_fd(), c"".as_ptr(), flags) })?;
    let tree = i32::try_from(tree).map_err(|_| Errno::EBADF)?;
    // SAFETY: it was just opened, and nobody else has it.
    let tree = unsafe { OwnedFd::from_raw_fd(tree) };
    crate::rootfs::restrict_tree(tree.as_fd(), attributes, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)?;
    Ok(tree)
}

fn attach(tree: &OwnedFd, at: &OwnedFd) -> nix::Result<()> {
    let (tree, at): (BorrowedFd, BorrowedFd) = (tree.as_fd(), at.as_fd());
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: both descriptors are open, and the paths are empty C strings.
    let moved = unsafe { libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), empty, at.as_raw_fd(), empty, flags) };
    Errno::result(moved).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Somebody who renames all the time makes the kernel unsure of every `..`.
    #[test]
    fn a_path_is_followed_again_when_something_is_renamed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("root/a/b")).unwrap();
        std::fs::create_dir(folder.path().join("one")).unwrap();
        let root = Inside::of(&folder.path().join("root")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, two) = (folder.path().join("one"), folder.path().join("two"));
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(&one, &two).unwrap();
                    std::fs::rename(&two, &one).unwrap();
                }
            });
            let path = "a/b/../b/../../a/b/../../a/../a/b";
            let failed = (0..20_000).find_map(|_| root.look(path, OFlag::O_DIRECTORY).err());
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }
}
