//! The program answers, also where there is no network. Besides, tests like this one are why cargo builds it for others to use.

use std::process::{Command, Output};

fn gristmill(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gristmill")).args(args).output().expect("gristmill runs")
}

#[test]
fn it_says_its_version_and_what_it_does_not_understand() {
    let version = gristmill(&["--version"]);
    assert!(version.status.success());
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), format!("gristmill {}", env!("CARGO_PKG_VERSION")));
    let wrong = gristmill(&["worker", "--slots", "0"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--slots"));
}

#[test]
fn a_file_that_is_no_app_is_refused_before_anything_is_asked_of_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("app.sh");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let (script, data) = (script.display().to_string(), folder.path().display().to_string());
    let refused = gristmill(&["run", &script, "--data-dir", &data]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!refused.stderr.is_empty() && refused.stdout.is_empty());
}
