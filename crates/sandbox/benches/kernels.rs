//! What the sandbox costs a program that computes: three kernels, native and under each profile. See the README beside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gristmill_result::Ending;
use gristmill_sandbox::{
    ChildCommand, Control, EngineProfile, Execution, ItemRun, Outcome, RunOptions, Runner, RunnerConfig,
};
use gristmill_types::{ContentId, ResourceLimits};

const KERNELS: [&str; 3] = ["mandelbrot", "sha256", "option"];
const MODULE: &[u8] = include_bytes!("kernels/kernels.wasm");
/// Repetitions of each; the best counts, for a busy machine only ever adds.
const ROUNDS: usize = 5;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("sandbox-child") {
        gristmill_sandbox::child_main();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let native = build(dir.path());
    let child = ChildCommand { program: std::env::current_exe().unwrap(), args: vec!["sandbox-child".into()] };
    let runner = Runner::new(RunnerConfig { child, cache_dir: dir.path().join("cache") }).unwrap();
    let bench = Bench { dir: dir.path(), native, runner };
    let columns = [None, Some(EngineProfile::same_architecture()), Some(EngineProfile::portable())];
    println!("{:<12}{:>10}{:>22}{:>22}", "", "cc -O2", "same-architecture", "portable");
    let mut sums = [Duration::ZERO; 3];
    for kernel in KERNELS {
        let mut best = [Duration::MAX; 3];
        let mut printed = vec![String::new(); 3];
        // The three take turns, so that a busy moment hits all of them.
        for _ in 0..ROUNDS {
            for (column, profile) in columns.iter().enumerate() {
                let (took, said) = bench.time(kernel, *profile);
                best[column] = best[column].min(took);
                printed[column] = said;
            }
        }
        assert!(printed.iter().all(|said| said == &printed[0]), "{kernel}: {printed:?}");
        show(kernel, best);
        for (sum, best) in sums.iter_mut().zip(best) {
            *sum += best;
        }
    }
    show("sum", sums);
}

fn show(name: &str, [native, same, portable]: [Duration; 3]) {
    let ratio =
        |time: Duration| format!("{:.3} s ({:.2}x)", time.as_secs_f64(), time.as_secs_f64() / native.as_secs_f64());
    println!("{name:<12}{:>8.3} s{:>22}{:>22}", native.as_secs_f64(), ratio(same), ratio(portable));
}

/// The native program, from the same source.
fn build(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/kernels/kernels.c");
    let native = dir.join("kernels");
    let built = Command::new("cc").arg("-O2").arg("-o").arg(&native).arg(source).arg("-lm").status().unwrap();
    assert!(built.success());
    native
}

struct Bench<'a> {
    dir: &'a Path,
    native: PathBuf,
    runner: Runner,
}

impl Bench<'_> {
    /// How long a kernel takes, starting and ending included, and what it prints.
    fn time(&self, kernel: &str, profile: Option<EngineProfile>) -> (Duration, String) {
        match profile {
            None => {
                let started = Instant::now();
                let output = Command::new(&self.native).arg(kernel).output().unwrap();
                (started.elapsed(), String::from_utf8(output.stdout).unwrap())
            }
            Some(profile) => {
                // Compiled by the first.
                self.run("none", profile);
                self.run(kernel, profile)
            }
        }
    }

    fn run(&self, kernel: &str, profile: EngineProfile) -> (Duration, String) {
        let app = self.dir.join("kernels.wasm");
        std::fs::write(&app, MODULE).unwrap();
        let out = self.dir.join("out");
        let execution = Execution {
            app,
            app_id: ContentId(*blake3::hash(MODULE).as_bytes()),
            args: vec![kernel.to_owned()],
            env: vec![],
            seed: [0; 32],
            inputs: vec![],
            runs: vec![ItemRun { index: 0, env: vec![], inputs: vec![], output_dir: out.clone() }],
            limits: ResourceLimits {
                fuel: u64::MAX >> 2,
                memory_bytes: 1 << 30,
                output_bytes: 1 << 30,
                output_files: 100,
            },
            wall_clock: Duration::from_secs(600),
        };
        let started = Instant::now();
        let options = RunOptions::new().profile(profile);
        let outcome = self.runner.run_as(&execution, &options, &Control::new(), &mut |_| {}).unwrap();
        let took = started.elapsed();
        let Outcome::Finished(finished) = outcome else { panic!("{outcome:?}") };
        assert_eq!(finished.runs[0].ending, Ending::Exited(0));
        let printed = std::fs::read_to_string(out.join("stdout.txt")).unwrap_or_default();
        std::fs::remove_dir_all(&out).unwrap();
        (took, printed)
    }
}
