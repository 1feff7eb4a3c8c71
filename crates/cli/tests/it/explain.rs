//! Ways in which nothing runs: each has its true cause, and the fix that is told makes it run.
//!
//! Rights are in `lab`. That a run takes longer than its category is told in two ways: what is metered ends as a result (here), what is
//! not is killed by its worker (`CategoryTooShort` in the scheduler's tests).

use std::path::Path;
use std::time::Duration;

use gristmill_types::Amount;
use gristmill_wallet::Wallet;
use serde_json::Value;

use crate::harness::{Worker, alone, probe, text, tree, wait_until};
use crate::owner::slow;
use crate::pool::{Pool, Requester, funded};
use crate::pools::Ledger;

const GRIST: fn(u64) -> Amount = Amount::from_grist;
/// T of the category `TINY`, in seconds.
const TINY_S: u64 = 1;

/// A pool on a ledger of its own, and somebody who asks.
struct Bench<'a> {
    ledger: &'a Ledger,
    pool: Pool,
    requester: Requester<'a>,
    folder: &'a Path,
}

impl Bench<'_> {
    /// What is said of a job, once it is this; and what to do.
    fn cause(&self, job: &str, code: &str) -> (String, String) {
        let mut said = Value::Null;
        let explain = || -> Value {
            let output = self.requester.run(&["job", "explain", job, "--json"]);
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
        };
        wait_until(code, || {
            said = explain();
            if said["code"] != code {
                // What it waits for meanwhile is in the log of a test that fails.
                println!("{code} is waited for: {said}");
            }
            said["code"] == code
        });
        let part = |name: &str| said[name].as_str().unwrap().to_owned();
        (part("cause"), part("fix"))
    }

    fn order(&self, more: &[&str]) -> String {
        self.requester.order(&probe().display().to_string(), &[more, &["--arg", "put /iexec_out/word x"]].concat())
    }

    /// A worker with so much in its account.
    fn worker(&self, name: &str, stake: Amount) -> Worker {
        let folder = self.folder.join(name);
        funded(self.ledger, &folder.join("wallet.json"), stake);
        Worker::start(&self.pool.url(), &folder)
    }

    fn refused(&self, args: &[&str], words: &[&str]) -> String {
        let output = self.requester.run(args);
        let said = text(&output);
        assert!(!output.status.success(), "{said}");
        for word in words {
            assert!(said.contains(word), "`{word}` is missing: {said}");
        }
        said
    }
}

/// What stands in `text` between two words.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("`{before}` in {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("`{after}` in {text}")).0
}

/// No worker, then one that is not what a job requires.
fn who_is_missing(bench: &Bench<'_>) -> Worker {
    let first = bench.order(&[]);
    let (_, fix) = bench.cause(&first, "no-workers");
    assert!(fix.contains("gristmill worker --pool"), "{fix}");
    // Nobody is there who could say that it will not do.
    let demanding = bench.order(&["--require", "Cpus >= 100000 && Memory > 1"]);

    let worker = bench.worker("first", Amount::ZERO);
    bench.requester.wait(&first);
    let (cause, fix) = bench.cause(&demanding, "no-match");
    assert!(cause.contains("none of 1 machines matches") && cause.contains("Cpus"), "{cause}");
    assert_eq!(between(&fix, "without `", "`"), "Cpus >= 100000", "{fix}");
    bench.requester.wait(&bench.order(&["--require", "Memory > 1"]));
    // With the machine there it is said before anything is ordered.
    let probe = probe().display().to_string();
    let impossible = ["run", &probe, "--trust", "1", "--require", "Cpus >= 100000"];
    bench.refused(&impossible, &["no machine of pool", "the nearest is", "Nothing was spent"]);
    bench.refused(&["run", &probe, "--require", "Cpus >="], &["--require cannot be read"]);
    worker
}

/// A worker that is banned is let in again.
fn who_is_banned(bench: &Bench<'_>, mut worker: Worker) -> Worker {
    let address = Worker::address(&bench.folder.join("first"));
    bench.pool.ask(&["ban", &address, "--reason", "it snores"]);
    worker.ended();
    let job = bench.order(&[]);
    let (cause, fix) = bench.cause(&job, "banned");
    assert!(cause.contains("it snores"), "{cause}");
    let told = between(&fix, "gristmill pool unban ", "`").to_lowercase();
    assert_eq!(told, address);
    bench.pool.ask(&["unban", &told]);
    let worker = Worker::start(&bench.pool.url(), &bench.folder.join("first"));
    bench.requester.wait(&job);
    worker
}

/// A worker without stake, which an answer that others must agree with locks; and one worker is not enough for this confidence.
fn who_must_agree(bench: &Bench<'_>, rich: Worker) -> Vec<Worker> {
    // It has been paid meanwhile.
    drop(rich);
    wait_until("nobody to be there", || bench.pool.status()["workers"]["connected"] == 0);
    let job = bench.order(&["--trust", "5"]);
    let poor = bench.worker("poor", Amount::ZERO);
    let (cause, fix) = bench.cause(&job, "stake-too-low");
    let missing: Amount = between(&fix, "deposit ", " for it").parse().unwrap();
    assert!(missing > Amount::ZERO && cause.contains("lacks"), "{cause}: {fix}");
    let address = Worker::address(&bench.folder.join("poor")).parse().unwrap();
    bench.ledger.send("what is missing", bench.ledger.hub.deposit_for(missing, address));
    let mut said = (String::new(), String::new());
    wait_until("the first answer", || {
        let output = bench.requester.run(&["job", "explain", &job, "--json"]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        said = (
            value["code"].as_str().unwrap_or_default().to_owned(),
            value["fix"].as_str().unwrap_or_default().to_owned(),
        );
        ["not-believed", "too-few-workers"].contains(&said.0.as_str())
    });
    let missing: usize = between(&said.1, "start ", " more worker(s)").parse().unwrap();
    assert!((1..=4).contains(&missing), "{said:?}");
    let more = (0..missing).map(|number| bench.worker(&format!("more-{number}"), GRIST(100)));
    let workers = more.chain([poor]).collect();
    bench.requester.wait(&job);
    workers
}

/// What is paid, and from what.
fn what_it_costs(bench: &Bench<'_>) {
    let probe = probe().display().to_string();
    let run = |requester: &Requester<'_>, more: &[&str]| {
        let args = ["run", &probe, "--trust", "1", "--arg", "put /iexec_out/word x", "--detach", "--json"];
        requester.run(&[&args, more].concat())
    };
    let capped = run(&bench.requester, &["--max-price", "0.05"]);
    let said = text(&capped);
    assert!(!capped.status.success() && said.contains("--max-price"), "{said}");
    let price = between(&said, "the job costs ", ",").trim_end_matches(" GRIST").to_owned();
    let output = run(&bench.requester, &["--max-price", &price]);
    assert!(output.status.success(), "{}", text(&output));

    // Somebody whose GRIST lie in the wallet.
    let key = bench.folder.join("thrifty.json");
    let address = funded(bench.ledger, &key, Amount::from_ngrist(1));
    bench.ledger.send("pocket money", bench.ledger.hub.transfer_tokens(address, GRIST(5)));
    let thrifty = Requester { pool: bench.requester.pool, wallet: key.display().to_string() };
    let short = run(&thrifty, &["--no-deposit"]);
    let said = text(&short);
    assert!(!short.status.success() && said.contains("gristmill account deposit"), "{said}");
    let missing = between(&said, "so ", " are missing").to_owned();
    let deposited = thrifty.run(&["account", "deposit", &missing]);
    assert!(deposited.status.success(), "{}", text(&deposited));
    let output = run(&thrifty, &["--no-deposit"]);
    assert!(output.status.success(), "{}", text(&output));
}

/// A pool that is drained takes nothing, until it is told to.
fn who_is_paused(bench: &Bench<'_>, kept_busy: &str) {
    bench.pool.ask(&["drain"]);
    let probe = probe().display().to_string();
    let args = ["run", &probe, "--trust", "1", "--arg", "put /iexec_out/word x", "--detach"];
    wait_until("the orders to be closed", || !bench.requester.run(&args).status.success());
    bench.refused(&args, &["is drained and takes no new deals", "gristmill pool resume"]);
    bench.pool.ask(&["resume"]);
    wait_until("the orders to stand again", || bench.requester.run(&args).status.success());
    bench.requester.wait(kept_busy);
}

/// An app that is not in the store any more: nobody can fetch it until it is put there again.
fn what_is_not_there(bench: &Bench<'_>, workers: Vec<Worker>) -> Vec<Worker> {
    drop(workers);
    wait_until("the workers to be gone", || bench.pool.status()["workers"]["connected"] == 0);
    let app = slow(bench.folder, 1_001);
    // Larger than what shares a file with others in the store, by a custom section: 70,004 bytes in LEB128, its name, zeros.
    let mut bytes = std::fs::read(&app).unwrap();
    bytes.extend([0, 0xf4, 0xa2, 0x04, 3]);
    bytes.extend(b"pad");
    bytes.extend([0; 70_000]);
    std::fs::write(&app, &bytes).unwrap();
    let job = bench.requester.order(&app, &[]);
    let store = bench.pool.root.join("store");
    let files = tree(&store);
    let blobs = files.iter().filter(|(_, content)| **content == bytes).collect::<Vec<_>>();
    assert!(!blobs.is_empty(), "the app is in the pool's store");
    for (blob, _) in blobs {
        std::fs::remove_file(store.join(blob)).unwrap();
    }
    let worker = Worker::start(&bench.pool.url(), &bench.folder.join("first"));
    let (cause, fix) = bench.cause(&job, "app-not-fetched");
    assert!(fix.contains("run the job again"), "{cause}: {fix}");
    bench.requester.wait(&bench.requester.order(&app, &[]));
    vec![worker]
}

/// Too much to compute for its size, and too late.
fn what_takes_too_long(bench: &Bench<'_>, workers: Vec<Worker>) {
    let heavy = slow(bench.folder, 3_000_000_000);
    let out = bench.folder.join("heavy").display().to_string();
    let run = |category: &str| {
        let args = ["run", &heavy, "--trust", "1", "--category", category, "--out"];
        let output = bench.requester.run(&[&args, &[format!("{out}-{category}").as_str()][..]].concat());
        (output.status.success(), text(&output))
    };
    let (is_good, said) = run("TINY");
    assert!(!is_good && said.contains("larger size (--category)"), "{said}");
    let (is_good, said) = run("XS");
    assert!(is_good, "{said}");

    drop(workers);
    wait_until("the workers to be gone", || bench.pool.status()["workers"]["connected"] == 0);
    let job = bench.order(&["--category", "TINY"]);
    std::thread::sleep(Duration::from_secs(7 * TINY_S + 1));
    let _late = Worker::start(&bench.pool.url(), &bench.folder.join("first"));
    let (cause, fix) = bench.cause(&job, "failed");
    assert!(cause.contains("no result in time") && fix.contains("run it again"), "{cause}: {fix}");
    bench.requester.wait(&bench.order(&["--category", "TINY"]));
}

#[test]
fn whatever_keeps_a_job_from_running_is_told_with_a_fix_that_works() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::approved(folder, &[("TINY", TINY_S)]);
    let root = folder.join("pool");
    let (owner_key, owner_file) = (folder.join("owner.json"), folder.join("owner.json").display().to_string());
    let owner = Wallet::load_or_generate(&owner_key).unwrap().address();
    ledger.send("fund the pool", ledger.hub.transfer_tokens(owner, GRIST(5_000)));
    let pool = Pool::start(&ledger, &root, &["--wallet", &owner_file, "--price", "TINY=0.1", "--price", "XS=0.1"]);
    let key = folder.join("requester.json");
    funded(&ledger, &key, GRIST(1_000));
    let requester = Requester { pool: &root, wallet: key.display().to_string() };
    let bench = Bench { ledger: &ledger, pool, requester, folder };

    let first = who_is_missing(&bench);
    let first = who_is_banned(&bench, first);
    let workers = who_must_agree(&bench, first);
    what_it_costs(&bench);
    // What is under way keeps the pool from ending while it is drained.
    let busy = bench.requester.order(&slow(folder, 4_000_000_000), &[]);
    who_is_paused(&bench, &busy);
    let workers = what_is_not_there(&bench, workers);
    what_takes_too_long(&bench, workers);
}
