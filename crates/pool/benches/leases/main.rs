//! Leases a second: the pool's service, its journal and its store, with workers over loopback, and the executable model of the hub's
//! rules in the ledger's place.
//!
//! `cargo bench -p gristmill-pool --bench leases -- [TASKS] [WORKERS] [TRUST]` (50,000, 4 and 1 unless told otherwise). Started as a
//! test it runs 200 tasks once. A lease is a task of one item: leased, accepted, its sealed result taken and written down with a sync,
//! authorised, contributed, settled, its upload fetched, opened, hashed against the digest, stored open, and that written down.

#[path = "../../../hub/tests/it/chain.rs"]
#[allow(dead_code, reason = "the hub's tests do more with it")]
mod chain;
mod ground;
mod ledger;
#[path = "../../../hub/tests/it/market.rs"]
#[allow(dead_code, reason = "the hub's tests do more with it")]
mod market;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use gristmill_hub::HubClient;
use gristmill_store::server::{ServerHandle, ServerLimits};
use gristmill_store::{Store, StoreLimits};
use gristmill_types::Amount;
use tokio::runtime::Runtime;

use ground::{DEAL_TASKS, order, pool_config, processor_s, runtime};
use ledger::ModelLedger;
use market::{Market, Person};
use worker::{Counters, Worker};

/// Whose processor time is told apart.
const ROLES: [&str; 3] = ["pool", "store", "workers"];
/// What everybody has at the model's hub.
const STAKE: Amount = Amount::from_grist(100_000);
/// Slots of a worker: as many of its tasks are on their way at a time.
const SLOTS: u32 = 256;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether all is done.
const POLL: Duration = Duration::from_millis(10);

fn main() {
    // `RUST_LOG=info` shows what the pool says.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    // `cargo bench` says so; without it this is a test that it still runs.
    let default = if args.iter().any(|arg| arg == "--bench") { 50_000 } else { 200 };
    let number = |place: usize, default: u64| numbers.get(place).copied().unwrap_or(default);
    let (tasks, workers, trust) = (number(0, default), number(1, 4), number(2, 1));
    let bench = runtime("bench");
    let places = ROLES.map(runtime);
    bench.block_on(run(tasks, workers, trust, &places));
    places.into_iter().for_each(Runtime::shutdown_background);
}

/// When things happened.
struct Moments {
    /// The first lease came.
    first: Instant,
    /// The last task was over.
    settled: Instant,
    /// The last upload lay open.
    opened: Instant,
}

/// Waits until all is done, and says each second how far it is.
async fn watch(ledger: &ModelLedger, store: &Store, counters: &Counters, tasks: u64, began: Instant) -> Moments {
    let (mut first, mut settled, mut told) = (None, None, Instant::now());
    loop {
        tokio::time::sleep(POLL).await;
        let leases = counters.leases.load(Ordering::Relaxed);
        if leases > 0 {
            first.get_or_insert_with(Instant::now);
        }
        let (begun, over) = if settled.is_none() { ledger.counts() } else { (tasks, tasks) };
        if over == tasks {
            let settled = *settled.get_or_insert_with(Instant::now);
            let mut packs = counters.packs.lock().unwrap_or_else(PoisonError::into_inner);
            while packs.last().is_some_and(|pack| store.has(*pack).unwrap_or(false)) {
                packs.pop();
            }
            if packs.is_empty() {
                return Moments { first: first.unwrap_or(began), settled, opened: Instant::now() };
            }
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let authorised = counters.authorised.load(Ordering::Relaxed);
            let (contributed, reveals) =
                (counters.contributed.load(Ordering::Relaxed), counters.reveals.load(Ordering::Relaxed));
            eprintln!(
                "  {begun} tasks begun, {leases} leases, {authorised} authorised, {contributed} contributed, {reveals} reveals, {over} over"
            );
        }
        assert!(began.elapsed() < PATIENCE, "it takes too long");
    }
}

async fn run(tasks: u64, workers: u64, trust: u64, [pool_place, store_place, workers_place]: &[Runtime; 3]) {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market::new(u8::try_from(workers).expect("255 workers at most")).await;
    let store = Store::open(folder.path().join("store"), StoreLimits::default()).expect("a store");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = {
        let _place = store_place.enter();
        ServerHandle::start(listener, store.clone(), ServerLimits::default()).expect("a server")
    };
    let ledger = ModelLedger::new(market.chain.clone(), market.client.hub);
    let hub = HubClient::on(Arc::new(ledger.clone()), market.client.hub).await.expect("the hub");
    let config = pool_config(folder.path(), &market, server.url());
    let pool = pool_place.spawn(gristmill_pool::start_on(config, hub)).await.expect("it runs").expect("a pool");

    let counters = Arc::new(Counters::default());
    let start = |person: &Person| {
        let (wallet, ledger, store) = (person.wallet.clone(), ledger.clone(), store.clone());
        let worker = Worker { wallet, ledger, store, counters: Arc::clone(&counters), slots: SLOTS };
        let _place = workers_place.enter();
        worker.start(pool.url())
    };
    let started: Vec<_> = market.workers.iter().map(start).collect();
    ledger.hold();
    let mut deals = Vec::new();
    for number in 0..tasks.div_ceil(DEAL_TASKS) {
        deals.push(order(&market, number, trust, DEAL_TASKS.min(tasks - number * DEAL_TASKS)).await);
    }
    let people: Vec<Address> =
        market.workers.iter().chain([&market.requester, &market.pool_owner]).map(Person::address).collect();
    let (began, before) = (Instant::now(), ROLES.map(processor_s));
    ledger
        .take_over(|model| {
            for account in people {
                model.deposit(account, STAKE).expect("a deposit");
            }
            for matching in deals {
                model.match_orders(ledger::unix_s(), matching).expect("a deal");
            }
        })
        .await;
    let moments = watch(&ledger, &store, &counters, tasks, began).await;
    let leases = counters.leases.load(Ordering::Relaxed);
    let [of_pool, of_store, of_workers] =
        std::array::from_fn(|at| (processor_s(ROLES[at]) - before[at]) * 1e6 / leases as f64);
    let rate = |end: Instant| leases as f64 / (end - moments.first).as_secs_f64();
    println!(
        "leases/tasks={tasks},workers={workers},trust={trust}: {:.0} leases/s settled, {:.0} leases/s until every upload lies open",
        rate(moments.settled),
        rate(moments.opened)
    );
    println!(
        "  {leases} leases, {} contributed, {} reveals; processor time a lease: pool {of_pool:.0} us, store {of_store:.0} us, \
         workers and model {of_workers:.0} us",
        counters.contributed.load(Ordering::Relaxed),
        counters.reveals.load(Ordering::Relaxed)
    );
    started.iter().for_each(tokio::task::JoinHandle::abort);
    pool.shutdown().await.expect("it stops");
    server.stop().await;
}
