//! What this host does to a guest, and what it keeps to itself.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gristmill_result::Ending;
use gristmill_sandbox::{
    ChildCommand, Control, HostFaultKind, Outcome, PoolConfig, Runner, RunnerConfig, SMALL_FILE_BYTES_MAX,
    SandboxError, engine_profile,
};
use gristmill_types::ContentId;

use crate::bench::{Bench, MIB, runner, tree};

/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Process ids whose command line holds `marker`.
pub fn processes(marker: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(marker)
    })
    .collect()
}

pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < GONE_WITHIN, "{what} took too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A bench whose children can be told from all others by their command line.
pub fn marked_bench() -> (Bench, String) {
    let mut bench = Bench::new();
    let marker = format!("marker-{}", bench.dir.path().file_name().unwrap().to_str().unwrap());
    let child = ChildCommand {
        program: env!("CARGO_BIN_EXE_gristmill-sandbox-child").into(),
        args: vec![marker.clone().into()],
    };
    bench.runner = Runner::new(RunnerConfig { child, cache_dir: bench.path("cache") }).unwrap();
    (bench, marker)
}

/// An execution that spins for longer than any test. What it makes first is too large to stay in memory, so that it can be seen to
/// have begun.
fn endless(bench: &Bench) -> gristmill_sandbox::Execution {
    let large = format!("truncate begun {}", SMALL_FILE_BYTES_MAX + 1);
    let mut execution = bench.probe(&["put begun x", &large, "spin"]);
    execution.limits.fuel = u64::MAX / 4;
    execution.wall_clock = Duration::from_secs(3600);
    execution
}

#[test]
fn the_wall_clock_kills_and_is_no_result() {
    let (bench, marker) = marked_bench();
    let mut execution = endless(&bench);
    execution.wall_clock = Duration::from_millis(300);
    let fault = bench.fault(&execution);
    assert_eq!(fault.kind, HostFaultKind::WallClock);
    assert!(processes(&marker).is_empty());
}

#[test]
fn the_kill_switch_stops_a_run_from_another_thread() {
    let (bench, marker) = marked_bench();
    let execution = endless(&bench);
    let cancel = Control::new();
    let started = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.runner.run(&execution, &cancel));
        wait_until("the child's start", || bench.path("out/.gristmill-scratch").exists());
        assert_eq!(processes(&marker).len(), 1);
        cancel.cancel();
        run.join().unwrap().unwrap()
    });
    assert_eq!(outcome, Outcome::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(processes(&marker).is_empty());
    assert!(cancel.is_cancelled());
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    assert_eq!(bench.runner.run(&execution, &cancel).unwrap(), Outcome::Cancelled, "a used switch stays used");
}

#[test]
fn a_frozen_run_uses_no_processor_and_its_clock_stands() {
    let (bench, marker) = marked_bench();
    let mut execution = endless(&bench);
    execution.wall_clock = Duration::from_secs(2);
    let control = Control::new();
    let fault = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.runner.run(&execution, &control));
        wait_until("the child's start", || bench.path("out/.gristmill-scratch").exists());
        let pid = processes(&marker)[0];
        control.freeze();
        wait_until("the freeze", || state_of(pid) == "T");
        let used = processor_time(pid);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!((state_of(pid).as_str(), processor_time(pid)), ("T", used), "three seconds later");
        control.thaw();
        wait_until("the thaw", || state_of(pid) != "T" && processor_time(pid) > used);
        let Outcome::HostFault(fault) = run.join().unwrap().unwrap() else { panic!("it has no end of its own") };
        fault
    });
    assert_eq!(fault.kind, HostFaultKind::WallClock, "once it goes on, its time does too");
    assert!(processes(&marker).is_empty());
}

#[test]
fn a_frozen_run_can_be_stopped() {
    let (bench, marker) = marked_bench();
    let execution = endless(&bench);
    let control = Control::new();
    let outcome = std::thread::scope(|scope| {
        control.freeze();
        let run = scope.spawn(|| bench.runner.run(&execution, &control));
        wait_until("the child's start", || !processes(&marker).is_empty());
        control.cancel();
        run.join().unwrap().unwrap()
    });
    assert_eq!(outcome, Outcome::Cancelled);
    assert!(processes(&marker).is_empty());
}

/// The fields of a process's `stat` after its name.
fn stat(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').map(str::to_owned).collect()
}

fn state_of(pid: u32) -> String {
    stat(pid).swap_remove(0)
}

/// In ticks, its own and the system's on its behalf.
fn processor_time(pid: u32) -> u64 {
    stat(pid)[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn each_finished_run_is_told_at_once() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["echo x"]);
    execution.runs = (0..5).map(|index| bench.item(index, &format!("out/{index}"))).collect();
    let mut told = vec![];
    let outcome = bench.runner.run_with(&execution, &Control::new(), &mut |report| {
        assert!(bench.path(&format!("out/{}/stdout.txt", report.index)).exists());
        told.push(report.clone());
    });
    let Outcome::Finished(finished) = outcome.unwrap() else { panic!("did not finish") };
    assert_eq!(told, finished.runs);
    assert_eq!(told.iter().map(|report| report.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn the_child_has_given_up_what_it_does_not_need() {
    let (bench, marker) = marked_bench();
    let execution = endless(&bench);
    let cancel = Control::new();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.runner.run(&execution, &cancel));
        wait_until("the child's start", || bench.path("out/.gristmill-scratch").exists());
        let pid = processes(&marker)[0];
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let status = read("status").unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let limits = read("limits").unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(limit("Max core file size"), 0);
        assert!(limit("Max open files") <= 1024);
        assert_eq!(limit("Max file size"), 5 * MIB);
        assert!(limit("Max data size") <= 2048 * MIB);
        // Fields 5 and 19 of stat, counted after the name: process group and nice value.
        let fields = stat(pid);
        assert_eq!(fields[2], pid.to_string(), "it leads its own process group");
        assert!(fields[16].parse::<i32>().unwrap() >= 10, "it is nice");
        // Only root may look at these of a process that is not dumpable.
        if let Ok(environment) = read("environ") {
            assert_eq!(environment, "");
        }
        if let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) {
            let open: Vec<String> = descriptors
                .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
                .collect();
            let out = bench.path("out").display().to_string();
            let kinds = ["pipe:", "socket:", "/memfd:", "/dev/null", &out];
            let own = |path: &String| kinds.iter().any(|kind| path.starts_with(kind));
            assert!(open.iter().all(own), "{open:?}");
        }
        cancel.cancel();
        assert_eq!(run.join().unwrap().unwrap(), Outcome::Cancelled);
    });
}

#[test]
fn this_host_says_which_guarantees_it_does_not_give() {
    let bench = Bench::new();
    let finished = bench.finish(&bench.probe(&[]));
    // Landlock may be missing from a kernel; everything else is there on every Linux.
    let other: Vec<&String> =
        finished.missing_guarantees.iter().filter(|missing| !missing.contains("Landlock")).collect();
    assert!(other.is_empty(), "{other:?}");
    assert_eq!(bench.runner.probe(), Ok(finished.missing_guarantees), "and before the first task");
}

#[test]
fn a_killed_parent_takes_its_child_along() {
    let bench = Bench::new();
    let marker = format!("marker-{}", bench.dir.path().file_name().unwrap().to_str().unwrap());
    let mut parent = helper("host::helper_that_runs_for_ever", bench.dir.path(), &marker).spawn().unwrap();
    wait_until("the child's start", || bench.path("out/.gristmill-scratch").exists());
    assert_eq!(processes(&marker).len(), 1);
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the child's end", || processes(&marker).is_empty());
}

/// This test program again, as another process that runs one ignored test.
pub fn helper(test: &str, dir: &std::path::Path, marker: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.env("SANDBOX_HELPER_DIR", dir).env("SANDBOX_HELPER_MARKER", marker);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A bench in the folder that the other process named.
fn helper_bench() -> Bench {
    let dir = std::path::PathBuf::from(std::env::var_os("SANDBOX_HELPER_DIR").expect("started by another test"));
    let mut bench = Bench::in_dir(&dir);
    let child = ChildCommand {
        program: env!("CARGO_BIN_EXE_gristmill-sandbox-child").into(),
        args: vec![std::env::var_os("SANDBOX_HELPER_MARKER").unwrap()],
    };
    bench.runner = Runner::new(RunnerConfig { child, cache_dir: bench.path("cache") }).unwrap();
    bench
}

#[test]
#[ignore = "a part of a_killed_parent_takes_its_child_along"]
fn helper_that_runs_for_ever() {
    let bench = helper_bench();
    let mut execution = endless(&bench);
    execution.runs[0].output_dir =
        std::env::var_os("SANDBOX_HELPER_DIR").map(std::path::PathBuf::from).unwrap().join("out");
    let outcome = bench.try_run(&execution);
    panic!("it ended: {outcome:?}");
}

#[test]
fn a_full_disk_is_a_fault_of_the_host() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("disk")).unwrap();
    let test = helper("host::helper_on_a_full_disk", &bench.path("disk"), "x");
    let script = "mount -t tmpfs -o size=1m none \"$SANDBOX_HELPER_DIR\" 2>/dev/null || exit 77; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", script, "sh"]).arg(test.get_program()).args(test.get_args());
    for (key, value) in test.get_envs() {
        command.env(key, value.unwrap());
    }
    match command.output() {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Ok(output) if matches!(output.status.code(), Some(1 | 77)) && output.stdout.is_empty() => {
            eprintln!("skipped: this host lets nobody mount a small disk");
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => eprintln!("skipped: no unshare command ({error})"),
    }
}

#[test]
#[ignore = "a part of a_full_disk_is_a_fault_of_the_host"]
fn helper_on_a_full_disk() {
    let dir = std::env::var_os("SANDBOX_HELPER_DIR").map(std::path::PathBuf::from).expect("started by another test");
    let bench = Bench::new();
    let mut execution = bench.probe(&["blocks big 60"]);
    execution.runs[0].output_dir = dir.join("out");
    let fault = bench.fault(&execution);
    assert_eq!(fault.kind, HostFaultKind::Io);
    assert!(fault.reason.contains("No space left on device"), "{fault}");
}

#[test]
fn an_app_that_no_host_can_run_is_a_result_with_the_reason_in_the_log() {
    let bench = Bench::new();
    for (bytes, what) in [(&b"\x7fELF\x02"[..], "ELF"), (b"", "empty"), (b"\0asm\x01\0\0\0\x05", "not a valid")] {
        let mut execution = bench.execution(bytes);
        execution.runs = (0..2).map(|index| bench.item(index, &format!("out/{index}"))).collect();
        let finished = bench.finish(&execution);
        assert_eq!(finished.runs.iter().map(|run| run.ending).collect::<Vec<_>>(), [Ending::NotRunnable; 2]);
        let log = String::from_utf8(finished.log).unwrap();
        assert!(log.contains(what), "{log}");
        let again = bench.finish(&execution);
        assert_eq!(again.witness, finished.witness);
        assert!(tree(&bench.path("out")).values().all(Vec::is_empty));
    }
}

#[test]
fn a_missing_or_wrong_app_is_an_error_of_this_host() {
    let bench = Bench::new();
    let mut execution = bench.probe(&[]);
    execution.app_id = ContentId([1; 32]);
    let error = bench.try_run(&execution).unwrap_err();
    assert!(matches!(error, SandboxError::AppMismatch { .. }), "{error}");
    execution.app = bench.path("not-there.wasm");
    let error = bench.try_run(&execution).unwrap_err();
    assert!(matches!(&error, SandboxError::App { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_compiled_app_is_kept_and_a_damaged_one_is_made_anew() {
    let (mut bench, _) = marked_bench();
    let execution = bench.probe(&["echo x"]);
    let first = bench.finish(&execution);
    let folder = bench.path("cache").join(engine_profile().replace('/', "_"));
    let file = folder.join(format!("{}.cwasm", execution.app_id));
    let whole = std::fs::read(&file).unwrap();
    std::fs::remove_file(&execution.app).unwrap();
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    assert_eq!(bench.finish(&execution), first, "the app's file is not needed any more");

    bench.probe(&[]);
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x10;
    std::fs::write(&file, damaged).unwrap();
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    assert_eq!(bench.finish(&execution), first, "a runner keeps what it found intact");
    bench.runner = runner(&bench.path("cache"), PoolConfig::default());
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    assert_eq!(bench.finish(&execution), first);
    assert!(std::fs::read(&file).unwrap() == whole, "compiling is deterministic");
}

#[test]
fn a_child_that_cannot_be_started_or_is_another_program_is_reported() {
    let bench = Bench::new();
    let run = |program: &str| {
        let child = ChildCommand { program: program.into(), args: vec![] };
        let runner = Runner::new(RunnerConfig { child, cache_dir: bench.path("other-cache") }).unwrap();
        runner.run(&bench.probe(&[]), &Control::new())
    };
    assert!(matches!(run("/no/such/program"), Err(SandboxError::Spawn { .. })));
    let Ok(Outcome::HostFault(fault)) = run("/bin/echo") else { panic!("echo is no sandbox") };
    assert_eq!(fault.kind, HostFaultKind::Killed);
}

#[test]
fn executions_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let refused = |change: &dyn Fn(&mut gristmill_sandbox::Execution)| {
        let mut execution = bench.probe(&[]);
        change(&mut execution);
        let error = bench.try_run(&execution).unwrap_err();
        assert!(matches!(error, SandboxError::Malformed(_)), "{error}");
    };
    refused(&|execution| execution.runs.clear());
    refused(&|execution| execution.args.push("a\0b".into()));
    refused(&|execution| execution.args.push("a".repeat(2 << 20)));
    refused(&|execution| execution.env.push(("A=B".into(), "c".into())));
    refused(&|execution| execution.runs.push(execution.runs[0].clone()));
}
