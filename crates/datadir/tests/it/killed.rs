//! A real process that is killed with SIGKILL while it commits.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gristmill_datadir::{DataDir, DataDirError};

/// Set for the child: the folder to work in.
const CHILD_FOLDER: &str = "GRISTMILL_TEST_CHILD_FOLDER";

/// Not a test of its own: what the child does when the test below starts this program again.
#[test]
fn child_commits_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let dir = DataDir::open(folder, "counter", 1).unwrap();
    let db = dir.database("counter.redb").unwrap();
    let table = db.table("counter");
    let mut count: u64 = table.get_json(b"count").unwrap().unwrap_or(0);
    loop {
        count += 1;
        db.batch()
            .put_json(&table, b"count", &count)
            .unwrap()
            .put_json(&table, &count.to_be_bytes(), &count)
            .unwrap()
            .commit()
            .unwrap();
        // The parent reads these lines: they acknowledge the commit.
        println!("\ncommitted {count}");
    }
}

fn start_child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child_commits_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_loses_no_commit_and_leaves_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..8 {
        let mut child = start_child(folder.path());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok());
        let first = lines.next().expect("the child works");
        assert!(first > acknowledged, "round {round}: {first} after {acknowledged}");

        let error = DataDir::open(folder.path(), "counter", 1).unwrap_err();
        assert!(
            matches!(error, DataDirError::InUse { pid: Some(pid), .. } if pid == child.id()),
            "round {round}: {error:?}"
        );
        std::thread::sleep(Duration::from_millis(7 * round));
        // SIGKILL, in the middle of whatever it does.
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.last().unwrap_or(first);

        let dir = DataDir::open(folder.path(), "counter", 1).expect("no lock is left");
        let table = dir.database("counter.redb").unwrap().table("counter");
        let count: u64 = table.get_json(b"count").unwrap().unwrap();
        assert!(
            count == acknowledged || count == acknowledged + 1,
            "round {round}: {acknowledged} acknowledged, {count} there"
        );
        assert_eq!(table.len().unwrap(), count + 1, "round {round}: each commit is whole");
        acknowledged = count;
    }
    assert!(acknowledged >= 8);
}
