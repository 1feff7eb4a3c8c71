//! What a lab's machines cannot finish is bought on a market, within a price, and comes back as if they had done it.
//!
//! The lab and the market are two networks of real processes. The market is the one of `gristmill up` with its workers; the lab knows it
//! by its folder, and pays with an account of its own there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill_hub::HubClient;
use gristmill_requester::JobIndex;
use gristmill_types::{Address, OrderHash};
use gristmill_wallet::Wallet;
use serde_json::Value;

use crate::harness::{Up, alone, probe, text, tree, wait_until};

/// Rounds of a task that takes a few seconds.
const ROUNDS: u64 = 1_500_000_000;

/// Two networks, and the account with which one buys on the other.
struct Town {
    folder: tempfile::TempDir,
    market: Up,
    wallet: PathBuf,
    account: Address,
}

impl Town {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wallet = folder.path().join("lab-buys.json");
        let account = Wallet::load_or_generate(&wallet).unwrap().address();
        let args = ["--workers", "2", "--fund", &account.to_string()];
        let market = Up::start(&folder.path().join("market"), &args);
        Self { folder, market, wallet, account }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn lab(&self, workers: &str, max_price: &str, more: &[&str]) -> Up {
        let (market, wallet) = (self.market.data_dir.display().to_string(), self.wallet.display().to_string());
        let args = ["--private", "--workers", workers, "--overflow-to", &market, "--overflow-wallet", &wallet];
        let args = [&args[..], &["--overflow-max-price", max_price, "--overflow-trust", "2"], more].concat();
        Up::start(&self.folder.path().join("lab"), &args)
    }

    /// The jobs that the lab ordered on the market.
    fn bought(&self) -> Vec<OrderHash> {
        let book = self.market.book();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let hub = HubClient::connect(&book.rpc, book.hub).await.unwrap();
            let index = JobIndex::read(&hub).await.unwrap();
            let jobs = index.jobs(Some(self.account));
            assert!(jobs.iter().all(|job| job.deals.len() <= 1 && job.matched() <= 1), "each is one task");
            jobs.iter().map(|job| job.hash).collect()
        })
    }
}

fn overflow(lab: &Up) -> Value {
    lab.json(&["pool", "status"])["overflow"].clone()
}

fn runs(up: &Up, args: &[&str], out: &str) -> (Value, BTreeMap<String, Vec<u8>>) {
    let output = up.run(&[&["run"], args, &["--trust", "1", "--out", out]].concat());
    assert!(output.status.success(), "{}", text(&output));
    delivered(Path::new(out))
}

/// The fingerprint of a job, and all its files but the receipts, which name their ledger.
fn delivered(out: &Path) -> (Value, BTreeMap<String, Vec<u8>>) {
    let mut files = tree(out);
    let job: Value = serde_json::from_slice(&files["job.json"]).unwrap();
    files.retain(|name, _| name != "job.json" && !name.starts_with("receipts/"));
    assert!(job["root"].is_string() && !files.is_empty(), "{job:#}");
    (job["root"].clone(), files)
}

/// A module that computes for a while, then prints what it is told: its virtual randomness and its environment.
fn telling(folder: &Path) -> String {
    let wasm = wat::parse_str(format!(
        "(module
           (import \"wasi_snapshot_preview1\" \"random_get\" (func $random (param i32 i32) (result i32)))
           (import \"wasi_snapshot_preview1\" \"environ_get\" (func $environ (param i32 i32) (result i32)))
           (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
           (memory (export \"memory\") 1)
           (func (export \"_start\") (local $left i64) (local $x i64)
             (local.set $left (i64.const {ROUNDS}))
             (loop $again
               (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1)))
               (local.set $left (i64.sub (local.get $left) (i64.const 1)))
               (br_if $again (i64.ne (local.get $left) (i64.const 0))))
             (i64.store (i32.const 1024) (local.get $x))
             (drop (call $random (i32.const 1032) (i32.const 32)))
             (drop (call $environ (i32.const 2048) (i32.const 8192)))
             (i32.store (i32.const 0) (i32.const 1024))
             (i32.store (i32.const 4) (i32.const 40))
             (i32.store (i32.const 8) (i32.const 8192))
             (i32.store (i32.const 12) (i32.const 1024))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 16)))))"
    ));
    let path = folder.join("telling.wasm");
    std::fs::write(&path, wasm.unwrap()).unwrap();
    path.display().to_string()
}

#[test]
fn what_the_lab_cannot_finish_in_time_is_bought_and_is_what_it_would_have_computed() {
    let _alone = alone();
    let town = Town::new();
    let app = telling(town.folder.path());
    let lab = town.lab("1", "1", &["--overflow-after", "8s"]);
    assert_eq!(overflow(&lab)["left"], "20000000000000", "what it was given, inside and outside of the account");
    let job = ["--tasks", "7", &app];
    let (root, files) = runs(&lab, &job, &town.path("both"));
    // What a machine at home was quicker with after all is paid for too.
    wait_until("the market to end what is bought", || overflow(&lab)["under_way"] == 0);
    let status = overflow(&lab);
    let bought = town.bought().len() as u64;
    assert!((1..7).contains(&bought), "some of it: {status:#}");
    assert_eq!(
        (&status["completed"], &status["failed"], &status["trouble"]),
        (&bought.into(), &0.into(), &Value::Null)
    );
    let spent: u64 = status["spent"].as_str().unwrap().parse().unwrap();
    assert_eq!(spent, bought * 100_000_000, "a tenth of a GRIST each");
    let report = lab.json(&["pool", "report", "--by", "worker"]);
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["name"] == "market").unwrap();
    assert!((1..=bought).contains(&row["results"].as_u64().unwrap()) && row["rejected"] == 0, "{report:#}");
    // The same at home, where nothing is bought.
    let (alone, same) = runs(&town.market, &job, &town.path("home"));
    assert_eq!(files.keys().collect::<Vec<_>>(), same.keys().collect::<Vec<_>>());
    assert!(root == alone && files == same, "bit for bit");
    assert!(files["000006/stdout.txt"] != files["000005/stdout.txt"], "each is told what it is");
    lab.assert_invariants();
    town.market.assert_invariants();
}

#[test]
fn nothing_dearer_than_the_cap_is_bought_and_kill_9_has_nothing_bought_twice() {
    let _alone = alone();
    let town = Town::new();
    let words = town.path("words.txt");
    std::fs::write(&words, "one\ntwo\nthree\nfour\n").unwrap();
    let probe = probe().display().to_string();
    let job =
        [&probe, "--items", &words, "--tasks", "2", "--arg", "cat /iexec_in/item", "--arg", "env", "--arg", "random"];
    // A lab without a machine: all of it would have to be bought.
    let mut lab = town.lab("0", "0.05", &[]);
    let ordered = lab.json(&[&["run"], &job[..], &["--trust", "1", "--detach"]].concat());
    let id = ordered["job"].as_str().unwrap().to_owned();
    wait_until("the pool to say why nothing is bought", || {
        let explained = text(&lab.run(&["job", "explain", &id]));
        explained.contains("more than --overflow-max-price (0.05 GRIST)")
    });
    let status = lab.json(&["pool", "status"]);
    assert!(status["warnings"].to_string().contains("0.1 GRIST"), "{status:#}");
    assert_eq!((overflow(&lab)["under_way"].clone(), town.bought()), (0.into(), vec![]));
    // For more it is, and the lab dies as soon as it is ordered, and once more when it has come back.
    for _ in 0..2 {
        lab.kill();
        lab = town.lab("0", "0.2", &[]);
        wait_until("something to be bought", || !town.bought().is_empty());
    }
    lab.kill();
    let lab = town.lab("0", "0.2", &[]);
    let out = town.path("bought");
    let waited = lab.run(&["job", "wait", &id]);
    assert!(waited.status.success(), "{}", text(&waited));
    let fetched = lab.run(&["job", "fetch", &id, "--out", &out]);
    assert!(fetched.status.success(), "{}", text(&fetched));
    assert_eq!(town.bought().len(), 2, "one order a task, whatever crashed");
    assert_eq!(overflow(&lab)["completed"], 2);
    let (root, files) = delivered(Path::new(&out));
    let (alone, same) = runs(&town.market, &job, &town.path("home"));
    assert_eq!(files, same);
    assert_eq!(root, alone);
    lab.assert_invariants();
    town.market.assert_invariants();
}

#[test]
fn a_market_that_is_none_is_said_before_anything_runs() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (data, nowhere) = (folder.path().join("lab").display().to_string(), folder.path().display().to_string());
    let up = |args: &[&str]| {
        let args = [&["up", "--workers", "0", "--data-dir", &data], args].concat();
        std::process::Command::new(crate::harness::GRISTMILL).args(args).output().unwrap()
    };
    let refused = up(&["--overflow-to", &nowhere, "--overflow-max-price", "1"]);
    assert!(!refused.status.success() && text(&refused).contains("no network was started from"), "{}", text(&refused));
    let refused = up(&["--overflow-max-price", "1"]);
    assert!(!refused.status.success() && text(&refused).contains("--overflow-to"), "{}", text(&refused));
}
