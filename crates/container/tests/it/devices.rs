//! Devices: real ones of the host, given by name. There is no accelerator in a test's machine; what a kernel does with a device file
//! is the same for all of them.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use gristmill_container::{Container, ContainerError, DEVICE_LIBRARIES, Device, DeviceLink, DeviceMount, DeviceNode};
use gristmill_sandbox::Control;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::bench::{Bench, Kind, give, own_kinds, probe};

fn node(path: &str, host: &str) -> DeviceNode {
    DeviceNode { path: path.to_owned(), host: host.into(), numbers: None, read: true, write: true }
}

fn nodes(nodes: Vec<DeviceNode>) -> Device {
    Device { name: "example.com/accelerator=0".to_owned(), nodes, ..Device::default() }
}

fn mount(host: &Path, at: &str) -> DeviceMount {
    DeviceMount { host: host.to_owned(), at: at.to_owned() }
}

/// Bytes that a program may lock at most: what the host has lowered, only some may raise again (capabilities(7), `CAP_SYS_RESOURCE`).
fn lockable(kind: Kind) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    let may_raise = u64::from_str_radix(capabilities, 16).unwrap() >> 24 & 1 == 1;
    match kind {
        Kind::Root | Kind::RootWithoutCgroups if may_raise => u64::MAX,
        _ => getrlimit(Resource::RLIMIT_MEMLOCK).unwrap().1,
    }
}

/// What is said when it cannot begin.
fn refusal(bench: &Bench, container: &Container) -> String {
    match bench.runner.run(container, &Control::new()) {
        Err(error @ ContainerError::Device { .. }) => error.to_string(),
        other => panic!("{:?}: {other:?}", bench.kind),
    }
}

#[test]
fn devices_are_there_for_whom_they_are_given_to_and_for_nobody_else() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let words = [
            "list /dev",
            "list /dev/dri",
            "device /dev/accel0",
            "device /dev/dri/renderD128",
            "env",
            "limits",
            "stat /dev/dri/by-path",
        ];
        let mut container = bench.probe(&words);
        let plain = bench.printed(&container);
        assert!(plain.starts_with("list /dev: fd full null random shm stderr stdin stdout urandom zero\nlist: ENOENT\n/dev/accel0: ENOENT\n"), "{plain}");
        assert!(plain.contains("locked 8388608\n") && !plain.contains("ACCELERATOR"), "{plain}");
        container.runs = vec![bench.item(0)];
        let accelerator = DeviceNode { numbers: Some((1, 5)), ..node("/dev/accel0", "/dev/zero") };
        container.env.push(("ACCELERATOR".to_owned(), "none".to_owned()));
        container.devices = vec![
            Device {
                env: vec![("ACCELERATOR".to_owned(), "0".to_owned())],
                links: vec![DeviceLink { at: "/dev/dri/by-path/first".to_owned(), target: "../renderD128".to_owned() }],
                ..nodes(vec![accelerator.clone(), node("/dev/null", "/dev/null")])
            },
            nodes(vec![accelerator, node("/dev/dri/renderD128", "/dev/full")]),
        ];
        let printed = bench.printed(&container);
        let device = |path: &str, numbers| format!("{path} is {numbers}\nioctl: ENOTTY\nread: done\nmmap: done\n");
        let expected = "list /dev: accel0 dri fd full null random shm stderr stdin stdout urandom zero\nlist /dev/dri: by-path renderD128\n"
            .to_owned() + &device("/dev/accel0", "1:5");
        assert!(printed.starts_with(&expected), "{kind:?}: {printed}");
        assert!(printed.contains("/dev/dri/renderD128 is 1:7\nioctl: ENOTTY\n"), "{kind:?}: {printed}");
        assert!(printed.contains("\nACCELERATOR=0\n") && !printed.contains("LD_LIBRARY_PATH"), "{kind:?}: {printed}");
        let locked = container.limits.memory_bytes.min(lockable(kind));
        assert!(printed.contains(&format!("data -1, locked {locked}\n")), "{kind:?}: {printed}");
    }
}

#[test]
fn what_is_not_on_this_host_is_said() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let mut container = bench.probe(&["echo never"]);
        container.devices = vec![nodes(vec![node("/dev/nvidia0", "/dev/no-such-device")])];
        let text = refusal(&bench, &container);
        assert_eq!(
            text,
            "cannot give the container the device example.com/accelerator=0: this host has no /dev/no-such-device"
        );
        let block = std::fs::read_dir("/dev").unwrap().flatten().find(|it| it.file_type().unwrap().is_block_device());
        if let Some(block) = block {
            container.devices = vec![nodes(vec![node("/dev/x", block.path().to_str().unwrap())])];
            assert!(refusal(&bench, &container).contains("is no character device"), "{kind:?}");
        }
        let file = bench.path("file");
        std::fs::write(&file, "x").unwrap();
        container.devices = vec![nodes(vec![node("/dev/x", file.to_str().unwrap())])];
        assert!(refusal(&bench, &container).contains("is not below /dev"), "{kind:?}");
        container.devices = vec![Device { mounts: vec![mount(&bench.path("none"), "/lib/x")], ..nodes(vec![]) }];
        assert!(refusal(&bench, &container).contains("No such file"), "{kind:?}");
    }
}

/// A device file of these tests, for as long as this is kept.
struct Made(PathBuf);

impl Made {
    /// None where this process may not make any.
    fn new(name: &str, mode: u32, group: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/dev/gristmill-test-{}-{name}", std::process::id()));
        let made = mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(mode), makedev(1, 5));
        if let Err(error) = made {
            println!("skipped: this process may not make device files: {error}");
            return None;
        }
        let made = Self(path);
        std::os::unix::fs::chown(&made.0, Some(0), Some(group)).unwrap();
        std::fs::set_permissions(&made.0, std::fs::Permissions::from_mode(mode)).unwrap();
        Some(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn of_groups_the_devices_own_is_kept_and_no_other() {
    const GROUP: u32 = 1_998_000;
    let Some(made) = Made::new("group", 0o660, GROUP) else { return };
    let host = made.0.to_str().unwrap();
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let mut container = bench.probe(&["device /dev/accel0", "who"]);
        container.devices = vec![nodes(vec![node("/dev/accel0", host)])];
        if kind == Kind::Ordinary {
            let text = refusal(&bench, &container);
            assert!(text.contains("is closed to whom containers run as") && text.contains("mode 660"), "{text}");
            continue;
        }
        let printed = bench.printed(&container);
        assert!(printed.starts_with("/dev/accel0 is 1:5\n"), "{kind:?}: {printed}");
        assert!(printed.contains(", groups 1\n"), "{kind:?}: {printed}");
        // A device that all may use brings no group.
        container.runs = vec![bench.item(0)];
        container.devices = vec![nodes(vec![node("/dev/accel0", "/dev/zero")])];
        let printed = bench.printed(&container);
        assert!(printed.contains(", groups 0\n"), "{kind:?}: {printed}");
    }
}

#[test]
fn what_is_roots_alone_is_given_to_nobody() {
    for (name, mode, group) in [("owner", 0o600, 1_998_001), ("roots", 0o660, 0), ("half", 0o640, 1_998_001)] {
        let Some(made) = Made::new(name, mode, group) else { return };
        for kind in own_kinds() {
            let bench = Bench::new(kind);
            let mut container = bench.probe(&["echo never"]);
            container.devices = vec![nodes(vec![node("/dev/accel0", made.0.to_str().unwrap())])];
            let text = refusal(&bench, &container);
            assert!(text.contains("is closed to whom containers run as"), "{kind:?}: {name}: {text}");
        }
    }
}

/// What an image has in the way of the library and the folder, where it leads, and whether they can be shown all the same. `VICTIM`: a
/// folder of the host.
const TRAPS: [(&str, &str, bool); 17] = [
    ("unused", "x", true),
    ("usr/lib", "VICTIM", false),
    ("usr/lib", "/etc", true),
    ("usr/lib", "../../../../../../../../lib", true),
    ("usr", "/", true),
    ("usr/lib/gpu", "VICTIM", false),
    ("usr/lib/gpu", "/proc/self/cwd", false),
    ("usr/lib/gpu", "/dev", false),
    ("usr/lib/gpu", "/iexec_out", false),
    ("usr/lib/gpu", "gpu", false),
    ("usr/lib/gpu/libdevice.so.1", "/../../../../../../../../../tmp/nowhere", true),
    ("usr/lib/gpu/libdevice.so.1", "/bin/other", true),
    ("usr/lib/gpu/libdevice.so", "/bin/other", true),
    ("usr/share/gpu", "/bin/other", false),
    ("usr/share/gpu", "/etc", true),
    ("dev", "VICTIM", true),
    ("dev/dri", "VICTIM", true),
];

/// Libraries of the host in an image that has laid traps where they go.
#[test]
fn an_image_leads_no_mount_or_link_elsewhere() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let victim = bench.path("victim");
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "precious").unwrap();
        give(&victim, bench.user());
        let library = bench.path("given/libdevice.so.1");
        std::fs::write(&library, "a library").unwrap();
        // What keeps it from being written is how it is mounted.
        std::fs::set_permissions(&library, std::fs::Permissions::from_mode(0o666)).unwrap();
        let folder = bench.path("given/folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("inner"), "inner").unwrap();
        std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        give(&bench.path("given"), bench.user().filter(|_| kind == Kind::Ordinary));
        let device = Device {
            mounts: vec![mount(&library, "/usr/lib/gpu/libdevice.so.1"), mount(&folder, "/usr/share/gpu")],
            links: vec![DeviceLink { at: "/usr/lib/gpu/libdevice.so".to_owned(), target: "libdevice.so.1".to_owned() }],
            ..nodes(vec![node("/dev/dri/renderD128", "/dev/zero")])
        };
        let absolute = victim.to_str().unwrap().to_owned();
        for (number, (at, target, works)) in TRAPS.into_iter().enumerate() {
            let target = if target == "VICTIM" { absolute.as_str() } else { target };
            let name = format!("trapped{number}");
            let layer = bench.layer(&name, &[("bin/probe", &std::fs::read(probe()).unwrap()), ("bin/other", b"other")]);
            for made in ["etc", "lib", "usr"].map(|name| layer.join(name)) {
                if at != "usr" || !made.ends_with("usr") {
                    std::fs::create_dir_all(made).unwrap();
                }
            }
            std::fs::create_dir_all(layer.join(at).parent().unwrap()).unwrap();
            symlink(target, layer.join(at)).unwrap();
            give(&layer, bench.user());
            let words = [
                "cat /usr/lib/gpu/libdevice.so",
                "echo",
                "cat /usr/share/gpu/inner",
                "echo",
                "device /dev/dri/renderD128",
                "can-write /usr/lib/gpu/libdevice.so.1",
            ];
            let mut container = bench.container(vec![layer.clone()], vec!["/bin/probe".to_owned()]);
            container.argv.extend(words.map(str::to_owned));
            container.devices = vec![device.clone()];
            if works {
                let printed = bench.printed(&container);
                assert!(
                    printed.starts_with("a library\ninner\n/dev/dri/renderD128 is 1:5\n")
                        && printed.ends_with("libdevice.so.1: EROFS\n"),
                    "{kind:?}: {at} -> {target}: {printed}"
                );
            } else {
                let text = refusal(&bench, &container);
                assert!(text.contains("/usr/"), "{kind:?}: {at} -> {target}: {text}");
            }
            let left: Vec<_> = std::fs::read_dir(&victim).unwrap().map(|it| it.unwrap().file_name()).collect();
            assert_eq!(left, ["file"], "{kind:?}: {at} -> {target}");
            assert_eq!(std::fs::read(victim.join("file")).unwrap(), b"precious");
            assert_eq!(std::fs::read(layer.join("bin/other")).unwrap(), b"other");
        }
        assert_eq!(std::fs::read(&library).unwrap(), b"a library");
    }
}

fn compile(folder: &Path, args: &[&str]) {
    let status = Command::new("cc").current_dir(folder).args(args).status().expect("the tests need a C compiler");
    assert!(status.success(), "cc {args:?}");
}

/// What a program is linked with, on this host.
pub fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("the tests need ldd");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// The library has another name in the device's description than programs ask for, and no cache of the image's knows it.
#[test]
fn a_program_finds_the_libraries_of_a_device_by_their_names() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let folder = bench.path("given");
        std::fs::write(folder.join("device.c"), "int device_answers(void) { return 42; }\n").unwrap();
        std::fs::write(
            folder.join("program.c"),
            "int printf(const char *, ...); int device_answers(void); int main(void) { printf(\"%d\\n\", device_answers()); }\n",
        )
        .unwrap();
        compile(&folder, &["-shared", "-fPIC", "-Wl,-soname,libdevice.so.1", "-o", "libdevice.so.1.55.6", "device.c"]);
        symlink("libdevice.so.1.55.6", folder.join("libdevice.so.1")).unwrap();
        compile(&folder, &["-o", "program", "program.c", "libdevice.so.1"]);
        let mut files = vec![("bin/program".to_owned(), std::fs::read(folder.join("program")).unwrap())];
        for library in libraries_of(&folder.join("program")) {
            files.push((library.to_str().unwrap().to_owned(), std::fs::read(&library).unwrap()));
        }
        files.retain(|(path, _)| !path.contains("libdevice"));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let layer = bench.layer("dynamic", &files);
        std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        give(&folder, bench.user().filter(|_| kind == Kind::Ordinary));
        let mut container = bench.container(vec![layer], vec!["/bin/program".to_owned()]);
        container.devices = vec![Device {
            mounts: vec![mount(&folder.join("libdevice.so.1.55.6"), "/opt/vendor/lib/libdevice.so.1.55.6")],
            library_folders: vec!["/opt/vendor/lib".to_owned()],
            ..nodes(vec![])
        }];
        assert_eq!(bench.printed(&container), "42\n", "{kind:?}");
        // Without the folder's being named it is not found: what finds it is that, and nothing else.
        container.runs = vec![bench.item(0)];
        container.devices[0].library_folders.clear();
        let finished = bench.finish(&container);
        let log = String::from_utf8_lossy(&finished.log).into_owned();
        assert_eq!(finished.runs[0].ending, gristmill_result::Ending::Exited(127), "{kind:?}: {log}");
        assert!(log.contains("libdevice.so.1"), "{kind:?}: {log}");
    }
    assert!(DEVICE_LIBRARIES.starts_with("/dev/"));
    assert!(std::fs::metadata("/dev/zero").unwrap().rdev() != 0);
}
