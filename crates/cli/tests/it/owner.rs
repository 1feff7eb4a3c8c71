//! The machine stays its owner's: who comes back has it within a second, and no task is lost over it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{GRISTMILL, Up, alone, text, wait_until};

/// What was promised to the owner.
const FREED_WITHIN: Duration = Duration::from_secs(1);
/// How long nothing may move afterwards.
const STAYS_FREE: Duration = Duration::from_millis(1_500);

/// A `gristmill worker` in a folder with a `worker.toml`. Dropping it kills it.
pub struct Owned {
    child: Child,
    folder: PathBuf,
}

impl Owned {
    pub fn start(pool: &str, folder: &Path, settings: &str) -> Self {
        Self::start_with(folder, &format!("pool = \"{pool}\"\nslots = 1\n{settings}"))
    }

    /// With this as its `worker.toml`.
    fn start_with(folder: &Path, settings: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("worker.toml"), settings).unwrap();
        let child = Command::new(GRISTMILL).args(["worker", "--data-dir"]).arg(folder).stderr(Stdio::inherit()).spawn();
        let owned = Self { child: child.expect("gristmill starts"), folder: folder.to_path_buf() };
        wait_until("the worker to connect", || owned.ask("status").is_some_and(|status| connected(&status)));
        owned
    }

    /// `gristmill worker WHAT --json`; nothing when it does not succeed.
    pub fn ask(&self, what: &str) -> Option<Value> {
        let output = Command::new(GRISTMILL)
            .args(["worker", what, "--json", "--data-dir"])
            .arg(&self.folder)
            .stderr(Stdio::null())
            .output()
            .expect("gristmill runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("it prints JSON"))
    }

    /// Ticks of 10 ms that its sandbox children have used.
    fn ticks(&self) -> u64 {
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((_, fields)) = stat.rsplit_once(')') else { continue };
            let fields: Vec<&str> = fields.split_whitespace().collect();
            if fields[1].parse() == Ok(self.child.id()) {
                ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            }
        }
        ticks
    }

    fn wait_until_it_works(&self) {
        let before = self.ticks();
        // A fifth of a second of processor time: it computes, it does not only start.
        wait_until("the task to compute", || self.ticks() >= before + 20);
    }

    /// When the processor was used last after `what`; it must have been within a second, and nothing may move then.
    fn is_freed_by(&self, what: &str, act: impl FnOnce()) {
        let began = Instant::now();
        act();
        let (mut ticks, mut last_moved) = (self.ticks(), began);
        while last_moved.elapsed() < STAYS_FREE && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
            let now = self.ticks();
            if now != ticks {
                (ticks, last_moved) = (now, Instant::now());
            }
        }
        let freed = last_moved.duration_since(began);
        println!("{what}: the processor was used for {} ms more", freed.as_millis());
        assert!(freed <= FREED_WITHIN, "{what}: {freed:?}");
        let status = self.ask("status").unwrap();
        assert_eq!((&status["verdict"], &status["tasks"][0]["frozen"]), (&"stop".into(), &true.into()), "{status}");
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connected(status: &Value) -> bool {
    status["pools"].as_array().unwrap().iter().any(|pool| pool["connected"] == true)
}

/// A module that computes for a while: rounds of a generator, each waiting for the one before.
pub fn slow(folder: &Path, rounds: u64) -> String {
    let wasm = wat::parse_str(format!(
        "(module (memory (export \"memory\") 1)
           (func (export \"_start\") (local $left i64) (local $x i64)
             (local.set $left (i64.const {rounds}))
             (loop $again
               (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1)))
               (local.set $left (i64.sub (local.get $left) (i64.const 1)))
               (br_if $again (i64.ne (local.get $left) (i64.const 0))))
             (i64.store (i32.const 0) (local.get $x))))"
    ));
    let path = folder.join(format!("slow-{rounds}.wasm"));
    std::fs::write(&path, wasm.unwrap()).unwrap();
    path.display().to_string()
}

/// A machine with a battery, plugged in.
fn made_up_machine(folder: &Path) -> PathBuf {
    let supply = folder.join("sys/class/power_supply");
    for (name, file, text) in [("AC", "type", "Mains\n"), ("AC", "online", "1\n"), ("BAT0", "type", "Battery\n")] {
        std::fs::create_dir_all(supply.join(name)).unwrap();
        std::fs::write(supply.join(name).join(file), text).unwrap();
    }
    supply.join("AC/online")
}

#[test]
fn the_owner_comes_back_and_has_the_machine_within_a_second() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "0"]);
    let plug = made_up_machine(folder.path());
    let mut settings = String::from("[policy]\nmains_only = true\n");
    writeln!(settings, "[sensors]\nsys = \"{}\"", folder.path().join("sys").display()).unwrap();
    let mut worker = Owned::start(&up.pool(), &folder.path().join("worker"), &settings);
    let app = slow(folder.path(), 6_000_000_000);
    let ordered = up.json(&["run", &app, "--trust", "1", "--tasks", "1", "--detach"]);
    let job = ordered["job"].as_str().unwrap().to_owned();
    worker.wait_until_it_works();
    worker.is_freed_by("pause", || drop(worker.ask("pause").unwrap()));
    assert_eq!(worker.ask("resume").unwrap()["verdict"], "work");
    worker.wait_until_it_works();
    worker.is_freed_by("the plug is pulled", || std::fs::write(&plug, "0\n").unwrap());
    let reasons = worker.ask("status").unwrap()["reasons"].to_string();
    assert!(reasons.contains("runs on battery"), "{reasons}");
    std::fs::write(&plug, "1\n").unwrap();
    worker.wait_until_it_works();
    let waited = up.run(&["job", "wait", &job]);
    assert!(waited.status.success(), "{}", text(&waited));
    let earnings = worker.ask("earnings").unwrap();
    assert_eq!((&earnings["total"]["tasks_paid"], &earnings["total"]["tasks_seized"]), (&1.into(), &0.into()));
    let counters = worker.ask("status").unwrap()["counters"].clone();
    assert_eq!((&counters["results"], &counters["failures"]), (&1.into(), &0.into()), "one lease, never given back");
    worker.ask("drain").unwrap();
    assert_eq!(worker.child.wait().unwrap().code(), Some(0), "drained");
    assert!(worker.ask("status").is_none(), "nobody is there any more");
    up.assert_invariants();
}

/// Held still for longer than its lease bears, the task goes back to the pool with a word, and another worker does it. The other one
/// was paused for so long that the pool planned without it, and takes part again as soon as it may.
#[test]
fn a_task_that_is_held_for_too_long_is_given_back_and_another_does_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "0"]);
    let first = Owned::start(&up.pool(), &folder.path().join("first"), "");
    let mut second = Owned::start(&up.pool(), &folder.path().join("second"), "");
    second.ask("pause").unwrap();
    // It stays paused after a restart, and long enough for the pool to be told.
    second = Owned::start(&up.pool(), &stopped(second), "");
    assert_eq!(second.ask("status").unwrap()["command"], "pause");
    std::thread::sleep(Duration::from_secs(11));
    let app = slow(folder.path(), 1_000_000_000);
    let ordered = up.json(&["run", &app, "--trust", "1", "--tasks", "1", "--category", "DEV", "--detach"]);
    let job = ordered["job"].as_str().unwrap().to_owned();
    first.wait_until_it_works();
    first.ask("pause").unwrap();
    second.ask("resume").unwrap();
    wait_until("the task to be given back", || first.ask("status").unwrap()["counters"]["failures"] == 1);
    let waited = up.run(&["job", "wait", &job]);
    assert!(waited.status.success(), "{}", text(&waited));
    assert_eq!(second.ask("status").unwrap()["counters"]["results"], 1);
    assert_eq!(first.ask("earnings").unwrap()["total"]["tasks_paid"], 0);
    assert_eq!(second.ask("earnings").unwrap()["total"]["tasks_paid"], 1);
    up.assert_invariants();
}

/// Stops a worker as a terminal would; its folder.
fn stopped(mut worker: Owned) -> PathBuf {
    let id = worker.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(worker.child.wait().unwrap().success());
    worker.folder.clone()
}

/// Pools of one worker must be on one ledger: its key's transactions are counted once.
#[test]
fn a_pool_on_another_ledger_is_refused_and_the_first_goes_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "0"]);
    let other = Up::start(&folder.path().join("other"), &["--workers", "0"]);
    let worker_folder = folder.path().join("worker");
    let worker = Owned::start(&up.pool(), &worker_folder, "");
    let worker = Owned::start_with(&stopped(worker), &format!("pool = [\"{}\", \"{}\"]\n", up.pool(), other.pool()));
    wait_until("the verdict on the other pool", || {
        let pools = worker.ask("status").unwrap()["pools"].clone();
        let troubles = [0, 1].map(|index| pools[index]["trouble"].to_string().contains("second worker"));
        troubles.iter().filter(|trouble| **trouble).count() == 1
    });
    // Whichever connected first is served; jobs of the other wait for somebody else.
    let status = worker.ask("status").unwrap();
    let first = if status["pools"][0]["connected"] == true { &up } else { &other };
    let app = slow(folder.path(), 1_000_000);
    let done = first.run(&["run", &app, "--trust", "1", "--out", &folder.path().join("out").display().to_string()]);
    assert!(done.status.success(), "{}", text(&done));
    first.assert_invariants();
}
