//! kill -9 of a whole network, of a pool and of workers at random moments of their jobs: nothing is lost, nothing is paid twice. And two
//! pools with one key: the second refuses.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use gristmill_types::{AddressBook, Amount};
use gristmill_wallet::Wallet;
use serde_json::Value;

use crate::harness::{Up, Worker, alone, audit, next, probe, seed, text, wait_until};
use crate::owner::slow;
use crate::pool::{Pool, Requester, funded};
use crate::pools::Ledger;

/// Kills in a run; the slow run does the full twenty.
const KILLS_FAST: u32 = 5;
const KILLS_SLOW: u32 = 20;
/// Kills of a pool's process, whose ledger goes on meanwhile.
const POOL_KILLS_FAST: u32 = 4;
const POOL_KILLS_SLOW: u32 = 50;
/// Workers of that pool; one in three kills takes one of them too.
const WORKERS: usize = 3;
/// Jobs of that pool that are under way at a time.
const JOBS_OPEN: usize = 3;
/// Jobs that the kills may be spread over, in case one ends early.
const JOBS_MAX: u32 = 40;

#[test]
fn kill_9_of_the_network_at_random_moments_loses_nothing() {
    let _alone = alone();
    let seed = seed();
    let kills = if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { KILLS_SLOW } else { KILLS_FAST };
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("net");
    let prices = folder.path().join("sp500_prices.csv.gz");
    std::fs::write(&prices, gristmill_network::builtin::PRICES).unwrap();
    let prices = prices.display().to_string();
    let mut random = seed;
    let mut up = Up::start(&data_dir, &["--workers", "4"]);
    let mut killed = 0;
    for _ in 0..JOBS_MAX {
        let args =
            ["run", "efast", "--input", &prices, "--arg", "--samples", "--arg", "300", "--tasks", "6", "--detach"];
        let job = up.json(&args)["job"].as_str().unwrap().to_owned();
        while killed < kills && !is_done(&up, &job) {
            std::thread::sleep(Duration::from_millis(50 + next(&mut random) % 1_500));
            up.kill();
            killed += 1;
            up = Up::start(&data_dir, &["--workers", "4"]);
        }
        let waited = up.run(&["job", "wait", &job]);
        assert!(waited.status.success(), "seed {seed}, after {killed} kills: {}", text(&waited));
        if killed == kills {
            break;
        }
    }
    assert_eq!(killed, kills, "seed {seed}: the jobs ended before all kills were made");
    up.assert_invariants();
}

fn is_done(up: &Up, job: &str) -> bool {
    up.json(&["job", "show", job]).to_string().contains("\"state\":\"completed\"")
}

/// A pool and its workers, each a process of its own, on a ledger that none of them runs.
struct Mill<'a> {
    ledger: &'a Ledger,
    folder: PathBuf,
    root: PathBuf,
    pool: Pool,
    workers: Vec<Worker>,
}

impl<'a> Mill<'a> {
    fn start(ledger: &'a Ledger, folder: &Path) -> Self {
        let root = folder.join("pool");
        fund_pool(ledger, &root);
        let pool = Pool::start(ledger, &root, &[]);
        let mut mill = Self { ledger, folder: folder.to_path_buf(), root, pool, workers: Vec::new() };
        for number in 0..WORKERS {
            funded(ledger, &mill.worker_folder(number).join("wallet.json"), Amount::from_grist(500));
            mill.workers.push(Worker::start(&mill.pool.url(), &mill.worker_folder(number)));
        }
        mill
    }

    fn worker_folder(&self, number: usize) -> PathBuf {
        self.folder.join(format!("worker-{number}"))
    }

    /// Kills the pool, and perhaps a worker, and starts them again.
    fn kill(&mut self, random: &mut u64) {
        let victim = next(random) as usize % (3 * WORKERS);
        if let Some(worker) = self.workers.get_mut(victim) {
            worker.kill();
        }
        self.pool.kill();
        if next(random).is_multiple_of(2) {
            // The workers, and the ledger, go on alone for a while.
            std::thread::sleep(Duration::from_millis(next(random) % 1_000));
        }
        self.pool = Pool::start(self.ledger, &self.root, &[]);
        if victim < WORKERS {
            self.workers[victim] = Worker::start(&self.pool.url(), &self.worker_folder(victim));
        }
    }

    /// I9: nothing of a task that is over is left where tasks run.
    fn assert_clean(&self) {
        for number in 0..WORKERS {
            let pools = self.worker_folder(number).join("worker/pools");
            for pool in std::fs::read_dir(pools).unwrap().map(|pool| pool.unwrap().path()) {
                let left = || std::fs::read_dir(pool.join("jobs")).unwrap().count();
                wait_until("the folders of tasks to be gone", || left() == 0);
            }
        }
    }
}

/// Gives a pool's key what it needs.
fn fund_pool(ledger: &Ledger, root: &Path) {
    std::fs::create_dir_all(root).unwrap();
    let owner = Wallet::load_or_generate(root.join("wallet.json")).unwrap().address();
    ledger.send(&format!("fund {owner}"), ledger.hub.transfer_tokens(owner, Amount::from_grist(5_000)));
}

#[test]
fn kill_9_of_the_pool_and_of_its_workers_loses_nothing() {
    let _alone = alone();
    let seed = seed();
    let slow_run = std::env::var_os("GRISTMILL_SLOW_TESTS").is_some();
    let kills = if slow_run { POOL_KILLS_SLOW } else { POOL_KILLS_FAST };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::approved(folder, &[]);
    let requester_key = folder.join("requester.json");
    funded(&ledger, &requester_key, Amount::from_grist(3_000));
    let mut mill = Mill::start(&ledger, folder);
    let root = mill.root.clone();
    let requester = Requester { pool: &root, wallet: requester_key.display().to_string() };
    let (quick, long) = (probe().display().to_string(), slow(folder, 300_000_000));
    let (mut random, mut killed, mut tasks) = (seed, 0, 0);
    let mut jobs = VecDeque::new();
    while killed < kills {
        while jobs.len() < JOBS_OPEN {
            let trust = ["1", "3"][next(&mut random) as usize % 2];
            let job = match next(&mut random) % 2 {
                0 => requester.order(&quick, &["--trust", trust, "--tasks", "3", "--arg", "put /iexec_out/word x"]),
                _ => requester.order(&long, &["--trust", trust, "--tasks", "3"]),
            };
            tasks += 3;
            jobs.push_back(job);
        }
        std::thread::sleep(Duration::from_millis(20 + next(&mut random) % 1_200));
        mill.kill(&mut random);
        killed += 1;
        if killed % 3 == 0 {
            requester.wait(&jobs.pop_front().unwrap());
        }
    }
    jobs.iter().for_each(|job| requester.wait(job));
    let status = mill.pool.status();
    assert_eq!(status["warnings"], Value::Array(vec![]), "seed {seed}: {status:#}");
    let book: AddressBook = serde_json::from_slice(&std::fs::read(root.join("address.json")).unwrap()).unwrap();
    audit(&book, true);
    mill.assert_clean();
    println!("seed {seed}: {killed} kills, {tasks} tasks");
}

/// A pool that must not start, and what it says.
fn refused(output: &Output, parts: &[&str]) {
    assert!(!output.status.success(), "{}", text(output));
    for part in parts {
        assert!(text(output).contains(part), "{part}: {}", text(output));
    }
}

#[test]
fn of_two_pools_with_one_key_the_second_refuses() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::start(folder);
    let (root, other) = (folder.join("pool"), folder.join("other"));
    fund_pool(&ledger, &root);
    let public = ["--public", "The mill"];
    let mut first = Pool::start(&ledger, &root, &public);
    let key = root.join("wallet.json").display().to_string();

    // The same folder.
    refused(&Pool::command(&ledger, &root, &public).output().unwrap(), &["is in use by", "stop it first"]);
    // Another folder with the same key, or with a copy of it.
    let parts = ["another pool on this machine works with the key of", "stop it first", "--wallet FILE"];
    let shared = Pool::command(&ledger, &other, &["--wallet", &key]).output().unwrap();
    refused(&shared, &parts);
    let copied = folder.join("copied");
    std::fs::create_dir_all(&copied).unwrap();
    std::fs::copy(&key, copied.join("wallet.json")).unwrap();
    refused(&Pool::command(&ledger, &copied, &[]).output().unwrap(), &parts);
    // A copy of the whole folder on what might be another machine: somebody answers at its own address with its own key.
    let moved = folder.join("moved");
    std::fs::create_dir_all(moved.join("pool")).unwrap();
    for name in ["wallet.json", "pool/VERSION", "pool/tls.pem"] {
        std::fs::copy(root.join(name), moved.join(name)).unwrap();
    }
    let port = first.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let elsewhere = ["--listen".to_owned(), format!("127.0.0.2:{port}"), "--host".to_owned(), "127.0.0.1".to_owned()];
    let more: Vec<&str> = public.into_iter().chain(elsewhere.iter().map(String::as_str)).collect();
    let answers = format!("answers at {}", first.url());
    refused(
        &Pool::command(&ledger, &moved, &more).output().unwrap(),
        &["runs already", &answers, "Stop it there first"],
    );

    // None of them did anything to the first, and with a key of its own a second pool runs beside it.
    let status = first.status();
    assert_eq!(status["warnings"], Value::Array(vec![]), "{status:#}");
    let neighbour = folder.join("neighbour");
    fund_pool(&ledger, &neighbour);
    drop(Pool::start(&ledger, &neighbour, &[]));
    // However the first ends, its key is free then.
    first.kill();
    Pool::start(&ledger, &other, &["--wallet", &key]).status();
}
