//! Nobody outlives a run, nor the worker: kinds 11 and 18 of the operator's bar.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gristmill_container::{ContainerRunner, RunnerConfig, Runtime};
use gristmill_result::Ending;
use gristmill_sandbox::{ChildCommand, Control};

use crate::bench::{Bench, Kind, is_slow, kinds, tree};
use crate::host::{GONE_WITHIN, STARTED_WITHIN, groups_of, members, processes_of, wait_until};

#[test]
fn a_daemon_does_not_outlive_the_program() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        // The run looks for what is left by itself.
        let container = bench.probe(&["daemon /iexec_out/beats", "sleep 50"]);
        let finished = bench.finish(&container);
        assert_eq!(finished.runs[0].ending, Ending::Exited(0), "{kind:?}");
        let files = tree(&container.runs[0].output_dir);
        assert!(!files["beats"].is_empty(), "{kind:?}: it never lived");
        let container = bench.probe(&["daemon /iexec_out/beats", "signal 9"]);
        bench.fault(&container);
    }
}

/// Names the worker that a test is to be, in a process of its own that can be killed.
const ROLE: &str = "GRISTMILL_TEST_WORKER";

/// Not a test by itself: what a worker does, in the process that [`killed`] starts.
#[test]
fn worker_that_will_be_killed() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let fields: Vec<&str> = role.split('|').collect();
    let [folder, kind, user, word] = fields.as_slice() else { panic!("{role}") };
    let kind = kinds().into_iter().find(|each| format!("{each:?}") == *kind).unwrap();
    let dir = tempfile::Builder::new().disable_cleanup(true).tempdir_in(folder).unwrap();
    let bench = Bench::at(kind, dir, user.parse().unwrap());
    let mut container = bench.probe(&["daemon /tmp/beats", word, "sleep 1000000"]);
    container.wall_clock = Duration::from_secs(100_000);
    container.limits.output_bytes = 1 << 30;
    // Several at once, and one that waits for the next.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut container = container.clone();
            container.runs = vec![bench.item(0)];
            let bench = &bench;
            scope.spawn(move || bench.runner.run(&container, &Control::new()));
        }
    });
}

fn worker(bench: &Bench, word: &str) -> Child {
    let role = format!("{}|{:?}|{}|{word}", bench.dir.path().display(), bench.kind, bench.user().unwrap_or(0));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "survivors::worker_that_will_be_killed", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// All that runs as the bench's user, and the worker's own children.
fn left(bench: &Bench) -> Vec<String> {
    bench.user().map_or(vec![], |user| processes_of(user).iter().map(|process| format!("{process:?}")).collect())
}

/// Starts a worker, kills it `after` its programs began (or at once), and looks for what is left.
fn killed(kind: Kind, word: &str, after: Option<Duration>) {
    let bench = Bench::new(kind);
    if bench.user().is_none() {
        println!("{kind:?}: what is left cannot be told from others: not root");
        return;
    }
    // The worker's folders lie in this one's.
    std::fs::set_permissions(bench.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let mut worker = worker(&bench, word);
    match after {
        Some(after) => {
            let programs = || left(&bench).iter().filter(|line| line.contains("\"probe\"")).count();
            wait_until("the programs", STARTED_WITHIN, || programs() >= 4);
            std::thread::sleep(after);
        }
        None => wait_until("the helpers", STARTED_WITHIN, || !left(&bench).is_empty()),
    }
    let pid = worker.id();
    worker.kill().unwrap();
    assert_eq!(worker.wait().unwrap().signal(), Some(9));
    let killed = Instant::now();
    wait_until(&format!("{kind:?}: {word}: left: {:#?}", left(&bench)), GONE_WITHIN, || left(&bench).is_empty());
    wait_until("groups with somebody in them", GONE_WITHIN, || {
        groups_of(pid).iter().all(|group| members(group).is_empty())
    });
    println!("{kind:?}: {word}: gone after {:?}", killed.elapsed());
    // Folders of cgroups cannot go by themselves; the next worker takes them away.
    if kind.has_cgroups() {
        drop(ContainerRunner::new(RunnerConfig::new(ChildCommand { program: "/bin/false".into(), args: vec![] })));
        assert_eq!(groups_of(pid), Vec::<std::path::PathBuf>::new(), "{kind:?}");
    }
    let folder = bench.dir.path();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()), "{kind:?}: {mounts}");
    assert!(no_sockets_of(bench.user().unwrap()), "{kind:?}");
}

/// Sockets in the host's own tables that are a user's.
fn no_sockets_of(user: u32) -> bool {
    ["tcp", "tcp6", "udp", "udp6", "raw", "packet"].iter().all(|table| {
        let text = std::fs::read_to_string(Path::new("/proc/net").join(table)).unwrap_or_default();
        !text.lines().any(|line| line.split_whitespace().any(|field| field == user.to_string()))
    })
}

#[test]
fn nothing_outlives_a_worker_that_is_killed() {
    for kind in kinds() {
        killed(kind, "spin", Some(Duration::from_millis(20)));
    }
}

#[test]
fn nothing_outlives_a_worker_that_is_killed_beside_bombs() {
    for kind in kinds() {
        killed(kind, "fork-bomb", Some(Duration::from_millis(50)));
    }
}

#[test]
fn nothing_outlives_a_worker_that_is_killed_while_it_starts() {
    for kind in kinds() {
        // Other runtimes take longer to start.
        let times = match kind.runtime() {
            Runtime::Own if is_slow() => 50,
            _ if is_slow() => 10,
            _ => 3,
        };
        for _ in 0..times {
            killed(kind, "spin", None);
        }
    }
}
