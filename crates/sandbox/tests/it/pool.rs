//! Which processes are used again, and that none is left.

use std::time::Duration;

use gristmill_result::Ending;
use gristmill_sandbox::{
    ChildCommand, Control, EngineProfile, Execution, Finished, HostFaultKind, Outcome, PoolConfig, RunOptions, Runner,
    RunnerConfig,
};

use crate::bench::Bench;
use crate::host::{processes, wait_until};

const DEAL: [u8; 32] = [1; 32];
const OTHER_DEAL: [u8; 32] = [2; 32];

/// A bench with a pool, whose children can be told from all others.
fn pooled(pool: PoolConfig) -> (Bench, String) {
    let mut bench = Bench::new();
    let marker = format!("marker-{}", bench.dir.path().file_name().unwrap().to_str().unwrap());
    let program = env!("CARGO_BIN_EXE_gristmill-sandbox-child").into();
    let child = ChildCommand { program, args: vec![marker.clone().into()] };
    bench.runner = Runner::with_pool(RunnerConfig { child, cache_dir: bench.path("cache") }, pool).unwrap();
    (bench, marker)
}

fn run(bench: &Bench, execution: &Execution, options: &RunOptions) -> Outcome {
    std::fs::remove_dir_all(bench.path("out")).ok();
    bench.runner.run_as(execution, options, &Control::new(), &mut |_| {}).unwrap()
}

fn finish(bench: &Bench, execution: &Execution, options: &RunOptions) -> Finished {
    match run(bench, execution, options) {
        Outcome::Finished(finished) => finished,
        other => panic!("did not finish: {other:?}"),
    }
}

#[test]
fn a_child_works_again_for_the_same_deal_app_and_profile_only() {
    let (bench, marker) = pooled(PoolConfig::default());
    let execution = bench.probe(&["put x y", "random", "clocks"]);
    let options = RunOptions::new().reuse(DEAL);
    let first = finish(&bench, &execution, &options);
    let pids = processes(&marker);
    assert_eq!(pids.len(), 1);
    for _ in 0..5 {
        assert_eq!(finish(&bench, &execution, &options), first, "nothing of the task before is noticed");
        assert_eq!(processes(&marker), pids);
    }
    // Another deal, none, another profile, other limits, another app: each in a process of its own.
    finish(&bench, &execution, &RunOptions::new().reuse(OTHER_DEAL));
    assert_eq!(processes(&marker).len(), 2);
    finish(&bench, &execution, &RunOptions::new());
    assert_eq!(processes(&marker).len(), 2, "used once, and gone");
    finish(&bench, &execution, &options.profile(EngineProfile::same_architecture()));
    assert_eq!(processes(&marker).len(), 3);
    let mut other = execution.clone();
    other.limits.output_bytes += 1;
    finish(&bench, &other, &options);
    assert_eq!(processes(&marker).len(), 4);
    finish(&bench, &bench.text(r#"(module (func (export "_start")))"#), &options);
    assert_eq!(processes(&marker).len(), 4, "no more are kept than allowed");
    drop(bench.runner);
    assert!(processes(&marker).is_empty());
}

#[test]
fn tasks_at_once_have_a_child_each_and_files_of_their_own() {
    let (bench, marker) = pooled(PoolConfig { idle_max: 8, ..PoolConfig::default() });
    let options = RunOptions::new().reuse(DEAL);
    let execution = bench.probe(&["cat mine", "put f x"]);
    std::thread::scope(|scope| {
        for task in 0..4 {
            let (bench, options, execution) = (&bench, &options, &execution);
            scope.spawn(move || {
                for round in 0..10 {
                    let mut execution = execution.clone();
                    let bytes = format!("task {task} round {round}");
                    execution.inputs = vec![bench.input(&format!("{task}/mine"), &bytes)];
                    execution.inputs[0].at = "mine".into();
                    execution.runs = (0..3).map(|item| bench.item(item, &format!("{task}/{round}/{item}"))).collect();
                    let outcome = bench.runner.run_as(&execution, options, &Control::new(), &mut |_| {}).unwrap();
                    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
                    for run in &execution.runs {
                        let printed = std::fs::read_to_string(run.output_dir.join("stdout.txt")).unwrap();
                        assert_eq!(printed, format!("cat mine: {bytes}\nput f: ok\n"));
                    }
                }
            });
        }
    });
    assert!((1..=4).contains(&processes(&marker).len()));
    drop(bench.runner);
    assert!(processes(&marker).is_empty());
}

#[test]
fn a_child_that_saw_a_fault_a_cancel_a_timeout_or_a_trap_is_not_used_again() {
    let (bench, marker) = pooled(PoolConfig::default());
    let options = RunOptions::new().reuse(DEAL);
    let mut slow = bench.probe(&["spin"]);
    slow.limits.fuel = u64::MAX / 4;
    slow.wall_clock = Duration::from_millis(200);
    assert!(
        matches!(run(&bench, &slow, &options), Outcome::HostFault(fault) if fault.kind == HostFaultKind::WallClock)
    );
    assert!(processes(&marker).is_empty());

    slow.wall_clock = Duration::from_secs(60);
    let control = Control::new();
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    let outcome = std::thread::scope(|scope| {
        let task = scope.spawn(|| bench.runner.run_as(&slow, &options, &control, &mut |_| {}));
        wait_until("the child's start", || !processes(&marker).is_empty());
        control.cancel();
        task.join().unwrap().unwrap()
    });
    assert_eq!(outcome, Outcome::Cancelled);
    assert!(processes(&marker).is_empty());

    let deep = bench.text(
        r#"(module (func $f (param i64) (result i64) (i64.add (call $f (local.get 0)) (local.get 0)))
        (func (export "_start") (drop (call $f (i64.const 1)))))"#,
    );
    assert!(matches!(run(&bench, &deep, &options), Outcome::HostFault(_)));
    assert!(processes(&marker).is_empty());

    let trapped = finish(&bench, &bench.probe(&["null"]), &options);
    assert_eq!(trapped.runs[0].ending, Ending::Trapped(1));
    assert!(processes(&marker).is_empty());
}

#[test]
fn idle_children_go_after_their_time() {
    let (bench, marker) = pooled(PoolConfig { idle_time: Duration::from_millis(300), ..PoolConfig::default() });
    finish(&bench, &bench.probe(&["echo x"]), &RunOptions::new().reuse(DEAL));
    assert_eq!(processes(&marker).len(), 1);
    wait_until("the child's end", || processes(&marker).is_empty());
}

#[test]
fn children_are_ready_before_there_is_a_task_and_gone_with_the_runner() {
    let (bench, marker) = pooled(PoolConfig { ready: 2, ..PoolConfig::default() });
    wait_until("two children", || processes(&marker).len() == 2);
    let execution = bench.probe(&["echo x"]);
    let first = finish(&bench, &execution, &RunOptions::new());
    assert_eq!(finish(&bench, &execution, &RunOptions::new()), first);
    wait_until("two children", || processes(&marker).len() == 2);
    drop(bench.runner);
    assert!(processes(&marker).is_empty());
}

#[test]
fn a_child_that_is_killed_while_idle_is_replaced() {
    let (bench, marker) = pooled(PoolConfig::default());
    let options = RunOptions::new().reuse(DEAL);
    let execution = bench.probe(&["echo x"]);
    let first = finish(&bench, &execution, &options);
    let pid = processes(&marker)[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("its end", || processes(&marker).is_empty());
    assert_eq!(finish(&bench, &execution, &options), first);
}

#[test]
fn a_task_that_was_frozen_leaves_a_child_that_works() {
    let (bench, marker) = pooled(PoolConfig::default());
    let options = RunOptions::new().reuse(DEAL);
    let execution = bench.probe(&["echo x"]);
    let control = Control::new();
    for _ in 0..10 {
        std::fs::remove_dir_all(bench.path("out")).ok();
        std::thread::scope(|scope| {
            let task = scope.spawn(|| bench.runner.run_as(&execution, &options, &control, &mut |_| {}));
            control.freeze();
            std::thread::sleep(Duration::from_millis(5));
            control.thaw();
            assert!(matches!(task.join().unwrap().unwrap(), Outcome::Finished(_)));
        });
    }
    assert_eq!(processes(&marker).len(), 1);
}

#[test]
fn a_profile_that_this_host_lacks_is_an_error_before_anything_begins() {
    let bench = Bench::new();
    let cpu = gristmill_sandbox::CpuFeatures::Other;
    let foreign = EngineProfile { cpu, ..EngineProfile::default() };
    if foreign.supported().is_ok() {
        return;
    }
    let execution = bench.probe(&[]);
    let options = RunOptions::new().profile(foreign);
    let error = bench.runner.run_as(&execution, &options, &Control::new(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("another architecture"), "{error}");
    assert!(!bench.path("out").exists());
}
