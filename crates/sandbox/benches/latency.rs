//! How long the sandbox itself takes: from the bare fork and exec up to a task. See the README beside.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gristmill_sandbox::{
    ChildCommand, Control, Execution, ItemRun, Outcome, PoolConfig, RunOptions, Runner, RunnerConfig, measure,
};
use gristmill_types::{ContentId, ResourceLimits};

/// Repetitions of what starts a process.
const STARTS: usize = 200;
/// Items of the task whose slope is the time of one item.
const ITEMS: u64 = 4_000;
/// Repetitions of such a task, and of compiling.
const TASKS: usize = 9;

const NO_OP: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
const PROBE: &[u8] = include_bytes!("../tests/guests/probe.wasm");

fn main() {
    if std::env::args().nth(1).as_deref() == Some("sandbox-child") {
        gristmill_sandbox::child_main();
        return;
    }
    // A disk's own time would drown what is measured.
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    println!("{:<62} {:>10} {:>10}", "", "median", "best");
    let child = ChildCommand { program: std::env::current_exe().unwrap(), args: vec!["sandbox-child".into()] };
    processes(dir.path(), &child);
    items(dir.path(), &child);
    modules(dir.path());
}

fn processes(dir: &Path, child: &ChildCommand) {
    let floor = times(STARTS, || assert!(Command::new("/bin/true").status().unwrap().success()));
    show("fork and exec of /bin/true, the floor", floor);
    let locked = (0..STARTS).map(|_| measure::lock_a_child(child).unwrap()).collect();
    show("a fresh child until it is locked down", locked);
    let cold = Tasks::new(dir, child, PoolConfig::default());
    show("task of one no-op item, with a fresh child", cold.times(STARTS, &RunOptions::new()));
    let ready = Tasks::new(dir, child, PoolConfig { ready: 1, ..PoolConfig::default() });
    let waiting = |_| {
        std::thread::sleep(Duration::from_millis(30));
        ready.time(1, &RunOptions::new())
    };
    show("task of one no-op item, with a child that was ready", (0..STARTS).map(waiting).collect());
    let again = RunOptions::new().reuse([1; 32]);
    show("task of one no-op item, with the deal's child", cold.times(STARTS, &again));
}

fn items(dir: &Path, child: &ChildCommand) {
    let tasks = Tasks::new(dir, child, PoolConfig::default());
    let again = RunOptions::new().reuse([1; 32]);
    let base = median(&mut tasks.times(STARTS, &again));
    let slope = |_| tasks.time(ITEMS + 1, &again).saturating_sub(base) / ITEMS as u32;
    let mut slopes: Vec<Duration> = (0..TASKS).map(slope).collect();
    let item = median(&mut slopes);
    show("one more no-op item, all in all", slopes);
    let memory = vec![0; 65536];
    let mut hashing = times(STARTS * 10, || assert_ne!(measure::witness(&memory), [0; 32]));
    let witness = median(&mut hashing);
    show("  of that, the witness's hashing of its 64 KiB", hashing);
    let mut number = 0;
    let mut folders = times(STARTS * 10, || {
        number += 1;
        std::fs::create_dir(dir.join(format!("folder{number}"))).unwrap();
    });
    let folder = median(&mut folders);
    show("  of that, the bare mkdir of its output folder", folders);
    let rest = item.saturating_sub(witness);
    println!(
        "  without hashing {:.1} us; without the mkdir {:.1} us",
        micros(rest),
        micros(rest.saturating_sub(folder))
    );
}

fn modules(dir: &Path) {
    let no_op = wat::parse_str(NO_OP).unwrap();
    for (name, bytes) in [("no-op", &no_op[..]), ("C program", PROBE)] {
        let all: Vec<measure::ModuleTimes> = (0..TASKS).map(|_| measure::module_times(bytes, dir)).collect();
        let size = format!("{name} ({} bytes, {} compiled)", bytes.len(), all[0].bytes);
        show(&format!("compile {size}"), all.iter().map(|times| times.compile).collect());
        show("  read, check and seal, once a runner", all.iter().map(|times| times.fetch).collect());
        show("  engine and host functions, once a child", all.iter().map(|times| times.engine).collect());
        show("  map and link, once a child", all.iter().map(|times| times.load).collect());
    }
}

/// No-op tasks of one runner.
struct Tasks<'a> {
    dir: &'a Path,
    runner: Runner,
}

impl<'a> Tasks<'a> {
    fn new(dir: &'a Path, child: &ChildCommand, pool: PoolConfig) -> Self {
        let config = RunnerConfig { child: child.clone(), cache_dir: dir.join("cache") };
        let tasks = Self { dir, runner: Runner::with_pool(config, pool).unwrap() };
        tasks.time(1, &RunOptions::new());
        tasks
    }

    fn times(&self, count: usize, options: &RunOptions) -> Vec<Duration> {
        (0..count).map(|_| self.time(1, options)).collect()
    }

    fn time(&self, items: u64, options: &RunOptions) -> Duration {
        let execution = execution(self.dir, items);
        let started = Instant::now();
        let outcome = self.runner.run_as(&execution, options, &Control::new(), &mut |_| {}).unwrap();
        let took = started.elapsed();
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
        std::fs::remove_dir_all(self.dir.join("out")).unwrap();
        took
    }
}

fn execution(dir: &Path, items: u64) -> Execution {
    let module = wat::parse_str(NO_OP).unwrap();
    let app_id = ContentId(*blake3::hash(&module).as_bytes());
    let app = dir.join("app.wasm");
    std::fs::write(&app, module).unwrap();
    let out = dir.join("out");
    std::fs::create_dir(&out).unwrap();
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

fn show(what: &str, mut times: Vec<Duration>) {
    let middle = median(&mut times);
    println!("{what:<62} {:>7.1} us {:>7.1} us", micros(middle), micros(times[0]));
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
