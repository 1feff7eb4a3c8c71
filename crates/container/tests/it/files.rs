//! Hostile tasks that look for files: kinds 1, 2, 3, 13 to 17 of the operator's bar.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gristmill_result::Ending;

use crate::bench::{Bench, give, kinds, tree};

/// Lines of a try that succeeded.
fn done(lines: &[String]) -> Vec<&String> {
    lines.iter().filter(|line| line.ends_with(": done")).collect()
}

#[test]
fn nothing_of_the_host_can_be_read() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        // The worker's own folder with its key, and another task's.
        for name in ["worker/key", "other-task/input"] {
            std::fs::create_dir_all(bench.path(name).parent().unwrap()).unwrap();
            std::fs::write(bench.path(name), "secret").unwrap();
            std::fs::set_permissions(bench.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
            give(&bench.path("worker"), bench.user());
        }
        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
        let mut wanted: Vec<String> =
            ["/etc/shadow", "/etc/passwd", "/root", "/home", "/boot", "/var", "/mnt", "/srv", "/run", "/usr"]
                .map(str::to_owned)
                .into();
        wanted.extend([home, env!("CARGO_MANIFEST_DIR").to_owned()]);
        for path in
            [bench.path("worker/key"), bench.path("other-task"), bench.path("layer"), bench.dir.path().to_owned()]
        {
            wanted.push(path.to_str().unwrap().to_owned());
        }
        let direct = wanted.clone();
        for way in
            ["/proc/1/root", "/proc/1/cwd", "/proc/self/root", "/proc/self/cwd", "/../../..", "/proc/self/task/1/root"]
        {
            wanted.extend(direct.iter().map(|path| format!("{way}{path}")));
        }
        wanted.extend(
            ["mem", "environ", "maps", "exe", "fd", "fd/3", "cwd", "root", "stack", "syscall", "io"]
                .map(|name| format!("/proc/1/{name}")),
        );
        let words: Vec<String> = wanted.iter().map(|path| format!("read {path}")).collect();
        let lines = bench.lines(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((lines.len(), done(&lines)), (wanted.len(), Vec::<&String>::new()), "{kind:?}");
    }
}

#[test]
fn other_processes_and_descriptors_show_nothing() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["others", "descriptors", "upwards", "list /proc/self/fd"]);
        let expected = [
            "others: 1 seen, 0 files of theirs open",
            "descriptors past 2: 0",
            "up: still inside",
            "chroot: ENOSYS",
            "up after chroot: still inside",
            // The last one is the folder that is being listed.
            "list /proc/self/fd: 0 1 2 3",
        ];
        assert_eq!(lines, expected, "{kind:?}");
    }
}

#[test]
fn only_its_own_files_can_be_written() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let mut container = bench.probe(&[]);
        container.inputs = vec![bench.input("given.txt", "as it was"), bench.input("folder/inner", "too")];
        container.inputs[1].at = "folder".to_owned();
        container.inputs[1].host = bench.path("given/folder");
        let denied = [
            "/iexec_in",
            "/iexec_in/given.txt",
            "/iexec_in/folder",
            "/iexec_in/folder/inner",
            "/proc",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/drop_caches",
            "/proc/sysrq-trigger",
            "/proc/self/uid_map",
            "/proc/self/gid_map",
            "/proc/self/setgroups",
            "/proc/1/oom_score_adj",
            "/proc/1/comm",
            "/proc/1/mem",
            "/proc/1/clear_refs",
            "/sys",
        ];
        let allowed = ["/", "/bin", "/bin/probe", "/tmp", "/iexec_out", "/dev/shm", "/dev/null"];
        for path in denied.iter().chain(&allowed) {
            container.argv.push(format!("can-write {path}"));
        }
        container.argv.extend(["chmod 0666 /iexec_in/given.txt".to_owned(), "remove /iexec_in/given.txt".to_owned()]);
        container
            .argv
            .extend(["chmod 0666 /dev/null".to_owned(), "rename /iexec_in/folder /iexec_in/other".to_owned()]);
        let printed = bench.printed(&container);
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        // A program that is being run is written by nobody; a copy of it in its own memory is not the host's.
        let expected: Vec<String> =
            allowed.iter().filter(|path| **path != "/bin/probe").map(|path| format!("write {path}: done")).collect();
        assert_eq!(done(&lines), expected.iter().collect::<Vec<_>>(), "{kind:?}: {printed}");
        assert_eq!(lines.len(), denied.len() + allowed.len() + 4, "{kind:?}: {printed}");
        assert_eq!(std::fs::read_to_string(bench.path("given/given.txt")).unwrap(), "as it was");
    }
}

#[test]
fn links_lead_nowhere_and_odd_names_stay_inside() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        std::fs::write(bench.path("secret"), "secret").unwrap();
        let secret = bench.path("secret");
        let mut container = bench.probe(&[
            "symlink /etc/shadow /iexec_out/shadow",
            "symlink ../../../../../../etc/passwd /iexec_out/passwd",
            "symlink /proc/self/root/etc/shadow /iexec_out/root",
            "symlink /proc/1/root /iexec_out/folder",
            "symlink . /iexec_out/itself",
            "link /iexec_in/given.txt /iexec_out/hard",
            "link /bin/probe /iexec_out/program",
            "link /dev/null /iexec_out/device",
            "link /proc/self/status /iexec_out/proc",
            "fifo /iexec_out/fifo",
            "mkdir /iexec_out/a",
            "write /iexec_out/a%0ab control",
            "write /iexec_out/a%1b[31mb escape",
            "write /iexec_out/%ff%fe not utf-8",
            "write /iexec_out/back%5cslash backslash",
            "write /iexec_out/bell%07/inner.txt in a folder that is left out",
            "write /iexec_out/c1%c2%85 another control character",
            "write /iexec_out/good%20name kept",
            "write /iexec_out/sch%c3%b6n kept too",
        ]);
        container.argv.push(format!("symlink {} /iexec_out/absolute", secret.display()));
        container.inputs = vec![bench.input("given.txt", "input")];
        let finished = bench.finish(&container);
        assert_eq!(finished.runs[0].ending, Ending::Exited(0), "{kind:?}");
        let files = tree(&container.runs[0].output_dir);
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a/", "good name", "schön", "stdout.txt"], "{kind:?}");
        let log = String::from_utf8(finished.log).unwrap();
        assert!(log.matches("left out").count() >= 12, "{kind:?}: {log}");
        assert!(!log.contains('\u{1b}') && !log.contains('\u{7}'), "{kind:?}: {log:?}");
        let printed = String::from_utf8_lossy(&files["stdout.txt"]).into_owned();
        assert_eq!(printed.matches("EXDEV").count(), 4, "{kind:?}: {printed}");
    }
}

#[test]
fn devices_are_few_and_cannot_be_made() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&[
            "list /dev",
            "list /dev/shm",
            "list /sys",
            "read /dev/urandom",
            "read /dev/zero",
            "can-write /dev/full",
            "read /dev/nvidia0",
            "read /dev/dri/card0",
            "read /dev/kvm",
            "read /dev/fuse",
            "read /dev/tty",
        ]);
        let expected = [
            "list /dev: fd full null random shm stderr stdin stdout urandom zero",
            "list /dev/shm:",
            "list /sys:",
            "read /dev/urandom: done",
            "read /dev/zero: done",
            "write /dev/full: ENOSPC",
            "read /dev/nvidia0: ENOENT",
            "read /dev/dri/card0: ENOENT",
            "read /dev/kvm: ENOENT",
            "read /dev/fuse: ENOENT",
            "read /dev/tty: ENOENT",
        ];
        assert_eq!(lines, expected, "{kind:?}");
        let made = bench.lines(&["devices"]);
        // Landlock refuses first, where the kernel has it.
        let denied = made.iter().filter(|line| line.ends_with(": EPERM") || line.ends_with(": EACCES"));
        assert_eq!((made.len(), denied.count()), (5, 5), "{kind:?}: {made:?}");
    }
}

#[test]
fn it_has_no_rights_and_gets_none() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let printed = bench.printed(&bench.probe(&["cat /proc/self/status"]));
        let field =
            |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(name), "0000000000000000", "{kind:?}: {name}");
        }
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()), "{kind:?}");
        assert_eq!((field("Uid:"), field("Groups:")), ("0\t0\t0\t0".to_owned(), String::new()), "{kind:?}");
        let lines = bench.lines(&["rights", "chmod 4755 /bin/probe", "run /bin/probe identity rights"]);
        let refused = |name: &str| lines.iter().any(|line| line.starts_with(name) && line.ends_with("EPERM"));
        for name in ["raise a capability", "securebits", "new privileges again", "real time"] {
            let denied = refused(name) || lines.iter().any(|line| line == &format!("{name}: EINVAL"));
            assert!(denied, "{kind:?}: {name}: {lines:?}");
        }
        assert!(!lines.iter().any(|line| line == "setuid 1000: done" || line == "nice: done"), "{kind:?}: {lines:?}");
    }
}

#[test]
fn a_program_with_set_user_id_has_no_more_rights() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let layer = bench.layer("setuid", &[("bin/probe", &std::fs::read(crate::bench::probe()).unwrap())]);
        // Root's own, and with the bit: what a layer of a careless unpacker would have.
        let program = layer.join("bin/probe");
        if bench.user().is_some() {
            std::os::unix::fs::chown(&program, Some(0), Some(0)).unwrap();
        }
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o6755)).unwrap();
        let container =
            bench.container(vec![layer], ["/bin/probe", "identity", "cat /proc/self/status"].map(str::to_owned).into());
        let printed = bench.printed(&container);
        assert!(printed.contains("user 0 0 group 0 0\n"), "{kind:?}: {printed}");
        assert!(
            printed.contains("CapEff:\t0000000000000000\n") && printed.contains("CapPrm:\t0000000000000000\n"),
            "{kind:?}"
        );
    }
}

#[test]
fn proc_shows_nothing_of_the_host() {
    let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    for kind in kinds() {
        let bench = Bench::new(kind);
        let replaced = ["cpuinfo", "meminfo", "uptime", "version", "loadavg", "stat"];
        for name in replaced {
            let printed = bench.printed(&bench.probe(&[&format!("cat /proc/{name}")]));
            assert!(!printed.is_empty() && printed != host(&format!("/proc/{name}")), "{kind:?}: {name}: {printed}");
        }
        let model = host("/proc/cpuinfo");
        let model = model.lines().find(|line| line.starts_with("model name")).unwrap_or("model name?").to_owned();
        let emptied = [
            "cmdline",
            "kallsyms",
            "keys",
            "key-users",
            "interrupts",
            "modules",
            "partitions",
            "diskstats",
            "iomem",
            "ioports",
            "vmstat",
            "zoneinfo",
            "swaps",
            "locks",
            "softirqs",
            "devices",
            "misc",
            "timer_list",
            "config.gz",
            "slabinfo",
            "kcore",
            "kmsg",
            "cgroups",
        ];
        let words: Vec<String> = emptied.iter().map(|name| format!("cat /proc/{name}")).collect();
        let printed = bench.printed(&bench.probe(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        let left: Vec<&str> = printed.lines().filter(|line| !line.starts_with("cat: E")).collect();
        assert_eq!(left, Vec::<&str>::new(), "{kind:?}");
        // Whole trees that tell of buses, drivers, interrupts and the kernel's settings.
        let lines = bench.lines(&[
            "list /proc/bus",
            "list /proc/irq",
            "list /proc/fs",
            "list /proc/driver",
            "list /proc/acpi",
            "list /proc/sysvipc",
        ]);
        assert!(lines.iter().all(|line| line.ends_with(':') || line == "list: ENOENT"), "{kind:?}: {lines:?}");
        let everything = bench.printed(&bench.probe(&[
            "cat /proc/cpuinfo",
            "cat /proc/sys/kernel/random/boot_id",
            "cat /proc/sys/kernel/hostname",
            "cat /proc/self/cgroup",
            "cat /proc/self/net/dev",
            "cat /proc/net/tcp",
            "cat /proc/net/unix",
            "cat /proc/self/mountinfo",
            "identity",
        ]));
        let boot_id = host("/proc/sys/kernel/random/boot_id");
        let folder = bench.dir.path().to_str().unwrap();
        for secret in [model.as_str(), boot_id.trim(), folder] {
            assert!(!everything.contains(secret), "{kind:?}: {secret}: {everything}");
        }
        assert!(everything.contains("host gristmill\n"), "{kind:?}: {everything}");
        assert!(everything.contains("cores 1\nmore cores: done\ncores 1\n"), "{kind:?}: {everything}");
        let interfaces: Vec<&str> =
            everything.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name).collect();
        assert!(
            interfaces.contains(&"lo") && !interfaces.iter().any(|name| name.starts_with("eth")),
            "{kind:?}: {everything}"
        );
    }
}

#[test]
fn the_kernels_settings_are_few_and_made_up() {
    let real = Path::new("/proc/sys/kernel/random/uuid").exists();
    for kind in kinds() {
        let bench = Bench::new(kind);
        let words = [
            "list /proc/sys",
            "cat /proc/sys/kernel/pid_max",
            "cat /proc/sys/kernel/random/uuid",
            "cat /proc/sys/kernel/random/uuid",
        ];
        let (first, second) = (bench.lines(&words), bench.lines(&words));
        assert!(real && first == second && first[2] == first[3], "{kind:?}: {first:?} {second:?}");
        assert!(first[0].contains("kernel") && !first[0].contains("dev"), "{kind:?}: {first:?}");
    }
}
