//! Everybody but the pool: the ledger with its hub, a store, a requester; and what was seen of the pool from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use gristmill_datadir::Db;
use gristmill_datadir::redb::backends::InMemoryBackend;
use gristmill_hub::deploy::{DeployOptions, deploy};
use gristmill_hub::{CallData, HubClient, LedgerPort, NewApp, Outbox, OutboxConfig, sign};
use gristmill_protocol::link::PoolLinks;
use gristmill_protocol::tls::KeyHash;
use gristmill_store::server::{ServerHandle, ServerLimits};
use gristmill_store::{Store, StoreLimits};
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_types::{Amount, AppOrder, DealId, RequestOrder, Signed, TaskId, WorkerpoolOrder};
use gristmill_wallet::Wallet;
use tokio::sync::watch;

use super::chain_of_hub::chain::TestChain;
use super::clock;
use super::machine::Machine;
use super::wire::Waiting;

/// What the pool asks for a task.
pub const PRICE: Amount = Amount::from_grist(1);
/// How long transactions wait for their block.
const BLOCK_PAUSE: Duration = Duration::from_millis(3);
const SUPPLY: Amount = Amount::from_grist(1_000_000);
/// The key of the pool that workers sign for.
pub const KEY: KeyHash = KeyHash([7; 32]);

/// Where a worker finds the pool of now.
#[derive(Clone)]
pub struct Door {
    pub life: u64,
    pub links: PoolLinks,
}

/// What the pool said and did, as others saw it.
#[derive(Default)]
pub struct Seen {
    /// Leases that workers were told of: the process, the fence, the lease, the task, the worker.
    pub leases: Vec<(u64, u64, Vec<u8>, TaskId, Address)>,
    /// Results whose contribution the pool signed for, after it had taken them.
    pub authorised: BTreeMap<(TaskId, Address), B256>,
    /// Workers that were told that they are banned.
    pub turned_away: BTreeSet<Address>,
    pub deals: Vec<DealId>,
}

pub struct Town {
    pub chain: TestChain,
    pub hub: HubClient,
    pub store: Store,
    pub server: ServerHandle,
    pub machine: Machine,
    pub waiting: Waiting,
    pub doors: watch::Sender<Option<Door>>,
    pub pool: Wallet,
    owner: Wallet,
    requester: Wallet,
    app: Address,
    seen: Mutex<Seen>,
    pub folder: tempfile::TempDir,
}

pub fn wallet(number: u64) -> Wallet {
    Wallet::import_hex(&format!("{number:064x}")).unwrap()
}

/// The category whose T is so short that no test waits.
pub fn category() -> u64 {
    GENESIS_CATEGORIES.iter().position(|(name, _)| *name == "DEV").unwrap() as u64
}

impl Town {
    pub async fn new(seed: u64) -> Arc<Self> {
        clock::begin();
        let chain = TestChain::new();
        let folder = tempfile::tempdir().unwrap();
        let (owner, requester, pool) = (wallet(1), wallet(2), wallet(3));
        let ledger: Arc<dyn LedgerPort> = Arc::new(chain.clone());
        let hub = {
            let db = Db::open_on(InMemoryBackend::new()).unwrap();
            let config = OutboxConfig { poll_ms: 1, ..OutboxConfig::default() };
            let outbox = Outbox::open_on(db, owner.clone(), Arc::clone(&ledger), config).await.unwrap();
            let options = DeployOptions::local(owner.address(), SUPPLY);
            let deployment = deploy(&chain, &outbox, &options).await.unwrap_or_else(|error| panic!("{error:?}"));
            outbox.shutdown().await;
            HubClient::on(ledger, deployment.hub).await.unwrap()
        };
        let app = NewApp {
            owner: owner.address(),
            name: "no-op".to_owned(),
            kind: "DOCKER".to_owned(),
            multiaddr: format!("wasm:{}", "ab".repeat(32)).into_bytes().into(),
            checksum: B256::ZERO,
            mrenclave: Bytes::new(),
        };
        let store = Store::open(folder.path().join("store"), StoreLimits::default()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let town = Self {
            app: hub.predict_app(&app).await.unwrap(),
            server: ServerHandle::start(listener, store.clone(), ServerLimits::default()).unwrap(),
            machine: Machine::new(seed),
            waiting: Waiting::default(),
            doors: watch::Sender::new(None),
            seen: Mutex::default(),
            chain,
            hub,
            store,
            pool,
            owner,
            requester,
            folder,
        };
        town.must(&town.owner, town.hub.create_app(&app));
        town.must(&town.owner, town.hub.approve(SUPPLY));
        town.must(&town.owner, town.hub.transfer_tokens(town.pool.address(), Amount::from_grist(10_000)));
        town.fund(town.requester.address());
        Arc::new(town)
    }

    /// Puts GRIST into somebody's account.
    pub fn fund(&self, account: Address) {
        self.must(&self.owner, self.hub.deposit_for(Amount::from_grist(5_000), account));
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Makes a call of somebody's, in a block of its own; whether it took effect.
    pub fn call(&self, wallet: &Wallet, call: CallData) -> bool {
        self.machine.bump();
        self.chain.execute(wallet, &call.call(wallet.address())).0
    }

    fn must(&self, wallet: &Wallet, call: CallData) {
        assert!(self.call(wallet, call), "the test's own call was refused");
    }

    /// The ledger goes on, whatever the pool does: a block for what was sent, and one a second for the clock.
    pub async fn make_blocks(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BLOCK_PAUSE).await;
            let now = clock::now_ms().unwrap_or_default() / 1_000;
            if now > self.chain.now() {
                self.chain.set_clock(now);
            }
            if self.waiting.mine(&self.chain).await > 0 {
                self.machine.bump();
            }
        }
    }

    /// Orders tasks of the pool's: a deal.
    pub fn order(&self, workerpool: Address, tasks: u64, trust: u64) {
        let salt = B256::from(U256::from(self.seen().deals.len()));
        let request = self.request(workerpool, tasks, trust, salt);
        let (app, pool) = (self.app_order(), self.pool_order(workerpool, salt));
        self.must(&self.requester, self.hub.match_orders(&app, &sign::no_dataset(), &pool, &request));
        let deal = DealId::derive(self.hub.order_hash(&request.order), 0);
        self.seen().deals.push(deal);
    }

    fn app_order(&self) -> Signed<AppOrder> {
        let order = AppOrder {
            app: self.app,
            appprice: U256::from(1_000),
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
            volume: U256::from(1_000),
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

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`, which is small.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
