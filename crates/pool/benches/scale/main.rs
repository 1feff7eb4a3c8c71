//! How many tasks and workers one pool bears: its memory, its processor time at rest, and how long it takes to start again.
//!
//! `cargo bench -p gristmill-pool --bench scale -- [TASKS] [WORKERS]` (1,000,000 and 10,000 unless told otherwise). Started as a test it
//! does the same with 2,000 tasks and 20 workers. The pool is the real service with its journal, on a ledger whose tasks are the
//! executable model of the hub's rules; the workers are in a process of their own, over loopback, each with its own TLS connection.
//! What is said of memory is of the process of the pool, which is also the ledger's: only differences count.

#[path = "../../../hub/tests/it/chain.rs"]
#[allow(dead_code, reason = "the hub's tests do more with it")]
mod chain;
#[path = "../leases/ground.rs"]
mod ground;
#[path = "../leases/ledger.rs"]
#[allow(dead_code, reason = "the benchmark of leases does more with it")]
mod ledger;
#[path = "../../../hub/tests/it/market.rs"]
#[allow(dead_code, reason = "the hub's tests do more with it")]
mod market;
mod process;
mod swarm;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill_hub::HubClient;
use gristmill_pool::control::{Answer, Ask};
use gristmill_pool::{PoolConfig, PoolHandle, Status};
use gristmill_types::Amount;
use tokio::runtime::Runtime;

use ground::{DEAL_TASKS, order, pool_config, processor_s, runtime};
use ledger::ModelLedger;
use market::{Market, Person};
use process::{Swarm, memory, need_descriptors};

/// What everybody has at the model's hub.
const STAKE: Amount = Amount::from_grist(1_000);
/// Nobody finishes anything, so that no result is looked for.
const NO_STORE: &str = "http://127.0.0.1:1";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked how far something is.
const POLL: Duration = Duration::from_millis(20);
/// How long the pool is left to itself before its processor time is taken, and for how long that is.
const REST: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
/// Descriptors besides those of the workers' connections.
const DESCRIPTORS_SPARE: u64 = 200;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [swarm, url, workers] = args.as_slice()
        && swarm == "--swarm"
    {
        return swarm::run(&url.parse().expect("the pool's address"), workers.parse().expect("a number of workers"));
    }
    let is_bench = args.iter().any(|arg| arg == "--bench");
    let numbers: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let (tasks, workers) = if is_bench { (1_000_000, 10_000) } else { (2_000, 20) };
    let (tasks, workers) = (numbers.first().copied().unwrap_or(tasks), numbers.get(1).copied().unwrap_or(workers));
    if let Err(why) = need_descriptors(workers + DESCRIPTORS_SPARE) {
        eprintln!("{why}");
        std::process::exit(1);
    }
    let rest = if is_bench { REST } else { (POLL, Duration::from_secs(1)) };
    let bench = runtime("bench");
    bench.block_on(run(tasks, workers, rest));
}

/// A pool, and where it lives: nothing of it outlasts its place.
struct Running {
    place: Runtime,
    pool: PoolHandle,
    folder: PathBuf,
}

impl Running {
    /// Starts a pool and waits until it knows what it has: how long that took.
    async fn start(
        config: PoolConfig,
        ledger: &ModelLedger,
        hub: gristmill_types::Address,
    ) -> (Self, Status, Duration) {
        let (began, folder, place) = (Instant::now(), config.data_dir.clone(), runtime("pool"));
        let hub = HubClient::on(Arc::new(ledger.clone()), hub).await.expect("the hub");
        let pool = place.spawn(gristmill_pool::start_on(config, hub)).await.expect("it runs").expect("a pool");
        let status = status(&folder).await;
        (Self { place, pool, folder }, status, began.elapsed())
    }

    /// Ends it as a crash does: whatever it was doing is left as it is.
    async fn kill(self) {
        let Self { place, pool, .. } = self;
        drop(pool);
        let ended = tokio::task::spawn_blocking(move || place.shutdown_timeout(PATIENCE));
        ended.await.expect("its place is closed");
    }
}

/// What the pool says of itself, once it answers.
async fn status(folder: &Path) -> Status {
    let folder = folder.to_owned();
    let asked = tokio::task::spawn_blocking(move || gristmill_pool::control::ask(&folder, &Ask::Status));
    match asked.await.expect("it is asked") {
        Ok(Answer::Status(status)) => *status,
        other => panic!("the pool does not say what it does: {other:?}"),
    }
}

/// Waits until all workers are connected and have a lease: when either came to be.
async fn gathered(swarm: &Swarm, workers: u64, began: Instant) -> (Duration, Duration) {
    let (mut connected, mut told) = (None, Instant::now());
    loop {
        let now = swarm.counts();
        if now.0 == workers {
            connected.get_or_insert_with(|| began.elapsed());
        }
        if let (Some(connected), true) = (connected, now == (workers, workers)) {
            return (connected, began.elapsed());
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            eprintln!("  {} connected, {} with a lease", now.0, now.1);
        }
        assert!(began.elapsed() < PATIENCE, "it takes too long");
        tokio::time::sleep(POLL).await;
    }
}

/// Deals of so many tasks, begun on the ledger, and accounts of the workers.
async fn fill(market: &Market, ledger: &ModelLedger, tasks: u64, workers: u64) {
    let mut deals = Vec::new();
    for number in 0..tasks.div_ceil(DEAL_TASKS) {
        deals.push(order(market, number, 1, DEAL_TASKS.min(tasks - number * DEAL_TASKS)).await);
    }
    let workers = (0..workers).map(|number| swarm::wallet(number).address());
    let people = workers.chain([&market.requester, &market.pool_owner].map(Person::address));
    ledger
        .take_over(|model| {
            for account in people {
                model.deposit(account, STAKE).expect("a deposit");
            }
            for matching in deals {
                let (deal, _) = model.match_orders(ledger::unix_s(), matching).expect("a deal");
                let indexes = model.books().deals[&deal].terms.indexes();
                for index in indexes {
                    model.initialize(deal, index).expect("a task");
                }
            }
        })
        .await;
}

/// A port that is free now: a pool that starts again listens where its workers look for it.
async fn free_port() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    listener.local_addr().expect("its address")
}

async fn run(tasks: u64, workers: u64, (settle, rest): (Duration, Duration)) {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market::new(0).await;
    let ledger = ModelLedger::new(market.chain.clone(), market.client.hub);
    fill(&market, &ledger, tasks, workers).await;
    let hub = market.client.hub;
    let listen = free_port().await;
    let config = || PoolConfig { listen, ..pool_config(folder.path(), &market, NO_STORE.to_owned()) };
    println!("scale/tasks={tasks},workers={workers}");
    let before = memory("before the pool");

    let (first, known, took) = Running::start(config(), &ledger, hub).await;
    assert_eq!((known.tasks.waiting, known.tasks.running), (tasks, 0), "it knows all tasks");
    println!("  started, {tasks} tasks known: {:.2} s", took.as_secs_f64());
    let with_tasks = memory("all tasks known");
    println!("  a task: {:.0} bytes", with_tasks.since(&before) / tasks as f64);

    let began = Instant::now();
    let mut swarm = Swarm::start(first.pool.url(), workers);
    let (connected, leased) = gathered(&swarm, workers, began).await;
    println!("  all connected: {:.2} s; all with a lease: {:.2} s", connected.as_secs_f64(), leased.as_secs_f64());
    tokio::time::sleep(settle).await;
    let with_workers = memory("all workers connected");
    println!("  a worker: {:.0} bytes", with_workers.since(&with_tasks) / workers as f64);
    let busy = processor_s("pool");
    tokio::time::sleep(rest).await;
    let busy = (processor_s("pool") - busy) / rest.as_secs_f64();
    println!("  at rest: {:.1} % of a core", busy * 100.0);
    let known = status(&first.folder).await;
    assert_eq!((known.workers.connected, known.workers.leases), (workers, workers), "everybody has a lease");

    first.kill().await;
    let began = Instant::now();
    let (second, again, took) = Running::start(config(), &ledger, hub).await;
    assert_eq!(again.tasks.waiting + again.tasks.running, tasks, "it knows all tasks again");
    assert_eq!(again.deals_open, known.deals_open);
    println!("  started again, {tasks} tasks known: {:.2} s", took.as_secs_f64());
    let (connected, leased) = gathered(&swarm, workers, began).await;
    println!("  all back: {:.2} s; all with a lease: {:.2} s", connected.as_secs_f64(), leased.as_secs_f64());
    let again = status(&second.folder).await;
    assert_eq!((again.tasks, again.workers), (known.tasks, known.workers), "it is as it was");
    memory("after the restart");
    swarm.end();
    second.pool.shutdown().await.expect("it stops");
    second.place.shutdown_background();
}
