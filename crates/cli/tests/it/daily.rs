//! What a user does on an ordinary day.

use serde_json::Value;

use crate::harness::{GRISTMILL, Up, Worker, alone, probe, text, wait_until};

#[test]
fn a_foreign_program_runs_with_arguments_inputs_and_items_and_a_third_process_takes_part() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "2"]);
    let worker_dir = folder.path().join("worker");
    let _worker = Worker::start(&up.pool(), &worker_dir);
    let address = Worker::address(&worker_dir);
    let (probe, out) = (probe().display().to_string(), folder.path().join("out"));
    let input = folder.path().join("greeting.txt");
    std::fs::write(&input, "hello\n").unwrap();
    let items = folder.path().join("lines.txt");
    std::fs::write(&items, "alpha\nbeta\ngamma\n").unwrap();
    let (input, items, out_text) =
        (input.display().to_string(), items.display().to_string(), out.display().to_string());
    let done = up.json(&[
        "run",
        &probe,
        "--arg",
        "cat greeting.txt",
        "--arg",
        "cat item",
        "--arg",
        "getenv GRISTMILL_ITEM_INDEX",
        "--input",
        &input,
        "--items",
        &items,
        "--tasks",
        "2",
        "--out",
        &out_text,
    ]);
    for (index, word) in ["alpha", "beta", "gamma"].into_iter().enumerate() {
        let printed = std::fs::read_to_string(out.join(format!("{index:06}/stdout.txt"))).unwrap();
        assert!(printed.contains("hello") && printed.contains(word), "{printed}");
        assert!(printed.contains(&format!("GRISTMILL_ITEM_INDEX={index}")), "{printed}");
    }
    // Three must agree at 80 % and the network has two of its own: without the third process nothing would have come.
    assert!(done.to_string().to_lowercase().contains(&job_of(&done)));
    let task = done["results"]["tasks"][0]["task"].as_str().unwrap().to_owned();
    let shown = up.json(&["task", "show", &task]).to_string().to_lowercase();
    assert!(shown.contains(&address), "{address} took no part: {shown}");
    verify_and_tamper(&up, &out);
    look_around(&up, &job_of(&done), &task);
    up.assert_invariants();
}

fn job_of(done: &Value) -> String {
    done["job"].as_str().unwrap().to_owned()
}

/// A receipt verifies, and no longer does when a byte of the results has changed.
fn verify_and_tamper(up: &Up, out: &std::path::Path) {
    let receipt = out.join("receipts/task-000000.json").display().to_string();
    let good = up.run(&["verify", &receipt]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    std::fs::write(out.join("000000/stdout.txt"), "forged\n").unwrap();
    let bad = up.run(&["verify", &receipt]);
    assert_eq!(bad.status.code(), Some(4), "{}", text(&bad));
}

/// The other commands answer, with JSON and in words.
fn look_around(up: &Up, job: &str, task: &str) {
    assert!(up.json(&["job", "list"]).to_string().contains(job));
    assert!(up.json(&["job", "show", job]).to_string().contains("completed"));
    assert!(up.json(&["job", "explain", job]).is_object());
    assert!(up.json(&["account", "show"]).is_object());
    for args in [vec!["job", "list"], vec!["job", "show", job], vec!["task", "show", task], vec!["wallet", "show"]] {
        let output = up.run(&args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}: {}", text(&output));
    }
}

#[test]
fn a_detached_job_with_a_reduce_is_finished_by_the_pool_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "2"]);
    let probe = probe().display().to_string();
    let args = [
        "run",
        &probe,
        "--arg",
        "put /iexec_out/part x",
        "--tasks",
        "2",
        "--trust",
        "1",
        "--detach",
        "--reduce",
        &probe,
    ];
    let ordered =
        up.json(&[&args[..], &["--reduce-arg", "cat 000000/part", "--reduce-arg", "cat 000001/part"]].concat());
    let job = job_of(&ordered);
    let out = folder.path().join("out").display().to_string();
    let waited = up.run(&["job", "wait", &job]);
    assert!(waited.status.success(), "{}", text(&waited));
    let fetched = up.run(&["job", "fetch", &job, "--out", &out]);
    assert!(fetched.status.success(), "{}", text(&fetched));
    let printed = std::fs::read_to_string(folder.path().join("out/reduce/stdout.txt")).unwrap();
    assert_eq!(printed, "cat 000000/part: x\ncat 000001/part: x\n");
    up.assert_invariants();
}

#[test]
fn a_worker_killed_in_the_middle_of_a_task_does_not_stop_the_job() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("net"), &["--workers", "3"]);
    let mut worker = Worker::start(&up.pool(), &folder.path().join("worker"));
    let prices = folder.path().join("sp500_prices.csv.gz");
    std::fs::write(&prices, gristmill_network::builtin::PRICES).unwrap();
    let prices = prices.display().to_string();
    let ordered = up.json(&["run", "efast", "--input", &prices, "--tasks", "4", "--detach"]);
    let job = job_of(&ordered);
    let at_work = || {
        let mut status = std::process::Command::new(GRISTMILL);
        let status = status.args(["worker", "status", "--json", "--data-dir"]).arg(folder.path().join("worker"));
        let status = status.output().expect("gristmill runs");
        status.status.success()
            && serde_json::from_slice::<Value>(&status.stdout).expect("it prints JSON")["tasks"][0].is_object()
    };
    wait_until("the worker to work", at_work);
    worker.kill();
    let waited = up.run(&["job", "wait", &job]);
    assert!(waited.status.success(), "{}", text(&waited));
    up.assert_invariants();
}
