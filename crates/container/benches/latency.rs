//! What a container that does nothing takes, beside the peers and the bare fork and exec, in one run. See `README.md`.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gristmill_container::{Container, ContainerRunner, RunnerConfig, Runtime};
use gristmill_sandbox::{ChildCommand, Control, ItemRun, Outcome};
use gristmill_types::ResourceLimits;
use serde_json::{Value, json};

/// Rounds; each runs everything once, so that what else the machine does hits all alike.
const ROUNDS: usize = 40;
/// The slow ones run in every so many rounds only.
const SLOW_EVERY: usize = 4;
const NOOP: &str = "int main(void) { return 0; }\n";
/// The large image: files of this size in a layer of this many.
const FILE_BYTES: usize = 1 << 20;
const FILES: usize = 400;

struct Place {
    dir: tempfile::TempDir,
    runner: ContainerRunner,
    /// Those that have another runtime.
    others: [ContainerRunner; 3],
}

/// One of those that are compared: its name, how often it runs, and a run.
struct Contender<'a> {
    name: &'static str,
    is_slow: bool,
    run: Box<dyn FnMut() -> Result<(), String> + 'a>,
    times: Vec<Duration>,
    trouble: Option<String>,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, is_slow: bool, run: impl FnMut() -> Result<(), String> + 'a) -> Self {
        Self { name, is_slow, run: Box::new(run), times: Vec::new(), trouble: None }
    }

    fn go(&mut self) {
        if self.trouble.is_some() {
            return;
        }
        let began = Instant::now();
        match (self.run)() {
            Ok(()) => self.times.push(began.elapsed()),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    fn median(&mut self) -> Option<Duration> {
        self.times.sort_unstable();
        self.times.get(self.times.len() / 2).copied()
    }
}

fn main() {
    let place = Place::new();
    let (small, large) = (place.layer("small", 0), place.layer("large", FILES));
    let bundle = place.bundle(&small);
    let noop = small.join("noop");
    let root = small.display().to_string();
    let runs = Cell::new(0);
    let id = || {
        runs.set(runs.get() + 1);
        format!("gristmill-bench-{}-{}", std::process::id(), runs.get())
    };
    let mut contenders = vec![
        Contender::new("fork and exec", false, || command(&noop.display().to_string(), &[])),
        Contender::new("gristmill, small image", false, || place.run(&place.runner, &[&small])),
        Contender::new("gristmill, 400 MB image", false, || place.run(&place.runner, &[&large, &small])),
        Contender::new("gristmill by crun", false, || place.run(&place.others[0], &[&small])),
        Contender::new("gristmill by runc", true, || place.run(&place.others[1], &[&small])),
        Contender::new("gristmill by podman", true, || place.run(&place.others[2], &[&small])),
        Contender::new("bubblewrap", false, || command("bwrap", &bwrap(&root))),
        Contender::new("crun", false, || command("crun", &["run", "--bundle", &bundle, &id()])),
        Contender::new("runc", true, || command("runc", &["run", "--bundle", &bundle, &id()])),
        Contender::new("podman", true, || command("podman", &podman(&root, &[]))),
        Contender::new("podman with runc", true, || command("podman", &podman(&root, &PODMAN_HERE))),
    ];
    for round in 0..ROUNDS {
        for contender in &mut contenders {
            if !contender.is_slow || round % SLOW_EVERY == 0 {
                contender.go();
            }
        }
    }
    report(&mut contenders);
}

fn report(contenders: &mut [Contender<'_>]) {
    let ours = contenders[1].median();
    println!("{:<26}{:>12}{:>12}{:>8}{:>18}", "", "median ms", "best ms", "runs", "to gristmill's");
    for contender in contenders {
        let (median, runs) = (contender.median(), contender.times.len());
        match (median, ours, &contender.trouble) {
            (Some(median), Some(ours), None) => println!(
                "{:<26}{:>12.2}{:>12.2}{runs:>8}{:>17.2}x",
                contender.name,
                median.as_secs_f64() * 1e3,
                contender.times[0].as_secs_f64() * 1e3,
                median.as_secs_f64() / ours.as_secs_f64(),
            ),
            (_, _, trouble) => println!("{:<26} not run: {}", contender.name, trouble.as_deref().unwrap_or("no time")),
        }
    }
}

impl Place {
    fn new() -> Self {
        // A disk's own time would drown the rest.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let child = ChildCommand { program: env!("CARGO_BIN_EXE_gristmill-container-child").into(), args: vec![] };
        let by = |runtime| ContainerRunner::new(RunnerConfig { runtime, ..RunnerConfig::new(child.clone()) });
        let runner = by(Runtime::Own);
        let others = [Runtime::Crun(None), Runtime::Runc(None), Runtime::Podman(None)].map(by);
        println!("gristmill gives everything here but: {:?}", runner.probe().expect("containers can be run here"));
        Self { dir, runner, others }
    }

    /// A layer with the program, or with so many large files.
    fn layer(&self, name: &str, files: usize) -> PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        if files == 0 {
            for mountpoint in ["proc", "dev", "tmp", "sys", "etc"] {
                fs::create_dir_all(folder.join(mountpoint)).expect("a folder");
            }
            let source = self.dir.path().join("noop.c");
            fs::write(&source, NOOP).expect("a file");
            let built =
                Command::new("cc").args(["-static", "-O2", "-o"]).arg(folder.join("noop")).arg(&source).status();
            assert!(built.expect("a C compiler").success());
        }
        let mut state = 1_u64;
        for file in 0..files {
            let words = (0..FILE_BYTES / 8).flat_map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_le_bytes()
            });
            fs::write(folder.join(format!("file-{file:04}")), words.collect::<Vec<u8>>()).expect("a file");
        }
        folder
    }

    /// Runs the program on these layers, the lowest first.
    fn run(&self, runner: &ContainerRunner, layers: &[&PathBuf]) -> Result<(), String> {
        let output_dir = self.dir.path().join("out");
        let _ = fs::remove_dir_all(&output_dir);
        let container = Container {
            layers: layers.iter().map(|layer| (*layer).clone()).collect(),
            argv: vec!["/noop".to_owned()],
            env: vec![],
            working_dir: String::new(),
            inputs: vec![],
            runs: vec![ItemRun { index: 0, env: vec![], inputs: vec![], output_dir }],
            limits: ResourceLimits::of_work_clock(300),
            wall_clock: Duration::from_secs(60),
            devices: vec![],
            network: None,
        };
        match runner.run(&container, &Control::new()) {
            Ok(Outcome::Finished(finished)) if finished.runs[0].ending.is_success() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// What crun and runc run: the same namespaces, no network, the same program.
    fn bundle(&self, root: &Path) -> String {
        let folder = self.dir.path().join("bundle");
        fs::create_dir_all(&folder).expect("a folder");
        let bundle = folder.display().to_string();
        let written = Command::new("runc").args(["spec", "--bundle", &bundle]).status();
        if written.is_ok_and(|status| status.success()) {
            let path = folder.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("its file")).expect("JSON");
            config["process"]["args"] = json!(["/noop"]);
            config["process"]["terminal"] = json!(false);
            config["root"]["path"] = json!(root);
            fs::write(&path, config.to_string()).expect("a file");
        }
        bundle
    }
}

fn bwrap(root: &str) -> Vec<&str> {
    let mut args = vec!["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"];
    args.extend(["--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/noop"]);
    args
}

/// What podman needs on hosts with hybrid cgroups, which crun refuses, and with limits that cannot be raised.
const PODMAN_HERE: [&str; 7] = [
    "--runtime=runc",
    "--cgroup-manager=cgroupfs",
    "run",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
    "--network=none",
    "--rm",
];

fn podman<'a>(root: &'a str, instead: &[&'a str]) -> Vec<&'a str> {
    let mut args = if instead.is_empty() { vec!["run", "--rm", "--network=none"] } else { instead.to_vec() };
    args.extend(["--log-driver", "none", "--rootfs", root, "/noop"]);
    args
}

fn command(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", output.status, words.lines().last().unwrap_or_default()))
}
