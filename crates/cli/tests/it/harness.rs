//! Start `gristmill`, talk to it, stop it, and hold what it leaves against what must always hold.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gristmill_hub::HubClient;
use gristmill_network::Audit;
use gristmill_store::Client;
use gristmill_types::AddressBook;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

/// The binary under test.
pub const GRISTMILL: &str = env!("CARGO_BIN_EXE_gristmill");
/// How long a network may take to start on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Held by each test of this program: two networks at a time on two cores would miss each other's deadlines of a few seconds.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    log_if_asked();
    // A test that failed leaves nothing behind that would spoil the next.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the networks in this process say goes to standard error, if `GRISTMILL_LOG` says how much of it.
fn log_if_asked() {
    if let Ok(filter) = EnvFilter::try_from_env("GRISTMILL_LOG") {
        // Only the first test's call has an effect.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}

/// A WASI program that nobody wrote for this: it carries out the commands given as arguments.
pub fn probe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sandbox/tests/guests/probe.wasm")
}

/// Starts a program that says in JSON where it listens, and goes on.
pub fn start(command: Command) -> (Child, Value) {
    start_logging(command, Stdio::inherit())
}

/// The same, with its log going there.
pub fn start_logging(mut command: Command, log: Stdio) -> (Child, Value) {
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("gristmill starts");
    let output = child.stdout.take().expect("standard output is piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            text += &line;
            if line == "}" {
                let _ = sender.send(text.clone());
            }
        }
    });
    let Ok(text) = receiver.recv_timeout(START_PATIENCE) else {
        let _ = child.kill();
        panic!("it did not start within {START_PATIENCE:?}: {:?}", child.wait());
    };
    (child, serde_json::from_str(&text).expect("it prints JSON"))
}

/// A running `gristmill up`. Dropping it kills it and its children.
pub struct Up {
    child: Child,
    pub data_dir: PathBuf,
}

impl Up {
    /// Starts a network in `data_dir` and waits until it says where it listens.
    pub fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(GRISTMILL);
        command.args(["up", "--json", "--data-dir"]).arg(data_dir).args(args);
        let (child, _) = start(command);
        Self { child, data_dir: data_dir.to_path_buf() }
    }

    /// Waits until it ends by itself; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("it is dead");
    }

    pub fn book(&self) -> AddressBook {
        let text = std::fs::read(self.data_dir.join("address.json")).expect("the address file is there");
        serde_json::from_slice(&text).expect("the address file is JSON")
    }

    pub fn pool(&self) -> String {
        self.book().pools[0].clone()
    }

    /// `gristmill ARGS --data-dir ...`.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("gristmill runs")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(GRISTMILL);
        command.args(args).arg("--data-dir").arg(&self.data_dir);
        command
    }

    /// As [`Up::run`] with `--json`, which must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.command(args).arg("--json").output().expect("gristmill runs");
        assert!(output.status.success(), "{args:?}: {}\n{}", output.status, text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{}", text(&output)))
    }

    /// I1 to I8 hold, and every task has ended.
    pub fn assert_invariants(&self) {
        self.audit(true);
    }

    /// I1 to I8 hold of a network whose tasks go on.
    pub fn assert_books(&self) {
        self.audit(false);
    }

    fn audit(&self, settled: bool) {
        audit(&self.book(), settled);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// I1 to I8 hold on this network; `settled`: and every task has ended.
pub fn audit(book: &AddressBook, settled: bool) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let hub = HubClient::connect(&book.rpc, book.hub).await.expect("the hub answers");
        let audit = Audit::read(&hub).await.expect("the ledger can be replayed");
        let store = Client::new(&book.store).expect("the store's address is good");
        audit.check(&store, settled).await.expect("what must always hold");
    });
}

/// A `gristmill worker` process. Dropping it kills it.
pub struct Worker(Child);

impl Worker {
    pub fn start(pool: &str, data_dir: &Path) -> Self {
        let child = Command::new(GRISTMILL)
            .args(["worker", "--slots", "1", "--pool", pool, "--data-dir"])
            .arg(data_dir)
            .stderr(Stdio::null())
            .spawn()
            .expect("gristmill starts");
        Self(child)
    }

    pub fn kill(&mut self) {
        self.0.kill().expect("kill -9");
        self.0.wait().expect("it is dead");
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.0.wait().expect("it ends").code()
    }

    /// The address in its key file, once it has one.
    pub fn address(data_dir: &Path) -> String {
        let path = data_dir.join("wallet.json");
        wait_until("the worker's key", || path.is_file());
        let text = std::fs::read(path).expect("the key file can be read");
        let key: Value = serde_json::from_slice(&text).expect("the key file is JSON");
        key["address"].as_str().expect("it has an address").to_lowercase()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program printed, for a failing assertion.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits up to a minute for something.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < START_PATIENCE, "waited {START_PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every file below a folder, by its path, with its bytes.
pub fn tree(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("it is below").display().to_string();
                found.insert(name, std::fs::read(&path).expect("it can be read"));
            }
        }
    }
    let mut found = std::collections::BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// A new seed, or the one that is to be repeated; printed, so that a failure can be.
pub fn seed() -> u64 {
    let given = std::env::var("GRISTMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        time.map_or(1, |time| time.as_nanos() as u64)
    });
    println!("seed {seed}: repeat with GRISTMILL_TEST_SEED={seed}");
    seed
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
