//! Whatever a user gets wrong: one clear message, a non-zero exit, nothing lost, nothing left running.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{GRISTMILL, Up, Worker, alone, next, probe, seed, text, wait_until};

/// After so long a started program surely catches signals.
const START_MS: u64 = 400;

/// A module in text form, compiled.
fn module(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, wat::parse_str(text).expect("the test's module is sound")).unwrap();
    path.display().to_string()
}

/// The command failed with this exit code and said something of all of `words`.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "`{word}` is missing in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn what_a_requester_gets_wrong() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "1"]);
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let probe = probe().display().to_string();
    let elf = file("native", b"\x7fELF\x02\x01\x01 and so on, a native program");
    let empty = file("empty.csv", b"");
    // Before anything is spent.
    refused(&up.run(&["run", &elf, "--tasks", "1"]), 1, &["native", "wasm"]);
    refused(&up.run(&["run", "nosuch.wasm"]), 1, &["nosuch.wasm"]);
    refused(&up.run(&["run", "nosuchapp"]), 1, &["nosuchapp"]);
    refused(&up.run(&["run", &probe, "--input", "missing.csv"]), 1, &["missing.csv"]);
    refused(&up.run(&["run", &probe, "--input", &empty]), 1, &["empty"]);
    refused(&up.run(&["run", &probe, "--max-price", "0.000001"]), 1, &["price"]);
    refused(&up.run(&["run", &probe, "--tasks", "90000", "--category", "XL"]), 1, &["GRIST"]);
    refused(&up.run(&["run", &probe, "--confidence", "150%"]), 2, &["confidence"]);
    refused(&up.run(&["run", &probe, "--category", "HUGE"]), 1, &["HUGE"]);
    refused(&up.run(&["job", "show", "0xdeadbeef"]), 1, &["deadbeef"]);
    let other_key = up.pool().rsplit_once('/').map(|(front, _)| format!("{front}/{}", "0".repeat(64))).unwrap();
    refused(&up.run(&["run", &probe, "--pool", &other_key]), 1, &["key"]);
    up.assert_invariants();
}

#[test]
fn what_an_app_gets_wrong_is_a_result_and_the_job_says_so() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "1"]);
    let probe = probe().display().to_string();
    let trap = module(
        folder.path(),
        "trap.wasm",
        r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#,
    );
    // A round of it burns fuel for 64 additions and takes the time of one: it ends by fuel on a slow and busy machine too.
    let round = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(64);
    let spin =
        format!(r#"(module (memory (export "memory") 1) (func (export "_start") (local i32) (loop {round} (br 0))))"#);
    let spin = module(folder.path(), "spin.wasm", &spin);
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, b"\0asm\x01\0\0\0 and then nothing that makes sense").unwrap();
    let garbage = garbage.display().to_string();
    let cases: [(&str, &[&str], &str); 5] = [
        (&trap, &[], "trap"),
        (&spin, &[], "compute limit"),
        (&garbage, &[], "module"),
        (&probe, &["--arg", "exit 7"], "exit code 7"),
        (&probe, &["--arg", "blocks big 200000"], "more bytes"),
    ];
    for (number, (app, args, words)) in cases.into_iter().enumerate() {
        let out = folder.path().join(format!("out-{number}")).display().to_string();
        let common = ["run", app, "--trust", "1", "--category", "DEV", "--out", &out];
        refused(&up.run(&[&common[..], args].concat()), 3, &[words]);
    }
    let out = folder.path().join("out-memory").display().to_string();
    let grow = ["run", &probe, "--arg", "grow 1000000000", "--trust", "1", "--category", "DEV", "--out", &out];
    refused(&up.run(&grow), 3, &["memory"]);
    up.assert_invariants();
}

#[test]
fn what_an_operator_gets_wrong() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| Command::new(GRISTMILL).args(args).output().expect("gristmill runs");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let up = Up::start(&folder.path().join("net"), &["--workers", "0"]);
    let rpc = up.book().rpc;
    let port = rpc.rsplit(':').next().unwrap();
    // The same folder, the same port.
    refused(&run(&["up", "--data-dir", &path("net")]), 1, &["in use"]);
    refused(&run(&["up", "--data-dir", &path("other"), "--rpc", &format!("127.0.0.1:{port}")]), 1, &["in use", port]);
    // A folder of another version, and one that is somebody else's.
    std::fs::create_dir(folder.path().join("old")).unwrap();
    std::fs::write(folder.path().join("old/VERSION"), "gristmill network 99\n").unwrap();
    refused(&run(&["up", "--data-dir", &path("old")]), 1, &["format 99"]);
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    std::fs::write(folder.path().join("photos/cat.jpg"), "x").unwrap();
    refused(&run(&["up", "--data-dir", &path("photos")]), 1, &["photos"]);
    // A pool that is not there, one with another key, and no address at all.
    let nobody = format!("grist://127.0.0.1:1/{}", "0".repeat(64));
    refused(&run(&["worker", "--data-dir", &path("w1"), "--pool", &nobody]), 1, &["no pool answers"]);
    let wrong = up.pool().rsplit_once('/').map(|(front, _)| format!("{front}/{}", "0".repeat(64))).unwrap();
    refused(&run(&["worker", "--data-dir", &path("w2"), "--pool", &wrong]), 1, &["key"]);
    refused(&run(&["worker", "--data-dir", &path("w3"), "--pool", "localhost"]), 2, &["grist://"]);
    // No network in the folder.
    refused(&run(&["job", "list", "--data-dir", &path("nowhere")]), 1, &["gristmill up"]);
    // A line-up that could never agree.
    refused(&run(&["demo", "--workers", "3", "--cheaters", "2"]), 1, &["--workers"]);
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let on_disk = |name: &str| disk.join(name).display().to_string();
    // A network that cannot even begin.
    refused(&small_disk(&disk, 256, &["up", "--data-dir", &on_disk("net")]).output().unwrap(), 1, &["disk is full"]);
    let up = Up::start(&folder.path().join("net"), &["--workers", "1"]);
    let data_dir = up.data_dir.display().to_string();
    // A result that is larger than the disk it is brought to, and then than nothing.
    let probe = probe().display().to_string();
    let args = ["run", &probe, "--arg", "blocks big 16", "--trust", "1", "--category", "DEV", "--json"];
    let full = small_disk(&disk, 1_024, &[&args[..], &["--data-dir", &data_dir, "--out", &on_disk("out")]].concat());
    let full = { full }.output().unwrap();
    refused(&full, 1, &["disk is full"]);
    let jobs = up.json(&["job", "list"]).to_string();
    let job =
        jobs.split('"').find(|word| word.starts_with("0x") && word.len() == 66).expect("the job is listed").to_owned();
    let out = folder.path().join("out").display().to_string();
    let fetched = up.run(&["job", "fetch", &job, "--out", &out]);
    assert!(fetched.status.success(), "{}", text(&fetched));
    assert_eq!(std::fs::metadata(folder.path().join("out/000000/big")).unwrap().len(), 16 << 16);
    // A worker whose disk is full gives the task back with the cause, and another one does it.
    let mut worker = small_disk(&disk, 8_192, &["worker", "--pool", &up.pool(), "--data-dir", &on_disk("worker")]);
    let mut worker = worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let args = ["run", &probe, "--arg", "blocks big 192", "--trust", "3", "--detach"];
    let job = up.json(&args)["job"].as_str().unwrap().to_owned();
    wait_until("the cause", || text(&up.run(&["job", "explain", &job])).contains("No space left on device"));
    worker.kill().unwrap();
    worker.wait().unwrap();
    let _healthy = Worker::start(&up.pool(), &folder.path().join("worker"));
    let waited = up.run(&["job", "wait", &job]);
    assert!(waited.status.success(), "{}", text(&waited));
    up.assert_invariants();
}

/// `gristmill ARGS` with a disk of so many KiB at `mount`, which only it and its children see.
fn small_disk(mount: &Path, kib: u32, args: &[&str]) -> Command {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = std::fs::metadata("/proc/self").expect("/proc is there").uid() == 0;
    let mut command = Command::new("unshare");
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", r#"mount -t tmpfs -o size="$1"k tmpfs "$2" && shift 2 && exec "$@""#, "sh"]);
    command.arg(kib.to_string()).arg(mount).arg(GRISTMILL).args(args);
    command
}

#[test]
fn ctrl_c_at_any_time_leaves_nothing_running() {
    let _alone = alone();
    hear_ctrl_c();
    let mut random = seed();
    let folder = tempfile::tempdir().unwrap();
    // The demonstration: at once, while its network starts, and in its work.
    for ms in [0, next(&mut random) % 1_000, 1_500 + next(&mut random) % 4_000] {
        let mut command = Command::new(GRISTMILL);
        command.args(["demo", "--out"]).arg(folder.path().join("out")).env("TMPDIR", folder.path());
        let interrupted = interrupt_after(&mut command, ms);
        assert!(
            interrupted.status.code() == Some(130) || before_it_listened(&interrupted, ms),
            "after {ms} ms: {interrupted:?}"
        );
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let left: Vec<_> = left.iter().filter(|path| path.display().to_string().contains("gristmill-demo-")).collect();
        assert!(left.is_empty(), "after {ms} ms: {left:?}");
        nothing_runs();
    }
    // A network, a worker and a job, each in turn; what was ordered goes on.
    let net = folder.path().join("net");
    for ms in [next(&mut random) % 1_000, 1_000 + next(&mut random) % 2_000] {
        let mut command = Command::new(GRISTMILL);
        command.args(["up", "--workers", "2", "--data-dir"]).arg(&net);
        let interrupted = interrupt_after(&mut command, ms);
        assert!(ended_well(&interrupted, ms), "after {ms} ms: {interrupted:?}");
        nothing_runs();
    }
    let up = Up::start(&net, &["--workers", "2"]);
    let mut worker = Command::new(GRISTMILL);
    worker.args(["worker", "--pool", &up.pool(), "--data-dir"]).arg(folder.path().join("worker"));
    let ms = 500 + next(&mut random) % 1_500;
    let interrupted = interrupt_after(&mut worker, ms);
    assert!(ended_well(&interrupted, ms), "after {ms} ms: {interrupted:?}");
    let probe = probe().display().to_string();
    for _ in 0..3 {
        let ms = 100 + next(&mut random) % 1_500;
        let interrupted = interrupt_after(&mut up.command(&["run", &probe, "--trust", "1", "--arg", "spin"]), ms);
        assert!(
            interrupted.status.code() == Some(130) || before_it_listened(&interrupted, ms),
            "after {ms} ms: {interrupted:?}"
        );
        let said = text(&interrupted);
        assert!(said.contains("interrupted") || before_it_listened(&interrupted, ms), "{interrupted:?}");
        if let Some(job) = said.lines().find_map(|line| line.strip_prefix("job ")) {
            assert!(up.json(&["job", "list"]).to_string().contains(job), "{job} is lost");
        }
    }
    up.assert_books();
    drop(up);
    nothing_runs();
}

/// A shell starts what runs in its background deaf to Ctrl-C, and children inherit that. Where the parent has a handler, they begin
/// with the default.
fn hear_ctrl_c() {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _context = runtime.enter();
    let _stays = signal(SignalKind::interrupt()).expect("a handler may be set");
}

/// Runs a command, sends it the signal of Ctrl-C after so long, and waits for its end.
fn interrupt_after(command: &mut Command, ms: u64) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gristmill starts");
    std::thread::sleep(Duration::from_millis(ms));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    child.wait_with_output().expect("it ends")
}

/// The signal came before the program was there to take it, which takes some of its first milliseconds: nothing had begun.
fn before_it_listened(output: &Output, ms: u64) -> bool {
    ms < START_MS && output.status.signal() == Some(2) && output.stdout.is_empty()
}

/// It stopped in order, or at once because it had not begun.
fn ended_well(output: &Output, ms: u64) -> bool {
    matches!(output.status.code(), Some(0 | 130)) || before_it_listened(output, ms)
}

/// No process of the program is left; what was killed with its parent may take a moment.
#[track_caller]
fn nothing_runs() {
    let running = || {
        let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| line.starts_with(GRISTMILL)).collect::<Vec<_>>()
    };
    for _ in 0..100 {
        if running().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("still running: {:?}", running());
}
