//! A market on somebody else's chain: gas costs something, blocks are taken back, the chain cannot be reached for a while.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U64, U256, hex};
use gristmill_hub::{FOREIGN_CONFIRMATIONS, LedgerPort, RpcClient};
use gristmill_network::{Audit, ForeignLedger, LedgerChoice, Network, NetworkConfig, WorkerPlan};
use gristmill_sandbox::ChildCommand;
use gristmill_worker::Conduct;
use serde_json::{Value, json};

use crate::harness::*;

/// What each account gets for gas: a coin, in wei.
const COINS: u64 = 1_000_000_000_000_000_000;
/// A base fee at which everything that waits is offered too little for.
const DEAR_WEI: u64 = 40_000_000_000;
/// How often there is a block.
const BLOCK_SECONDS: u64 = 1;
/// How long the chain cannot be reached.
const OUTAGE: Duration = Duration::from_secs(6);
/// How long the job may take: some steps wait for confirmations, and dear gas becomes cheap by an eighth a block.
const JOB_PATIENCE: Duration = Duration::from_secs(420);
/// A task at trust 5 needs three newcomers that agree.
const VOTERS_MIN: usize = 3;

/// An `anvil` process with a block each second. Dropping it kills it.
struct Anvil {
    child: Child,
    address: SocketAddr,
}

impl Anvil {
    fn start() -> Self {
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
        let program = installed().join(format!("node_modules/@foundry-rs/anvil-{system}-{arch}/bin/anvil"));
        let mut child = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", "0", "--chain-id", "31337", "--accounts", "1"])
            .args(["--block-time", &BLOCK_SECONDS.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        // It would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.parse().expect("an address") }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with anvil, installed from the lock file once.
fn installed() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/anvil");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("anvil");
    let lock = std::fs::read(source.join("package-lock.json")).expect("the lock file");
    let stamp = folder.join("installed-lock.json");
    if !std::fs::read(&stamp).is_ok_and(|done| done == lock) {
        std::fs::create_dir_all(&folder).expect("a folder under target/");
        for name in ["package.json", "package-lock.json", ".npmrc"] {
            std::fs::copy(source.join(name), folder.join(name)).expect("copies");
        }
        let output = Command::new("npm").arg("ci").current_dir(&folder).output();
        let output = output
            .unwrap_or_else(|error| panic!("this test runs anvil, which npm installs; npm does not start: {error}"));
        assert!(output.status.success(), "`npm ci` in {} failed: {}", folder.display(), text(&output));
        std::fs::write(&stamp, lock).expect("writes");
    }
    folder
}

/// A wire to the chain that can be cut.
struct Wire {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let (is_cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let wire = Self { address, is_cut: Arc::clone(&is_cut), open: Arc::clone(&open) };
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // A cut wire takes the connection and says nothing more.
                let Some(far) = TcpStream::connect(target).ok().filter(|_| !is_cut.load(Ordering::SeqCst)) else {
                    continue;
                };
                let mut open = open.lock().expect("nobody panics with it");
                for stream in [&near, &far] {
                    open.extend(stream.try_clone());
                }
                for (from, to) in [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())] {
                    if let (Ok(from), Ok(to)) = (from, to) {
                        std::thread::spawn(move || carry(from, to));
                    }
                }
            }
        });
        wire
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn cut(&self, for_how_long: Duration) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().expect("nobody panics with it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        std::thread::sleep(for_how_long);
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// What is done to the chain while the job runs.
struct Trouble<'a> {
    rpc: &'a RpcClient,
    runtime: &'a tokio::runtime::Runtime,
}

impl Trouble<'_> {
    fn ask<T: serde::de::DeserializeOwned>(&self, method: &'static str, params: Value) -> T {
        self.runtime.block_on(self.rpc.request(method, params)).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Replaces the newest `depth` blocks, once there is something in them.
    fn reorganise(&self, depth: u64) {
        let started = Instant::now();
        let undone = loop {
            let head = self.ask::<U64>("eth_blockNumber", json!([])).to::<u64>();
            let blocks = (head + 1 - depth..=head).map(|number| {
                let block: Value = self.ask("eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
                block["transactions"].as_array().map_or(0, Vec::len)
            });
            let transactions: usize = blocks.sum();
            if transactions > 0 {
                break transactions;
            }
            assert!(started.elapsed() < JOB_PATIENCE, "nothing happens on the chain");
            std::thread::sleep(Duration::from_millis(200));
        };
        self.replace(depth);
        println!("reorganised {depth} blocks with {undone} transactions in them");
    }

    /// Replaces the newest `depth` blocks with empty ones. The clock stands meanwhile: anvil counts back from the block that is
    /// the newest when it is asked, and replaces one that it makes before it begins too.
    fn replace(&self, depth: u64) {
        self.ask::<Value>("evm_setIntervalMining", json!([0]));
        self.ask::<Value>("anvil_reorg", json!([depth, []]));
        self.ask::<Value>("evm_setIntervalMining", json!([BLOCK_SECONDS]));
    }

    fn make_gas_dear(&self) {
        self.ask::<Value>("anvil_setNextBlockBaseFeePerGas", json!([format!("{DEAR_WEI:#x}")]));
        println!("gas costs {DEAR_WEI} wei in the next block");
    }
}

/// `gristmill ARGS`, which must end well; its JSON.
fn gristmill(args: &[&str]) -> Value {
    let output = Command::new(GRISTMILL).args(args).arg("--json").output().expect("gristmill runs");
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// Puts the hub on the chain: refused without coins, then deployed, then found.
fn deploy_hub(trouble: &Trouble, rpc: &str, folder: &Path) -> Address {
    let path = |name: &str| folder.join(name).display().to_string();
    let treasury: Address = gristmill(&["wallet", "new", "--wallet", &path("treasury.json")])["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .expect("a wallet has an address");
    let deploy = ["hub", "deploy", "--rpc", rpc, "--wallet", &path("treasury.json"), "--data-dir", &path("deploy")];
    let refused = Command::new(GRISTMILL).args(deploy).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("has no coins on chain 31337"), "{}", text(&refused));
    trouble.ask::<Value>("anvil_setBalance", json!([treasury, U256::from(COINS) * U256::from(1_000)]));
    let deployed = gristmill(&deploy);
    assert_eq!(gristmill(&deploy), deployed, "what is there is found");
    deployed["hub"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_job_on_a_foreign_chain_survives_reorganisations_an_outage_and_dear_gas() {
    let _alone = alone();
    let mut random = seed();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let anvil = Anvil::start();
    let wire = Wire::to(anvil.address);
    let (runtime, rpc) = (tokio::runtime::Runtime::new().unwrap(), RpcClient::new(&anvil.url()).unwrap());
    let trouble = Trouble { rpc: &rpc, runtime: &runtime };
    let hub = deploy_hub(&trouble, &wire.url(), folder.path());
    let child = ChildCommand { program: GRISTMILL.into(), args: vec!["sandbox-child".into()] };
    let mut config = NetworkConfig::new(folder.path().join("net"), 0, child);
    config.workers = vec![WorkerPlan { conduct: Conduct::Honest, slots: 2 }; 6];
    config.workers[0].conduct = Conduct::Liar;
    config.ledger = LedgerChoice::Foreign(ForeignLedger {
        rpc: wire.url(),
        hub,
        treasury: folder.path().join("treasury.json"),
        coins: U256::from(COINS),
    });
    let network = runtime.block_on(Network::start(config)).unwrap();
    // The pool has just read the newest block, and the workers are about to come.
    trouble.replace(FOREIGN_CONFIRMATIONS);
    wire.cut(OUTAGE);

    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/efast");
    let mut job = Command::new(GRISTMILL)
        .args(["run", "efast", "--tasks", "4", "--reduce", "efast", "--trust", "5", "--json", "--input"])
        .arg(apps.join("data/sp500_prices.csv.gz"))
        .args(["--data-dir", &path("net"), "--out", &path("out")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let still_running =
        |job: &mut Child| assert!(job.try_wait().unwrap().is_none(), "the job is over before the trouble");
    for step in 0..3 {
        std::thread::sleep(Duration::from_millis(2_000 + next(&mut random) % 4_000));
        still_running(&mut job);
        trouble.reorganise(1 + next(&mut random) % FOREIGN_CONFIRMATIONS);
        match step {
            0 => wire.cut(OUTAGE),
            1 => trouble.make_gas_dear(),
            _ => {}
        }
    }
    let started = Instant::now();
    while job.try_wait().unwrap().is_none() {
        if network.pool().is_finished() {
            let _ = job.kill();
            panic!("the pool has ended: {:?}", runtime.block_on(network.shutdown()));
        }
        assert!(started.elapsed() < JOB_PATIENCE, "the job does not end; {}", {
            let _ = job.kill();
            text(&job.wait_with_output().unwrap())
        });
        std::thread::sleep(Duration::from_millis(200));
    }
    let ended = job.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended));
    assert!(folder.path().join("out/reduce/heatmap.png").is_file(), "the reduce has made its picture");

    runtime.block_on(async {
        settle(&rpc).await;
        let audit = Audit::read(network.hub()).await.unwrap();
        audit.check(&network.store_client().unwrap(), true).await.unwrap();
        voters_have_paid(&audit, &rpc).await;
        network.shutdown().await.unwrap();
    });
}

/// Whoever voted paid for it. A worker whose turn never came has paid nothing.
async fn voters_have_paid(audit: &Audit, rpc: &RpcClient) {
    let tasks = audit.replay().books().tasks.values();
    let voters: BTreeSet<Address> = tasks.flat_map(|task| task.contributors.iter().copied()).collect();
    assert!(voters.len() >= VOTERS_MIN, "only {} workers voted", voters.len());
    for worker in voters {
        let left = rpc.balance(worker).await.unwrap();
        assert!(left < U256::from(COINS), "{} paid no gas", hex::encode_prefixed(worker));
    }
}

/// Waits until the newest blocks are as deep as they count.
async fn settle(rpc: &RpcClient) {
    let from = rpc.head().await.unwrap();
    while rpc.head().await.unwrap() <= from + FOREIGN_CONFIRMATIONS + 1 {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
