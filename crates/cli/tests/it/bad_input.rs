//! Whatever a user gets wrong: one clear message, a non-zero exit, nothing lost, nothing left running.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{GRISTMILL, Up, alone, probe, text};

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
    let spin = module(
        folder.path(),
        "spin.wasm",
        r#"(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))"#,
    );
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
    let grow = ["run", &probe, "--arg", "grow 4000000000", "--trust", "1", "--category", "DEV", "--out", &out];
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
fn ctrl_c_leaves_nothing_running() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(GRISTMILL)
        .args(["demo", "--out"])
        .arg(folder.path().join("out"))
        .env("TMPDIR", folder.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("gristmill starts");
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let group = child.id();
    let status = Command::new("kill").args(["-INT", &group.to_string()]).status().expect("kill runs");
    assert!(status.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.display().to_string().contains("gristmill-demo-")), "{left:?}");
}
