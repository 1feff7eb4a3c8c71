//! What a program in a container finds wherever it is run, and what it finds otherwise: `docs/apps.md` has the list.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use gristmill_container::Container;

use crate::bench::{Bench, Kind, kinds, probe, tree};

/// How often each kind runs it in one process.
const REPETITIONS: usize = 20;

/// What is the same on all hosts: of one architecture, as far as addresses are meant.
const SAME: [&str; 47] = [
    "who",
    "identity",
    "machine",
    "inherited",
    "place",
    "start-values",
    "env",
    "cwd",
    "addresses",
    "descriptors",
    "list /",
    "list /dev",
    "list /sys",
    "list /proc/self/fd",
    "list /proc/sys/kernel",
    "list /iexec_in",
    "list /iexec_in/folder",
    "list /iexec_out",
    "list /tmp",
    "cat /iexec_in/folder/c",
    "cat /proc/cpuinfo",
    "cat /proc/meminfo",
    "cat /proc/stat",
    "cat /proc/version",
    "cat /proc/uptime",
    "cat /proc/loadavg",
    "cat /proc/filesystems",
    "cat /proc/sys/kernel/random/boot_id",
    "cat /proc/sys/kernel/random/uuid",
    "cat /proc/self/limits",
    "cat /proc/self/cgroup",
    "cat /proc/self/comm",
    "cat /proc/self/cmdline",
    "cat /proc/self/personality",
    "cat /etc/localtime",
    "stat /",
    "stat /tmp",
    "stat /iexec_in",
    "stat /iexec_out",
    "stat /bin/probe",
    "stat /dev/shm",
    "room /tmp",
    "room /iexec_out",
    "run /bin/probe who",
    "run /bin/probe addresses",
    "write /iexec_out/made/result right",
    "stat /iexec_out/made/result",
];

/// What differs from run to run.
const DIFFERS: [&str; 7] =
    ["clocks", "random", "random /dev/urandom", "random /dev/random", "start-random", "times /iexec_out", "times /tmp"];

/// What may differ from host to host, and is the same on one: its processor, kernel and file systems, and the files it was given.
const OF_THE_HOST: [&str; 13] = [
    "write /iexec_out/made x",
    "features",
    "kernel",
    "cores-online",
    "layout",
    "order /",
    "order /dev",
    "order /iexec_in/folder",
    "numbers /dev",
    "numbers /bin",
    "numbers /iexec_in/folder",
    "numbers /iexec_out",
    "times /iexec_in/folder/c",
];

/// The container that all of this is about: a layer, and a folder of inputs that is filled in an order of its own.
fn container(bench: &Bench, words: &[&str], turn: usize) -> Container {
    let mut argv = vec!["/bin/probe".to_owned()];
    argv.extend(words.iter().map(|&word| word.to_owned()));
    let mut container = bench.container(vec![bench.probe_layer()], argv);
    let mut names = ["a", "b", "c", "d", "e"];
    names.rotate_left(turn % 5);
    for name in names {
        bench.input(&format!("folder/{name}"), format!("bytes of {name}\n"));
    }
    let mut folder = bench.input("folder/a", "bytes of a\n");
    (folder.at, folder.host) = ("folder".to_owned(), bench.path("given/folder"));
    container.inputs = vec![folder];
    container
}

/// All that it left, as text.
fn seen(bench: &Bench, container: &Container) -> String {
    let mut container = container.clone();
    container.runs = vec![bench.item(0)];
    let finished = bench.finish(&container);
    let files = tree(&container.runs[0].output_dir);
    let mut text = format!("{:?}\n", finished.runs[0].ending);
    for (name, bytes) in files {
        text += &format!("== {name}\n{}\n", String::from_utf8_lossy(&bytes));
    }
    // What no other runtime can give: the program's parent is in its own namespace.
    text.replace(&format!("process 2 of {},", bench.kind.parent()), "process 2 of 1,")
}

#[test]
fn twenty_repetitions_by_every_kind_agree() {
    let mut first = None;
    for kind in kinds() {
        let bench = Bench::new(kind);
        for round in 0..REPETITIONS {
            let now = seen(&bench, &container(&bench, &SAME, round));
            assert!(now.starts_with("Exited(0)\n"), "{now}");
            assert_eq!(&now, first.get_or_insert_with(|| now.clone()), "{kind:?}, repetition {round}");
        }
    }
    let text = first.unwrap();
    for line in [
        "host gristmill, domain (none), machine x86_64, system Linux",
        "cores that it may use 1, page 4096, ticks 100",
        "process 2 of 1, group 2, session 2, child 3",
        "user 0 0, group 0 0, groups 0",
        "descriptors 3 4 5",
        "umask 022, nice 10, policy 0",
        "1970 began at 1970-01-01 00:00 UTC, locale C",
        "cat: ENOENT",
    ] {
        assert!(!cfg!(target_arch = "x86_64") || text.lines().any(|found| found == line), "{line}: {text}");
    }
}

/// A program that shows any of this has replicas that disagree: that is how it is caught.
#[test]
fn times_and_randomness_are_not_the_same() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for word in DIFFERS {
            let mut found = BTreeSet::new();
            for round in 0..2 {
                found.insert(seen(&bench, &container(&bench, &["write /iexec_out/made x", word], round)));
            }
            assert_eq!(found.len(), 2, "{kind:?}: {word}: {found:?}");
        }
    }
}

#[test]
fn what_is_the_hosts_is_the_same_on_one_host() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let container = container(&bench, &OF_THE_HOST, 0);
        let first = seen(&bench, &container);
        assert_eq!(seen(&bench, &container), first, "{kind:?}");
        println!("{kind:?}: {first}");
    }
}

/// Names the place where a helper is to look around.
const ROLE: &str = "GRISTMILL_TEST_PLACE";

/// Not a test by itself: what another process's containers find.
#[test]
fn helper_that_tells_what_it_sees() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let fields: Vec<&str> = role.split('|').collect();
    let [folder, kind, user, date] = fields.as_slice() else { panic!("{role}") };
    let kind = kinds().into_iter().find(|each| format!("{each:?}") == *kind).unwrap();
    let dir = tempfile::tempdir_in(folder).unwrap();
    let bench = Bench::at(kind, dir, user.parse().unwrap());
    let mut container = container(&bench, &SAME, 3);
    let date = UNIX_EPOCH + Duration::from_secs(date.parse().unwrap());
    for name in ["a", "b", "c"] {
        let file = std::fs::File::open(bench.path("given/folder").join(name)).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(date)).unwrap();
    }
    container.runs = vec![bench.item(0)];
    println!("SEEN {:?}", seen(&bench, &container));
}

/// What they find when the process is started by `wrapper` in a folder below `parent`; none when the host cannot do that.
fn seen_by(kind: Kind, parent: &Path, wrapper: &[&str], change: &dyn Fn(&mut Command)) -> Option<String> {
    let dir = tempfile::tempdir_in(parent).unwrap();
    // An ordinary user's worker has to find its folder.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let own = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(own),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(own);
            command
        }
    };
    let user = 1_999_000 + kind as u32;
    command
        .args(["--exact", "everywhere::helper_that_tells_what_it_sees", "--nocapture"])
        .env(ROLE, format!("{}|{kind:?}|{user}|{}", dir.path().display(), 86_400 * wrapper.len()));
    change(&mut command);
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.find("SEEN ").map(|at| line[at + 5..].to_owned()));
    if line.is_none() && !output.status.success() && !said.contains("panicked") {
        eprintln!("skipped: {wrapper:?} cannot be had here: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(line.unwrap())
}

#[test]
fn the_host_around_makes_no_difference() {
    // Compiled before others need it.
    probe();
    let temporary = std::env::temp_dir();
    let elsewhere = |command: &mut Command| {
        command.env("TZ", "Asia/Kolkata").env("LANG", "de_DE.UTF-8").env("HOME", "/nowhere").current_dir("/");
    };
    let cores = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let cores: Vec<String> = (0..nix::sched::CpuSet::count())
        .filter(|core| cores.is_set(*core).unwrap_or(false))
        .take(2)
        .map(|core| core.to_string())
        .collect();
    for kind in kinds() {
        let first = seen_by(kind, &temporary, &[], &|_| {}).unwrap();
        let bench = Bench::new(kind);
        assert_eq!(first, format!("{:?}", seen(&bench, &container(&bench, &SAME, 0))), "{kind:?}: in this process");
        let mut others = vec![
            (
                "another environment",
                seen_by(kind, &temporary, &["sh", "-c", "umask 077; exec \"$@\"", "sh"], &elsewhere),
            ),
            ("one core", seen_by(kind, &temporary, &["taskset", "-c", cores.first().unwrap()], &|_| {})),
            ("other cores", seen_by(kind, &temporary, &["taskset", "-c", &cores.join(",")], &|_| {})),
        ];
        // Another file system, which lists its files in another order.
        if let Some(memory) = Some(Path::new("/dev/shm")).filter(|path| path.is_dir()) {
            others.push(("another folder", seen_by(kind, memory, &[], &|_| {})));
        }
        // An ordinary user's programs are in a user's namespace already.
        if nix::unistd::geteuid().is_root() {
            let name = [
                "unshare",
                "-u",
                "-T",
                "-f",
                "--monotonic",
                "50000000",
                "--boottime",
                "90000000",
                "sh",
                "-c",
                "hostname elsewhere; exec \"$@\"",
                "sh",
            ];
            others.push(("another host name and uptime", seen_by(kind, &temporary, &name, &|_| {})));
        }
        for (what, other) in others {
            if let Some(other) = other {
                assert_eq!(other, first, "{kind:?}: {what}");
            }
        }
    }
}
