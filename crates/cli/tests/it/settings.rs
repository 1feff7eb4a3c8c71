//! A pool's operator changes what it charges and how it works, while it works.

use std::path::Path;
use std::process::Command;

use alloy_primitives::Address;
use gristmill_types::Amount;
use serde_json::Value;

use crate::harness::{Worker, alone, probe, text, wait_until};
use crate::owner::slow;
use crate::pool::{Pool, Requester, funded};
use crate::pools::Ledger;

const GRIST: fn(u64) -> Amount = Amount::from_grist;

/// The prices in nGRIST of its orders of the smallest class.
fn prices(pool: &Pool) -> Vec<String> {
    let status = pool.status();
    let orders = status["orders"].as_array().unwrap().iter().filter(|order| order["category"] == 0);
    orders.map(|order| order["price"].as_str().unwrap().to_owned()).collect()
}

fn write(pool: &Path, text: &str) {
    std::fs::write(pool.join("pool.toml"), text).unwrap();
}

/// What a job costs its requester a task, once it is over.
fn paid(requester: &Requester<'_>, job: &str) -> String {
    requester.wait(job);
    let shown = requester.run(&["job", "show", job, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap_or_else(|_| panic!("{}", text(&shown)));
    shown["paid"].as_str().unwrap_or_else(|| panic!("{shown:#}")).to_owned()
}

/// What is wrong with a file is told with its place, and nothing changes.
fn check_refusals(pool: &Pool) {
    let before = pool.ask(&["settings"]);
    for (file, words) in [
        ("[price]\nXS = 2\n\nfee = 3\n", ["line 4, column 1", "fee"]),
        ("stake = 5\n[price]\nXS = 2\nM = \"dear\"\n", ["line 4, column 5", "dear"]),
        ("[price]\nXS = 2\nHUGE = 3\n", ["line 3, column 1", "no such size class"]),
        ("[price]\nXS = 2\n[scheduler]\ncopies_max = 99\n", ["line 4, column 14", "0 to 16"]),
        ("[price]\nXS = 2\n[credibility]\non = false\n", ["credibility.on: true -> false", "needs a restart"]),
    ] {
        write(&pool.root, file);
        let refused = pool.run(&["reload"]);
        assert!(!refused.status.success(), "{}", text(&refused));
        for word in words {
            assert!(text(&refused).contains(word), "{word}: {}", text(&refused));
        }
        assert_eq!(pool.ask(&["settings"]), before, "{file}");
    }
    assert_eq!(prices(pool), ["500000000"]);
}

#[test]
fn a_pool_takes_other_settings_while_it_runs() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::approved(folder, &[]);
    let root = folder.join("pool");
    let owner = funded(&ledger, &root.join("wallet.json"), GRIST(100));
    ledger.send("tokens of the pool", ledger.hub.transfer_tokens(owner, GRIST(500)));
    write(&root, "stake = 100\n[price]\nXS = 0.5\n");
    let pool = Pool::start(&ledger, &root, &["--price", "S=7"]);
    let settings = pool.ask(&["settings"]);
    assert_eq!((&settings["settings"]["price"]["XS"], &settings["from"]["price.XS"]), (&"0.5".into(), &"file".into()));
    assert_eq!((&settings["settings"]["price"]["S"], &settings["from"]["price.S"]), (&"7".into(), &"flag".into()));
    assert_eq!(settings["from"]["price.M"], "default");
    assert_eq!(prices(&pool), ["500000000"]);

    let worker_folder = folder.join("worker");
    let worker = funded(&ledger, &worker_folder.join("wallet.json"), GRIST(100)).to_string();
    let _running = Worker::start(&pool.url(), &worker_folder);
    let requester_key = folder.join("requester.json");
    funded(&ledger, &requester_key, GRIST(100));
    let requester = Requester { pool: &root, wallet: requester_key.display().to_string() };
    let running = requester.order(&slow(folder, 6_000_000_000), &["--tasks", "1"]);
    wait_until("the lease", || pool.worker(&worker)["tasks"].as_array().is_some_and(|tasks| tasks.len() == 1));

    check_refusals(&pool);
    write(&root, "stake = 150\nfee_percent = 7\n[price]\nxs = 2\nS = 9\n[scheduler]\nlate_percent = 300\n");
    let changes = pool.ask(&["reload"]);
    let changed: Vec<&str> =
        changes["changes"].as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect();
    // The flag goes before the file.
    assert_eq!(changed, ["fee_percent", "stake", "price.XS", "scheduler.late_percent"], "{changes:#}");
    assert_eq!((&changes["changes"][2]["old"], &changes["changes"][2]["new"]), (&"0.5".into(), &"2".into()));
    assert_eq!((&changes["trouble"], prices(&pool)), (&Value::Null, vec!["2000000000".to_owned()]));
    let workerpool: Address = pool.said["workerpool"].as_str().unwrap().parse().unwrap();
    let fee = ledger.runtime.block_on(ledger.hub.view_workerpool(workerpool)).unwrap().unwrap();
    assert_eq!(fee.scheduler_reward_ratio, 7);
    let stake = &pool.status()["stake"];
    let ngrist = |key: &str| stake[key].as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!(ngrist("free") + ngrist("locked"), GRIST(150).ngrist(), "{stake}");
    let shown = text(&pool.run(&["reload"]));
    assert!(shown.contains("nothing is different"), "{shown}");

    // The deal that was made keeps its price, the next has the new one.
    let next = requester.order(&probe().display().to_string(), &["--arg", "put /iexec_out/word x"]);
    assert_eq!(pool.worker(&worker)["tasks"].as_array().map(Vec::len), Some(1), "the lease goes on");
    assert_eq!((paid(&requester, &running), paid(&requester, &next)), ("500000000".into(), "2000000000".into()));

    write(&root, "fee_percent = 7\nstake = 150\n[price]\nXS = 3\n");
    let signalled = Command::new("kill").args(["-HUP", &pool.child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    wait_until("the price after the signal", || prices(&pool) == ["3000000000"]);
    restart(&ledger, pool, &root);
}

/// The file holds after a restart, and a broken one is told.
fn restart(ledger: &Ledger, mut pool: Pool, root: &Path) {
    let shown = text(&pool.run(&["settings"]));
    pool.kill();
    let mut pool = Pool::start(ledger, root, &[]);
    assert_eq!(prices(&pool), ["3000000000"]);
    let settings = pool.ask(&["settings"]);
    assert_eq!((&settings["settings"]["fee_percent"], &settings["from"]["price.S"]), (&7.into(), &"default".into()));
    pool.kill();
    // What is shown is a file that can be used.
    write(root, &shown);
    let mut pool = Pool::start(ledger, root, &[]);
    assert_eq!(
        (prices(&pool), pool.ask(&["settings"])["settings"]["price"]["S"].clone()),
        (vec!["3000000000".into()], "7".into())
    );
    pool.kill();
    write(root, "[price]\nXS = 3\nXS = 4\n");
    let refused = Pool::command(ledger, root, &[]).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("line 3, column 1"), "{}", text(&refused));
}
