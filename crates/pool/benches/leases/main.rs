//! Leases a second: the pool's service, its journal and its store, with workers over loopback, and the executable model of the hub's
//! rules in the ledger's place.
//!
//! `cargo bench -p gristmill-pool --bench leases -- [TASKS] [WORKERS] [TRUST]` (50,000, 4 and 1 unless told otherwise). Started as a
//! test it runs 200 tasks once. A lease is a task of one item: leased, accepted, its sealed result taken and written down with a sync,
//! authorised, contributed, settled, its upload fetched, opened, hashed against the digest, stored open, and that written down.

#[path = "../../../hub/tests/it/chain.rs"]
#[allow(dead_code, reason = "the hub's tests do more with it")]
mod chain;
mod ledger;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256};
use gristmill_datadir::Db;
use gristmill_datadir::redb::backends::InMemoryBackend;
use gristmill_hub::deploy::{DeployOptions, deploy};
use gristmill_hub::{CallData, HubClient, LedgerPort, NewApp, Outbox, OutboxConfig, sign};
use gristmill_poco::{Matching, OrderUse};
use gristmill_pool::config::{ORDER_TRUST, ORDER_VOLUME, PoolConfig, default_credibility};
use gristmill_pool::settings::Sources;
use gristmill_store::server::{ServerHandle, ServerLimits};
use gristmill_store::{Store, StoreLimits};
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_types::{Amount, AppOrder, DealId, Needs, RequestOrder, Signed, WorkerpoolOrder};
use gristmill_wallet::Wallet;
use tokio::runtime::Runtime;

use chain::TestChain;
use ledger::{ModelLedger, STAKE};
use worker::{Counters, Worker};

/// Whose processor time is told apart.
const ROLES: [&str; 3] = ["pool", "store", "workers"];
const SUPPLY: Amount = Amount::from_grist(1_000_000_000);
/// Tasks of a deal.
const DEAL_TASKS: u64 = 5_000;
/// Slots of a worker: as many of its tasks are on their way at a time.
const SLOTS: u32 = 256;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(10);
const PRICE: Amount = Amount::from_ngrist(1_000);

fn main() {
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

fn wallet(number: u64) -> Wallet {
    Wallet::import_hex(&format!("{number:064x}")).expect("a key")
}

fn category() -> u64 {
    GENESIS_CATEGORIES.iter().position(|(name, _)| *name == "XS").expect("the hub has it") as u64
}

/// A runtime whose threads bear a name, so that it is known whose time is taken.
fn runtime(name: &str) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_name(name).worker_threads(2).enable_all().build().expect("a runtime")
}

/// Processor seconds so far, of all threads of this name.
fn processor_s(name: &str) -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ticks = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let (head, tail) = stat.rsplit_once(')').unwrap_or_default();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        if head.ends_with(&format!("({name}")) { ticks(11) + ticks(12) } else { 0.0 }
    });
    // The kernel counts in hundredths of a second.
    ticks.sum::<f64>() / 100.0
}

/// The market's people and what they trade.
struct Market {
    chain: TestChain,
    hub: HubClient,
    owner: Wallet,
    requester: Wallet,
    pool: Wallet,
    app: Address,
}

impl Market {
    async fn new() -> Self {
        let chain = TestChain::beginning(ledger::unix_s());
        let (owner, requester, pool) = (wallet(1), wallet(2), wallet(3));
        let port: Arc<dyn LedgerPort> = Arc::new(chain.clone());
        let db = Db::open_on(InMemoryBackend::new()).expect("a database in memory");
        let config = OutboxConfig { poll_ms: 1, ..OutboxConfig::default() };
        let outbox = Outbox::open_on(db, owner.clone(), Arc::clone(&port), config).await.expect("an outbox");
        let options = DeployOptions::local(owner.address(), SUPPLY);
        let deployment = deploy(&chain, &outbox, &options).await.expect("a hub");
        outbox.shutdown().await;
        let hub = HubClient::on(port, deployment.hub).await.expect("the hub");
        let app = NewApp {
            owner: owner.address(),
            name: "no-op".to_owned(),
            kind: "DOCKER".to_owned(),
            multiaddr: format!("wasm:{}", "ab".repeat(32)).into_bytes().into(),
            checksum: B256::ZERO,
            mrenclave: Bytes::new(),
        };
        let address = hub.predict_app(&app).await.expect("an address");
        let market = Self { chain, hub, owner, requester, pool, app: address };
        market.must(&market.owner, market.hub.create_app(&app));
        market.must(&market.owner, market.hub.approve(SUPPLY));
        for person in [&market.requester, &market.pool] {
            market.must(&market.owner, market.hub.deposit_for(STAKE, person.address()));
        }
        market
    }

    fn must(&self, wallet: &Wallet, call: CallData) {
        assert!(self.chain.execute(wallet, &call.call(wallet.address())).0, "the bench's own call was refused");
    }

    /// A deal, on the chain; what the model has to know of it.
    async fn order(&self, workerpool: Address, volume: u64, trust: u64, salt: u64) -> (DealId, Matching) {
        let salt = B256::from(U256::from(salt));
        let (app, pool) = (self.app_order(), self.pool_order(workerpool, salt));
        let request = self.request(workerpool, volume, trust, salt);
        let hash = self.hub.order_hash(&request.order);
        self.must(&self.requester, self.hub.match_orders(&app, &sign::no_dataset(), &pool, &request));
        let id = DealId::derive(hash, 0);
        let deal = self.hub.view_deal(id).await.expect("the deal").expect("the deal is there");
        let work_clock_s = self.hub.view_category(deal.category).await.expect("the category").work_clock_s;
        let used = |hash, volume| OrderUse { hash, volume };
        let matching = Matching {
            app: used(self.hub.order_hash(&app.order), u64::MAX),
            dataset: None,
            workerpool: used(self.hub.order_hash(&pool.order), volume),
            request: used(hash, volume),
            terms: deal.terms(work_clock_s),
        };
        (id, matching)
    }

    fn app_order(&self) -> Signed<AppOrder> {
        let order = AppOrder {
            app: self.app,
            appprice: U256::ZERO,
            volume: U256::from(u64::MAX),
            tag: B256::ZERO,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        sign::order(&self.owner, order, self.hub.domain())
    }

    fn pool_order(&self, workerpool: Address, salt: B256) -> Signed<WorkerpoolOrder> {
        let order = WorkerpoolOrder {
            workerpool,
            workerpoolprice: PRICE.to_u256(),
            volume: U256::from(DEAL_TASKS),
            tag: B256::ZERO,
            category: U256::from(category()),
            trust: U256::from(1_000),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt,
        };
        sign::order(&self.pool, order, self.hub.domain())
    }

    fn request(&self, workerpool: Address, volume: u64, trust: u64, salt: B256) -> Signed<RequestOrder> {
        let order = RequestOrder {
            app: self.app,
            appmaxprice: U256::MAX,
            dataset: Address::ZERO,
            datasetmaxprice: U256::ZERO,
            workerpool,
            workerpoolmaxprice: U256::MAX,
            requester: self.requester.address(),
            volume: U256::from(volume),
            tag: B256::ZERO,
            category: U256::from(category()),
            trust: U256::from(trust),
            beneficiary: self.requester.address(),
            callback: Address::ZERO,
            params: "{}".to_owned(),
            salt,
        };
        sign::order(&self.requester, order, self.hub.domain())
    }
}

fn pool_config(folder: &std::path::Path, market: &Market, store_url: String) -> PoolConfig {
    PoolConfig {
        data_dir: folder.join("pool"),
        wallet: market.pool.clone(),
        rpc_url: "http://127.0.0.1:1".to_owned(),
        hub: market.hub.hub,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertised_host: None,
        store_url,
        description: "the pool".to_owned(),
        public: None,
        fee_percent: None,
        prices: vec![(category(), PRICE)],
        offers: Needs::default(),
        order_volume: ORDER_VOLUME,
        order_trust_max: ORDER_TRUST,
        stake_target: Amount::ZERO,
        metrics: None,
        policy: gristmill_scheduler::Policy::default(),
        credibility: default_credibility(false),
        private: None,
        founder: None,
        overflow: None,
        settings: Sources::default(),
        newcomers: None,
    }
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
            eprintln!("  {begun} tasks begun, {leases} leases, {authorised} authorised, {over} over");
        }
        assert!(began.elapsed() < PATIENCE, "it takes too long");
    }
}

async fn run(tasks: u64, workers: u64, trust: u64, [pool_place, store_place, workers_place]: &[Runtime; 3]) {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market::new().await;
    let store = Store::open(folder.path().join("store"), StoreLimits::default()).expect("a store");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = {
        let _place = store_place.enter();
        ServerHandle::start(listener, store.clone(), ServerLimits::default()).expect("a server")
    };
    let ledger = ModelLedger::new(market.chain.clone(), market.hub.hub);
    let hub = HubClient::on(Arc::new(ledger.clone()), market.hub.hub).await.expect("the hub");
    let config = pool_config(folder.path(), &market, server.url());
    let pool = pool_place.spawn(gristmill_pool::start_on(config, hub)).await.expect("it runs").expect("a pool");

    let counters = Arc::new(Counters::default());
    let started: Vec<_> = (0..workers)
        .map(|number| {
            let (wallet, ledger, store) = (wallet(100 + number), ledger.clone(), store.clone());
            let worker = Worker { wallet, ledger, store, counters: Arc::clone(&counters), slots: SLOTS };
            let _place = workers_place.enter();
            worker.start(pool.url())
        })
        .collect();
    let mut deals = Vec::new();
    while deals.len() as u64 * DEAL_TASKS < tasks {
        let volume = DEAL_TASKS.min(tasks - deals.len() as u64 * DEAL_TASKS);
        deals.push(market.order(pool.workerpool(), volume, trust, deals.len() as u64).await.1);
    }
    let now = ledger::unix_s();
    let people: Vec<Address> = [&market.requester, &market.pool].map(Wallet::address).into();
    let workers_addresses: Vec<Address> = (0..workers).map(|number| wallet(100 + number).address()).collect();
    let (began, before) = (Instant::now(), ROLES.map(processor_s));
    ledger
        .take_over(|model| {
            for account in people.into_iter().chain(workers_addresses) {
                model.deposit(account, STAKE).expect("a deposit");
            }
            for matching in deals {
                model.match_orders(now, matching).expect("a deal");
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
