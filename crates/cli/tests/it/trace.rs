//! Where the time of a task went: its timeline, and the logs of pool and worker, which name it in each line.

use std::path::Path;
use std::process::{Command, Stdio};

use gristmill_types::Amount;
use serde_json::Value;

use crate::harness::{GRISTMILL, alone, probe, text, wait_until};
use crate::pool::{Pool, Requester, funded};
use crate::pools::Ledger;

const GRIST: fn(u64) -> Amount = Amount::from_grist;

/// A log of JSON lines, without what is there for people.
fn lines(log: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log.lines().filter(|line| !line.starts_with("worker 0x"));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The lines with this message, each of which must be of this task.
fn of_task(lines: &[Value], message: &str, task: &str) -> Vec<Value> {
    let found: Vec<Value> = lines.iter().filter(|line| line["message"] == message).cloned().collect();
    assert!(!found.is_empty(), "no line says `{message}`: {lines:#?}");
    for line in &found {
        assert_eq!(line["task"], task, "{line}");
        assert!(line["deal"].as_str().is_some_and(|deal| deal.starts_with("0x")), "{line}");
    }
    found
}

fn check_timeline(pool: &Pool, task: &str, worker: &str) {
    let trace = pool.ask(&["trace", task]);
    let moments = trace["moments"].as_array().unwrap();
    let steps: Vec<&str> = moments.iter().map(|moment| moment["step"].as_str().unwrap()).collect();
    let mut rest = steps.iter();
    for step in [
        "deal_seen",
        "initialised",
        "leased",
        "accepted",
        "result_ready",
        "journalled",
        "authorised",
        "contributed",
        "consensus",
        "reveal_asked",
        "revealed",
        "upload_opened",
        "finalize_sent",
        "completed",
    ] {
        assert!(rest.any(|found| *found == step), "{step}: {steps:?}");
    }
    let times: Vec<u64> = moments.iter().map(|moment| moment["at_unix_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > 1_600_000_000_000, "{times:?}");
    let leased = moments.iter().find(|moment| moment["step"] == "leased").unwrap();
    assert!(leased["worker"].as_str().unwrap().eq_ignore_ascii_case(worker), "{leased}");
    assert!(leased["text"].as_str().unwrap().starts_with("fence "), "{leased}");
    assert_eq!((&trace["begins_late"], &trace["forgotten"]), (&false.into(), &0.into()));
    let shown = text(&pool.run(&["trace", task]));
    for part in ["deal seen", "leased", "consensus", "finalize sent", "completed", task] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_tasks_timeline_and_logs_tell_its_story() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::approved(folder, &[]);
    let root = folder.join("pool");
    funded(&ledger, &root.join("wallet.json"), GRIST(100));
    // One worker is enough for the whole way at trust 2, as far as the hub is concerned.
    std::fs::write(root.join("pool.toml"), "[credibility]\non = false\n").unwrap();
    let (pool_log, worker_log) = (folder.join("pool.log"), folder.join("worker.log"));
    let mut pool = Pool::start_logging(&ledger, &root, &pool_log);
    let worker_folder = folder.join("worker");
    let worker = funded(&ledger, &worker_folder.join("wallet.json"), GRIST(100)).to_string();
    let mut lending = Command::new(GRISTMILL)
        .args(["worker", "--slots", "1", "--pool", &pool.url(), "--data-dir"])
        .arg(&worker_folder)
        .env("GRISTMILL_LOG_FORMAT", "json")
        .stderr(Stdio::from(std::fs::File::create(&worker_log).unwrap()))
        .spawn()
        .unwrap();
    let requester_key = folder.join("requester.json");
    funded(&ledger, &requester_key, GRIST(100));
    let requester = Requester { pool: &root, wallet: requester_key.display().to_string() };
    let job = requester.order(&probe().display().to_string(), &["--trust", "2", "--arg", "put /iexec_out/word x"]);
    requester.wait(&job);
    let shown = requester.run(&["job", "show", &job, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let task = shown["tasks"][0]["task"].as_str().unwrap_or_else(|| panic!("{shown:#}")).to_owned();
    wait_until("the pool to see the end", || pool.status()["tasks"]["completed"] == 1);
    check_timeline(&pool, &task, &worker);

    let said = lines(&pool_log);
    let lease = &of_task(&said, "a lease", &task)[0];
    assert!(lease["worker"].as_str().unwrap().eq_ignore_ascii_case(&worker), "{lease}");
    assert!(lease["lease"].is_string() && lease["level"] == "DEBUG", "{lease}");
    for message in ["a lease is over", "a contribution", "a reveal", "a task is over"] {
        of_task(&said, message, &task);
    }
    let said = lines(&worker_log);
    for message in ["a task is taken", "the result is sealed", "contributed", "the result is revealed"] {
        of_task(&said, message, &task);
    }
    lending.kill().unwrap();
    lending.wait().unwrap();

    // After a restart it begins anew, and says so.
    pool.kill();
    let pool = Pool::start(&ledger, &root, &[]);
    let gone = pool.run(&["trace", &task]);
    assert!(!gone.status.success() && text(&gone).contains("begin anew with each start"), "{}", text(&gone));
    let wrong = Command::new(GRISTMILL).args(["sim", "--help"]).env("GRISTMILL_LOG_FORMAT", "xml").output().unwrap();
    assert!(wrong.status.success(), "help needs no log");
    let wrong = Command::new(GRISTMILL).args(["wallet", "show"]).env("GRISTMILL_LOG_FORMAT", "xml").output().unwrap();
    assert!(!wrong.status.success() && text(&wrong).contains("it is text or json"), "{}", text(&wrong));
}
