//! How long the sandbox itself takes: from the bare fork and exec up to a task. See the README beside.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gristmill_sandbox::{ChildCommand, Control, Execution, ItemRun, Outcome, Runner, RunnerConfig};
use gristmill_types::{ContentId, ResourceLimits};

/// Repetitions of what starts a process.
const STARTS: usize = 200;
/// Items of the task whose slope is the time of one item.
const ITEMS: u64 = 4_000;
/// Repetitions of such a task.
const TASKS: usize = 9;

const NO_OP: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("sandbox-child") {
        gristmill_sandbox::child_main();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    println!("{:<58} {:>10} {:>10}", "", "median", "best");
    show(
        "fork and exec of /bin/true, the floor",
        &mut times(STARTS, || {
            assert!(Command::new("/bin/true").status().unwrap().success());
        }),
    );
    let child = ChildCommand { program: std::env::current_exe().unwrap(), args: vec!["sandbox-child".into()] };
    let runner = Runner::new(RunnerConfig { child, cache_dir: dir.path().join("cache") }).unwrap();
    let mut round = 0;
    let mut task = |items: u64| {
        round += 1;
        let execution = execution(dir.path(), round, items);
        let started = Instant::now();
        let outcome = runner.run(&execution, &Control::new()).unwrap();
        let took = started.elapsed();
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
        std::fs::remove_dir_all(execution.runs[0].output_dir.parent().unwrap()).unwrap();
        took
    };
    task(1);
    let mut one: Vec<Duration> = (0..STARTS).map(|_| task(1)).collect();
    show("task of one no-op item, fresh child included", &mut one);
    let base = median(&mut one);
    let mut slope: Vec<Duration> = (0..TASKS).map(|_| task(ITEMS + 1).saturating_sub(base) / ITEMS as u32).collect();
    show("one more no-op item in a running child", &mut slope);
}

fn execution(dir: &Path, round: usize, items: u64) -> Execution {
    let module = wat::parse_str(NO_OP).unwrap();
    let app_id = ContentId(*blake3::hash(&module).as_bytes());
    let app = dir.join("app.wasm");
    std::fs::write(&app, module).unwrap();
    let out = dir.join(format!("out{round}"));
    let item = |index| ItemRun { index, env: vec![], inputs: vec![], output_dir: out.join(format!("{index:06}")) };
    Execution {
        app,
        app_id,
        args: vec![],
        env: vec![],
        seed: [0; 32],
        inputs: vec![],
        runs: (0..items).map(item).collect(),
        limits: ResourceLimits { fuel: 1 << 30, memory_bytes: 1 << 30, output_bytes: 1 << 30, output_files: 100 },
        wall_clock: Duration::from_secs(60),
    }
}

fn times(count: usize, mut work: impl FnMut()) -> Vec<Duration> {
    let one = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    (0..count).map(one).collect()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(what: &str, times: &mut [Duration]) {
    let middle = median(times);
    println!("{what:<58} {:>7.1} us {:>7.1} us", micros(middle), micros(times[0]));
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
