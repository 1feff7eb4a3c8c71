//! A pool alone on a ledger that is there: its operator asks and tells it, and what it says adds up with the ledger.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use alloy_primitives::Address;
use gristmill_hub::Activity;
use gristmill_types::Amount;
use gristmill_wallet::Wallet;
use serde_json::Value;

use crate::harness::{self, GRISTMILL, Up, Worker, alone, probe, start, text, wait_until};
use crate::owner::slow;
use crate::pools::Ledger;

const GRIST: fn(u64) -> Amount = Amount::from_grist;

/// A `gristmill pool` on a ledger. Dropping it kills it.
pub struct Pool {
    pub child: Child,
    pub root: PathBuf,
    /// What it said when it started.
    pub said: Value,
}

impl Pool {
    pub fn command(ledger: &Ledger, root: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(GRISTMILL);
        command.args(["pool", "--json"]).args(ledger.place()).arg("--data-dir").arg(root).args(more);
        command
    }

    pub fn start(ledger: &Ledger, root: &Path, more: &[&str]) -> Self {
        let (child, said) = start(Self::command(ledger, root, more));
        Self { child, root: root.to_path_buf(), said }
    }

    /// One whose log goes into a file, as JSON.
    pub fn start_logging(ledger: &Ledger, root: &Path, log: &Path) -> Self {
        let mut command = Self::command(ledger, root, &[]);
        command.env("GRISTMILL_LOG", "warn,gristmill_pool=debug").env("GRISTMILL_LOG_FORMAT", "json");
        let file = std::fs::File::create(log).unwrap();
        let (child, said) = harness::start_logging(command, file.into());
        Self { child, root: root.to_path_buf(), said }
    }

    pub fn url(&self) -> String {
        self.said["addresses"]["pools"][0].as_str().unwrap().to_owned()
    }

    /// `gristmill pool ARGS`.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(GRISTMILL).arg("pool").args(args).arg("--data-dir").arg(&self.root).output().unwrap()
    }

    pub fn ask(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", text(&output)))
    }

    pub fn status(&self) -> Value {
        self.ask(&["status"])
    }

    /// The one worker whose address this is.
    pub fn worker(&self, worker: &str) -> Value {
        let workers = self.ask(&["workers"]);
        let rows = workers["workers"].as_array().unwrap();
        let is = |row: &&Value| row["worker"].as_str().unwrap().eq_ignore_ascii_case(worker);
        rows.iter().find(is).cloned().unwrap_or(Value::Null)
    }

    /// The samples of its metrics, by name and labels as they stand there.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let url = self.said["metrics"].as_str().unwrap();
        let host = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
        let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        for line in body.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(kind) => drop(kinds.insert(kind.split_once(' ').unwrap().0, kind)),
                None if line.starts_with("# HELP gristmill_pool_") => {}
                None => {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    let family = name.split('{').next().unwrap();
                    let family =
                        ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family);
                    assert!(kinds.contains_key(family), "no type: {line}");
                    assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
                }
            }
        }
        samples
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A requester with money, and its command line.
pub struct Requester<'a> {
    pub pool: &'a Path,
    pub wallet: String,
}

impl Requester<'_> {
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(GRISTMILL);
        command.args(args).arg("--data-dir").arg(self.pool);
        if matches!(args[0], "run" | "account") {
            command.args(["--wallet", &self.wallet]);
        }
        command.output().unwrap()
    }

    /// At trust 1, if nothing else is said.
    pub fn order(&self, app: &str, more: &[&str]) -> String {
        let trust: &[&str] = if more.contains(&"--trust") { &[] } else { &["--trust", "1"] };
        let output = self.run(&[&["run", app, "--detach", "--json"], trust, more].concat());
        assert!(output.status.success(), "{}", text(&output));
        let ordered: Value = serde_json::from_slice(&output.stdout).unwrap();
        ordered["job"].as_str().unwrap().to_owned()
    }

    pub fn wait(&self, job: &str) {
        let waited = self.run(&["job", "wait", job]);
        assert!(waited.status.success(), "{}", text(&waited));
    }
}

/// A key with so much in its account.
pub fn funded(ledger: &Ledger, file: &Path, amount: Amount) -> Address {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let address = Wallet::load_or_generate(file).unwrap().address();
    ledger.send(&format!("fund {address}"), ledger.hub.deposit_for(amount, address));
    address
}

/// A wallet without GRIST is told what is missing; with it the pool opens.
fn open(ledger: &Ledger, root: &Path, more: &[&str]) -> Pool {
    let poor = Pool::command(ledger, root, more).output().unwrap();
    let owner = Wallet::load(root.join("wallet.json")).unwrap().address();
    assert!(!poor.status.success(), "{}", text(&poor));
    for part in [&owner.to_string(), "has 0 GRIST", "at least 3.6 GRIST more", "gristmill up --fund"] {
        assert!(text(&poor).contains(part), "{part}: {}", text(&poor));
    }
    let nobody = Command::new(GRISTMILL).args(["pool", "status", "--data-dir"]).arg(root).output().unwrap();
    assert!(text(&nobody).contains("no pool runs in") && !nobody.status.success(), "{}", text(&nobody));
    ledger.send("fund the pool", ledger.hub.transfer_tokens(owner, GRIST(5_000)));
    Pool::start(ledger, root, more)
}

fn check_first_status(pool: &Pool) {
    let status = pool.status();
    let ngrist = |amount: Amount| Value::from(amount.ngrist().to_string());
    assert_eq!((&status["stake"]["free"], &status["stake"]["tokens"]), (&ngrist(GRIST(1_000)), &ngrist(GRIST(4_000))));
    assert_eq!(status["orders"].as_array().unwrap().len(), 6, "{status:#}");
    assert_eq!(
        (&status["orders"][0]["remaining"], &status["warnings"]),
        (&1_000_000_000.into(), &Value::Array(vec![]))
    );
    assert_eq!(status["stake"]["covers"][0]["tasks"], 33_333, "1,000 GRIST by 30 % of 0.1");
    assert_eq!((&status["workerpool"], &status["owner"]), (&pool.said["workerpool"], &pool.said["owner"]));
    let socket = std::fs::metadata(pool.root.join("pool/control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let shown = text(&pool.run(&["status"]));
    for part in ["1000 GRIST free", "0 workers", "XS", "33333"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

/// Nothing runs, and everybody is told why.
fn check_waiting(pool: &Pool, job: &str) {
    wait_until("two tasks to wait", || pool.status()["tasks"]["waiting"] == 2);
    wait_until("the tasks to be initialised", || pool.ask(&["queue"])["tasks"][1]["cause"]["code"] == "no-workers");
    let queue = pool.ask(&["queue", "--limit", "1"]);
    assert_eq!((queue["tasks"].as_array().unwrap().len(), &queue["waiting"]), (1, &2.into()));
    let task = queue["tasks"][0]["task"].as_str().unwrap();
    for subject in [["task", task], ["job", job], ["job", queue["tasks"][0]["deal"].as_str().unwrap()]] {
        let why = pool.ask(&["explain", subject[0], subject[1]]);
        assert_eq!(why["code"], "no-workers", "{subject:?}: {why}");
        assert!(why["fix"].as_str().unwrap().contains("gristmill worker --pool"), "{why}");
    }
    let unknown = pool.ask(&["explain", "worker", &Address::repeat_byte(9).to_string()]);
    assert_eq!(unknown["code"], "unknown");
}

/// What the report says is what the ledger says, whoever adds it up.
fn check_report(ledger: &Ledger, pool: &Pool, requester: Address, worker: Address, tasks: u64) {
    let sum = |rows: &Value, column: &str| -> u128 {
        let number = |value: &Value| {
            value.as_u64().map_or_else(|| value.as_str().map_or(0, |text| text.parse().unwrap()), u128::from)
        };
        rows.as_array().unwrap().iter().map(|row| number(&row[column])).sum()
    };
    let totals: Vec<Value> = ["user", "app", "worker"]
        .iter()
        .map(|by| {
            let report = pool.ask(&["report", "--by", by]);
            let columns: &[&str] = match *by {
                "worker" => &["leases", "failures", "lease_ms", "results", "rejected", "bytes", "paid", "seized"],
                _ => &[
                    "tasks",
                    "completed",
                    "failed",
                    "cost",
                    "leases",
                    "failures",
                    "lease_ms",
                    "results",
                    "bytes",
                    "paid",
                    "seized",
                ],
            };
            for column in columns {
                let total = sum(&Value::Array(vec![report["total"].clone()]), column);
                assert_eq!(sum(&report["rows"], column), total, "{by} {column}: {report:#}");
            }
            let of = if *by == "worker" {
                Some(worker)
            } else if *by == "user" {
                Some(requester)
            } else {
                None
            };
            if let Some(of) = of {
                assert_eq!(report["rows"][0]["of"].as_str().unwrap().to_lowercase(), of.to_string().to_lowercase());
            }
            report["total"].clone()
        })
        .collect();
    assert!(totals.iter().all(|total| *total == totals[0]), "{totals:#?}");
    let total = &totals[0];
    assert_eq!(
        (&total["tasks"], &total["completed"], &total["failed"]),
        (&tasks.into(), &tasks.into(), &0.into()),
        "{total:#}"
    );
    assert_eq!((&total["results"], &total["seized"]), (&tasks.into(), &"0".into()), "{total:#}");
    assert!(total["lease_ms"].as_u64() > Some(0) && total["bytes"].as_u64() > Some(0), "{total:#}");
    // Read by others: what the hub paid the pool's workers, and what it took from the requester.
    let workerpool: Address = pool.said["workerpool"].as_str().unwrap().parse().unwrap();
    let (paid, account) = ledger.runtime.block_on(async {
        let activity = Activity::read(&ledger.hub, 0, u64::MAX).await.unwrap();
        (activity.of(workerpool).rewards, ledger.hub.view_account(requester).await.unwrap())
    });
    assert_eq!(total["paid"], paid.ngrist().to_string());
    let spent = GRIST(1_000).saturating_sub(account.stake).saturating_sub(account.locked);
    assert_eq!(total["cost"], spent.ngrist().to_string());
    let csv = text(&pool.run(&["report", "--by", "worker", "--csv"]));
    assert!(csv.starts_with("worker,tasks,") && csv.lines().last().unwrap().starts_with("total,"), "{csv}");
}

/// A worker that is banned in the middle of a task loses it at once, is not let in by the next process either, and comes back when it
/// is let in again.
fn check_ban(
    ledger: &Ledger,
    mut pool: Pool,
    requester: &Requester<'_>,
    folder: &Path,
    address: &str,
    more: &[&str],
) -> Pool {
    let mut running = Worker::start(&pool.url(), folder);
    let job = requester.order(&slow(folder, 3_000_000_000), &["--tasks", "1"]);
    wait_until("the lease", || pool.worker(address)["tasks"].as_array().is_some_and(|tasks| tasks.len() == 1));
    assert_eq!(pool.worker(address)["state"], "busy");
    let banned = pool.ask(&["ban", address, "--reason", "it snores"]);
    assert_eq!(banned["code"], "banned", "{banned}");
    let row = pool.worker(address);
    assert_eq!(
        (&row["state"], &row["tasks"], &row["because"]),
        (&"banned".into(), &Value::Array(vec![]), &"it snores".into())
    );
    assert_eq!(pool.metrics()["gristmill_pool_leases_ended_total{reason=\"banned\"}"], 1.0);
    assert_ne!(running.ended(), Some(0), "it is turned away for good");
    wait_until("the task to wait", || pool.status()["tasks"]["waiting"] == 1);
    pool.kill();
    let pool = Pool::start(ledger, &pool.root.clone(), more);
    assert_eq!(pool.worker(address)["state"], "banned");
    assert_eq!(pool.ask(&["explain", "worker", address])["code"], "banned");
    assert_ne!(Worker::start(&pool.url(), folder).ended(), Some(0), "also by the next process");
    assert_eq!(pool.ask(&["unban", address])["code"], "unknown", "it has not come yet");
    let again = pool.run(&["unban", address]);
    assert!(!again.status.success() && text(&again).contains("is not banned"), "{}", text(&again));
    let _running = Worker::start(&pool.url(), folder);
    requester.wait(&job);
    pool
}

#[test]
fn a_pool_alone_is_asked_and_told_and_adds_up_with_the_ledger() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::approved(folder, &[]);
    let more = ["--public", "The mill", "--fee", "5", "--metrics", "0"];
    let root = folder.join("pool");
    let pool = open(&ledger, &root, &more);
    check_first_status(&pool);

    let worker_folder = folder.join("worker");
    let worker = funded(&ledger, &worker_folder.join("wallet.json"), GRIST(100));
    let requester_key = folder.join("requester.json");
    let requester_address = funded(&ledger, &requester_key, GRIST(1_000));
    let requester = Requester { pool: &root, wallet: requester_key.display().to_string() };
    let job = requester.order(&probe().display().to_string(), &["--tasks", "2", "--arg", "put /iexec_out/word x"]);
    check_waiting(&pool, &job);
    let mut first = Worker::start(&pool.url(), &worker_folder);
    requester.wait(&job);
    // The ledger has it a moment before the pool.
    wait_until("the pool to see the end", || pool.status()["tasks"]["completed"] == 2);
    let status = pool.status();
    assert_eq!((&status["tasks"]["completed"], &status["workers"]["connected"]), (&2.into(), &1.into()), "{status:#}");
    let metrics = pool.metrics();
    for (name, value) in [
        ("gristmill_pool_workers{state=\"idle\"}", 1.0),
        ("gristmill_pool_tasks_total{outcome=\"completed\"}", 2.0),
        ("gristmill_pool_leases_ended_total{reason=\"result\"}", 2.0),
        ("gristmill_pool_contributions_total", 2.0),
        ("gristmill_pool_reveals_total", 2.0),
        ("gristmill_pool_slots", 1.0),
        ("gristmill_pool_draining", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}: {metrics:#?}");
    }
    assert!(metrics["gristmill_pool_decision_seconds_count"] > 0.0);
    assert!(metrics["gristmill_pool_journal_commit_seconds_bucket{le=\"+Inf\"}"] > 0.0);
    let stake = metrics["gristmill_pool_stake_grist{state=\"free\"}"];
    assert!((999.0..=1_001.0).contains(&stake), "{stake}");
    first.kill();

    let mut pool = check_ban(&ledger, pool, &requester, &worker_folder, &worker.to_string(), &more);
    check_report(&ledger, &pool, requester_address, worker, 3);

    // Drained, it finishes what it has, takes nothing more, and ends; killed in the middle it goes on with it.
    let mut running = Worker::start(&pool.url(), &worker_folder);
    let job = requester.order(&slow(folder, 3_000_000_000), &["--tasks", "1"]);
    wait_until("the lease", || pool.status()["tasks"]["running"] == 1);
    assert_eq!(pool.ask(&["drain"])["draining"], true);
    pool.kill();
    let mut pool = Pool::start(&ledger, &root, &more);
    wait_until("the orders to be closed", || pool.status()["orders"].as_array().unwrap().is_empty());
    let late = requester.run(&["run", &probe().display().to_string(), "--trust", "1", "--detach"]);
    assert!(!late.status.success(), "{}", text(&late));
    assert_eq!(pool.child.wait().unwrap().code(), Some(0));
    requester.wait(&job);
    running.kill();
    let pool = Pool::start(&ledger, &root, &more);
    let status = pool.status();
    assert_eq!((&status["draining"], status["orders"].as_array().unwrap().len()), (&false.into(), 6), "{status:#}");
    check_report(&ledger, &pool, requester_address, worker, 4);
    drop(pool);

    // Another price holds from the next start on: the order with the old one is gone.
    let orders = Pool::start(&ledger, &root, &[&more[..], &["--price", "xs=0.2"]].concat()).status()["orders"].clone();
    let prices: Vec<&Value> = orders.as_array().unwrap().iter().map(|order| &order["price"]).collect();
    assert_eq!((prices.len(), prices[0]), (6, &"200000000".into()), "{orders:#}");
}

#[test]
fn the_pool_of_a_network_is_asked_in_the_networks_folder() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &["--workers", "1"]);
    let status = up.json(&["pool", "status"]);
    assert_eq!(status["url"], up.pool());
    wait_until("the worker", || up.json(&["pool", "status"])["workers"]["connected"] == 1);
    assert_eq!(up.json(&["pool", "workers"])["workers"].as_array().unwrap().len(), 1);
    assert_eq!(up.json(&["pool", "drain"])["draining"], true);
    assert_eq!(up.json(&["pool", "resume"])["draining"], false);
    wait_until("the orders to stand again", || {
        up.json(&["pool", "status"])["orders"].as_array().is_some_and(|orders| orders.len() == 6)
    });
    up.json(&["pool", "drain"]);
    assert_eq!(up.ended(), Some(0));
}
