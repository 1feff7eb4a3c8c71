//! A worker that is told of a ledger and of no pool compares the public pools there, and joins the better one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use alloy_primitives::{Address, U256};
use gristmill_datadir::Db;
use gristmill_hub::deploy::DeployOptions;
use gristmill_hub::{CallData, HubClient, Outbox, OutboxConfig};
use gristmill_network::{Audit, SUPPLY, deploy_on};
use gristmill_node::{Genesis, Node, NodeConfig, NodeHandle};
use gristmill_poco::check;
use gristmill_protocol::public::PublicPool;
use gristmill_protocol::tls::PoolUrl;
use gristmill_types::{Amount, Category};
use gristmill_wallet::Wallet;
use serde_json::Value;

use crate::harness::{GRISTMILL, Up, alone, probe, text, wait_until};

/// What each pool's operator has.
const FUNDS: Amount = Amount::from_grist(1_000_000);

/// A ledger that belongs to no pool, with a hub on it.
pub struct Ledger {
    pub runtime: tokio::runtime::Runtime,
    node: NodeHandle,
    pub hub: HubClient,
    /// The key that deployed the hub and has all GRIST.
    wallet: Wallet,
    outbox: Outbox,
}

impl Ledger {
    pub fn start(folder: &Path) -> Self {
        Self::with_categories(folder, &[])
    }

    /// One whose hub has more size classes: their names and T in seconds.
    pub fn with_categories(folder: &Path, more: &[(&str, u64)]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (node, hub, wallet, outbox) = runtime.block_on(async {
            let wallet = Wallet::load_or_generate(folder.join("deployer.json")).unwrap();
            let db = Db::open(folder.join("ledger.redb")).unwrap();
            let genesis = Genesis::new(31_337).fund(wallet.address(), U256::from(1_000_000_000_000_000_000_000_u128));
            let node = Node::start(NodeConfig::new(db, genesis, SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
            let mut options = DeployOptions::local(wallet.address(), SUPPLY);
            for (name, work_clock_s) in more {
                let (id, description) = (options.categories.len() as u64, "for a test".to_owned());
                options.categories.push(Category {
                    id,
                    name: (*name).to_owned(),
                    description,
                    work_clock_s: *work_clock_s,
                });
            }
            let deployed = deploy_on(&node.rpc_url(), &wallet, &folder.join("deploy"), &options).await.unwrap();
            let hub = HubClient::connect(&node.rpc_url(), deployed.hub).await.unwrap();
            let config = OutboxConfig::default();
            let outbox =
                Outbox::open(folder.join("outbox"), wallet.clone(), Arc::clone(hub.ledger()), config).await.unwrap();
            (node, hub, wallet, outbox)
        });
        Self { runtime, node, hub, wallet, outbox }
    }

    /// The same, whose hub may take what its deployer pays into others' accounts.
    pub fn approved(folder: &Path, more: &[(&str, u64)]) -> Self {
        let ledger = Self::with_categories(folder, more);
        ledger.send("approve", ledger.hub.approve(SUPPLY));
        ledger
    }

    pub fn send(&self, key: &str, call: CallData) {
        self.runtime.block_on(self.outbox.execute(call.intent(key))).unwrap();
    }

    fn register(&self, description: &str) -> Address {
        let owner = self.wallet.address();
        self.send(&format!("register {}", description.len()), self.hub.create_workerpool(owner, description));
        self.runtime.block_on(self.hub.predict_workerpool(owner, description)).unwrap()
    }

    /// `--ledger URL --hub ADDRESS`.
    pub fn place(&self) -> [String; 4] {
        ["--ledger".to_owned(), self.node.rpc_url(), "--hub".to_owned(), self.hub.hub.to_string()]
    }

    /// A network of its own treasury with a public pool on this ledger.
    fn up(&self, folder: &Path, name: &str, fee: &str, workers: &str) -> Up {
        let key = folder.join(format!("{name}.json"));
        if !key.exists() {
            let treasury = Wallet::load_or_generate(&key).unwrap();
            self.send(&format!("fund {name}"), self.hub.transfer_tokens(treasury.address(), FUNDS));
        }
        let (place, key) = (self.place(), key.display().to_string());
        let mut args: Vec<&str> = place.iter().map(String::as_str).collect();
        args.extend(["--treasury", &key, "--gas-money", "0", "--public", name, "--fee", fee, "--workers", workers]);
        Up::start(&folder.join(format!("net-{name}")), &args)
    }

    /// `gristmill worker pools`: its JSON.
    fn compare(&self, folder: &Path) -> Value {
        let output = self.worker(folder).args(["worker", "pools", "--json"]).args(self.place()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn worker(&self, folder: &Path) -> Command {
        let mut command = Command::new(GRISTMILL);
        command.env("XDG_DATA_HOME", folder);
        command
    }
}

/// A worker without a pool. Dropping it kills it.
struct Seeker(Child);

impl Drop for Seeker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn row<'a>(comparison: &'a Value, name: &str) -> &'a Value {
    let rows = comparison["pools"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is missing: {comparison:#}"))
}

/// A way to the ledger that carries so many bytes of its answers, and is gone then.
fn failing(ledger: &str, mut bytes: usize) -> String {
    let target = ledger.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while bytes > 0 {
            let (mut near, _) = listener.accept().unwrap();
            let mut far = TcpStream::connect(&target).unwrap();
            let (mut asked, mut asks) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asked, &mut asks));
            let mut buffer = [0; 1024];
            while bytes > 0
                && let Ok(count @ 1..) = far.read(&mut buffer)
                && near.write_all(&buffer[..count]).is_ok()
            {
                bytes = bytes.saturating_sub(count);
            }
            let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
        }
    });
    url
}

/// A job of two tasks for the workers of this network's pool.
fn job(up: &Up, folder: &Path, out: &str) {
    let out = folder.join(out).display().to_string();
    let app = probe().display().to_string();
    let pool = up.pool();
    let args =
        ["run", &app, "--trust", "1", "--tasks", "2", "--pool", &pool, "--out", &out, "--arg", "put /iexec_out/word x"];
    let done = up.run(&args);
    assert!(done.status.success(), "{}", text(&done));
}

/// With nobody there it says what to do.
fn nobody_is_there(ledger: &Ledger, folder: &Path) {
    let nobody = ledger.worker(folder).args(["worker"]).args(ledger.place()).output().unwrap();
    assert!(!nobody.status.success(), "{}", text(&nobody));
    for word in ["0 pools registered", "--pool grist://HOST:PORT/KEYHASH", "gristmill up --public"] {
        assert!(text(&nobody).contains(word), "{word}: {}", text(&nobody));
    }
}

/// What strangers register: somebody else's address, nobody's, a text, a description that nobody can read.
fn strangers_register(ledger: &Ledger, pool: PoolUrl) {
    let nowhere = PoolUrl { port: 1, ..pool.clone() };
    for (name, url) in [("impostor", pool), ("nowhere", nowhere)] {
        ledger.register(&PublicPool::new(name, url).unwrap().to_string());
    }
    ledger.register("a text for people");
    ledger.register(&"x".repeat(20 << 10));
}

/// Half a comparison is none: the ledger goes away in the middle of one.
fn cut_short(ledger: &Ledger, folder: &Path) {
    for bytes in [600, 20_000] {
        let (url, hub) = (failing(&ledger.node.rpc_url(), bytes), ledger.hub.hub.to_string());
        let cut = ledger.worker(folder).args(["worker", "pools", "--ledger", &url, "--hub", &hub]).output().unwrap();
        assert!(!cut.status.success() && text(&cut).contains("does not answer"), "{bytes}: {}", text(&cut));
    }
}

/// The worker of a machine whose settings name the ledger only.
fn seek(ledger: &Ledger, folder: &Path, data_dir: &Path) -> Seeker {
    std::fs::create_dir_all(data_dir).unwrap();
    let [_, rpc, _, hub] = ledger.place();
    let settings = format!("slots = 1\n[ledger]\nrpc = \"{rpc}\"\nhub = \"{hub}\"\n");
    std::fs::write(data_dir.join("worker.toml"), settings).unwrap();
    Seeker(ledger.worker(folder).arg("worker").stderr(Stdio::inherit()).spawn().unwrap())
}

#[test]
fn a_worker_finds_the_better_of_two_pools_and_completes_a_job_there() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ledger = Ledger::start(folder);
    nobody_is_there(&ledger, folder);

    // The same work for the same price, of which one pool keeps 5 % and the other 60 %.
    let mut fair = ledger.up(folder, "fair", "5", "1");
    let greedy = ledger.up(folder, "greedy", "60", "1");
    job(&fair, folder, "fair-out");
    job(&greedy, folder, "greedy-out");
    // The first starts again without workers of its own, and is the same pool; its name and its fee stand on the ledger.
    let address = ledger.compare(folder)["pools"][0]["workerpool"].clone();
    fair.kill();
    let fair = ledger.up(folder, "fair", "5", "0");
    strangers_register(&ledger, fair.pool().parse().unwrap());

    let comparison = ledger.compare(folder);
    assert_eq!((&comparison["registered"], &comparison["public"]), (&6.into(), &4.into()), "{comparison:#}");
    let names = [0, 1].map(|place| comparison["pools"][place]["name"].clone());
    assert_eq!(names, ["fair", "greedy"], "{comparison:#}");
    let better = row(&comparison, "fair");
    assert_eq!(better["workerpool"], address);
    let figures = ["fee_percent", "workers", "tasks_completed"].map(|figure| better[figure].as_u64());
    assert_eq!(figures, [Some(5), Some(0), Some(2)], "{better:#}");
    let paid = |name: &str| row(&comparison, name)["paid"].as_str().unwrap().parse::<u64>().unwrap();
    // 95 and 40 of each hundred.
    assert_eq!(paid("fair") * 40, paid("greedy") * 95);
    let objection = |name: &str| row(&comparison, name)["objection"].as_str().unwrap_or_default().to_owned();
    assert!(objection("impostor").contains("another pool answers"), "{comparison:#}");
    assert!(objection("nowhere").contains("no pool answers"), "{comparison:#}");
    cut_short(&ledger, folder);

    let data_dir = folder.join("gristmill-worker");
    let _seeker = seek(&ledger, folder, &data_dir);
    let status = || {
        let output = ledger.worker(folder).args(["worker", "status", "--json"]).stderr(Stdio::null()).output().unwrap();
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    wait_until("the worker to connect", || status().is_some_and(|status| status["pools"][0]["connected"] == true));
    assert_eq!(status().unwrap()["pools"][0]["url"], fair.pool());
    assert_eq!(status().unwrap()["pools"][0]["address"], address);
    job(&fair, folder, "found-out");
    assert!(status().unwrap()["counters"]["results"].as_u64() >= Some(1));
    let chosen: Value = serde_json::from_slice(&std::fs::read(data_dir.join("pool.json")).unwrap()).unwrap();
    assert_eq!((&chosen["pool"]["name"], &chosen["pool"]["workerpool"]), (&"fair".into(), &address));
    // It was paid: its own share is in the next comparison.
    let paid_here = ledger.compare(folder)["pools"][0]["paid_here"].clone();
    assert_eq!(paid_here, paid("fair").to_string());
    ledger.runtime.block_on(async {
        let audit = Audit::read(&ledger.hub).await.unwrap();
        check::i1(audit.replay(), audit.view()).unwrap();
        check::i2(audit.replay()).unwrap();
    });
    // Until now it was there, and was not chosen.
    drop(greedy);
}
