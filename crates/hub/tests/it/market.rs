//! A hub on a test ledger, and people who use it.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use gristmill_hub::deploy::{DeployOptions, Deployment, deploy};
use gristmill_hub::{CallData, HubClient, LedgerPort, NewApp, Outbox, OutboxConfig, Outcome, sign};
use gristmill_types::{Amount, AppOrder, DealId, RequestOrder, Signed, WorkerpoolOrder};
use gristmill_wallet::Wallet;

use crate::chain::TestChain;

/// Somebody with a key and an outbox.
#[derive(Clone)]
pub struct Person {
    pub wallet: Wallet,
    pub outbox: Outbox,
    count: Arc<std::sync::atomic::AtomicU64>,
}

impl Person {
    pub async fn new(number: u8, chain: &TestChain, root: &std::path::Path) -> Self {
        let wallet = Wallet::import_hex(&format!("{number:064x}")).unwrap();
        let config = OutboxConfig { poll_ms: 1, ..OutboxConfig::default() };
        let outbox = Outbox::open(root, wallet.clone(), Arc::new(chain.clone()), config).await.unwrap();
        Self { wallet, outbox, count: Arc::default() }
    }

    pub fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Sends a write that must take effect.
    pub async fn send(&self, call: CallData) -> Outcome {
        let number = self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.outbox.execute(call.intent(format!("write {number}"))).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A market with a pool, an app, a requester and workers, all with money at the hub.
pub struct Market {
    pub chain: TestChain,
    pub client: HubClient,
    pub deployment: Deployment,
    pub owner: Person,
    pub requester: Person,
    pub pool_owner: Person,
    pub workers: Vec<Person>,
    pub pool: Address,
    pub app: Address,
    folder: tempfile::TempDir,
}

pub const SUPPLY: Amount = Amount::from_grist(1_000_000);

impl Market {
    pub async fn new(workers: u8) -> Self {
        let chain = TestChain::new();
        let folder = tempfile::tempdir().unwrap();
        let owner = Person::new(1, &chain, folder.path()).await;
        let options = DeployOptions::local(owner.address(), SUPPLY);
        let deployment = deploy(&chain, &owner.outbox, &options).await.unwrap_or_else(|error| panic!("{error:?}"));
        let ledger: Arc<dyn LedgerPort> = Arc::new(chain.clone());
        let client = HubClient::on(ledger, deployment.hub).await.unwrap();
        let requester = Person::new(2, &chain, folder.path()).await;
        let pool_owner = Person::new(3, &chain, folder.path()).await;
        let mut people = Vec::new();
        for number in 0..workers {
            people.push(Person::new(10 + number, &chain, folder.path()).await);
        }
        let new_app = NewApp {
            owner: owner.address(),
            name: "no-op".to_owned(),
            kind: "DOCKER".to_owned(),
            multiaddr: format!("wasm:{}", "ab".repeat(32)).into_bytes().into(),
            checksum: B256::ZERO,
            mrenclave: Bytes::new(),
        };
        let (app, pool) =
            tokio::join!(client.predict_app(&new_app), client.predict_workerpool(pool_owner.address(), "the pool"));
        let (app, pool) = (app.unwrap(), pool.unwrap());
        owner.send(client.create_app(&new_app)).await;
        pool_owner.send(client.create_workerpool(pool_owner.address(), "the pool")).await;
        for person in people.iter().chain([&requester, &pool_owner]) {
            owner.send(client.transfer_tokens(person.address(), Amount::from_grist(1_000))).await;
            person.send(client.deposit(Amount::from_grist(900))).await;
        }
        Self { chain, client, deployment, owner, requester, pool_owner, workers: people, pool, app, folder }
    }

    pub fn root(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn app_order(&self, price: u64) -> Signed<AppOrder> {
        let order = AppOrder {
            app: self.app,
            appprice: U256::from(price),
            volume: U256::from(u64::MAX),
            tag: B256::ZERO,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        sign::order(&self.owner.wallet, order, self.client.domain())
    }

    pub fn pool_order(&self, category: u64, price: u64, trust: u64) -> Signed<WorkerpoolOrder> {
        let order = WorkerpoolOrder {
            workerpool: self.pool,
            workerpoolprice: U256::from(price),
            volume: U256::from(1_000),
            tag: B256::ZERO,
            category: U256::from(category),
            trust: U256::from(trust),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        sign::order(&self.pool_owner.wallet, order, self.client.domain())
    }

    pub fn request(&self, category: u64, volume: u64, trust: u64, salt: u64) -> Signed<RequestOrder> {
        let order = RequestOrder {
            app: self.app,
            appmaxprice: U256::MAX,
            dataset: Address::ZERO,
            datasetmaxprice: U256::ZERO,
            workerpool: self.pool,
            workerpoolmaxprice: U256::MAX,
            requester: self.requester.address(),
            volume: U256::from(volume),
            tag: B256::ZERO,
            category: U256::from(category),
            trust: U256::from(trust),
            beneficiary: self.requester.address(),
            callback: Address::ZERO,
            params: "{}".to_owned(),
            salt: B256::from(U256::from(salt)),
        };
        sign::order(&self.requester.wallet, order, self.client.domain())
    }

    /// Matches the four orders and returns the deal.
    pub async fn deal(&self, category: u64, volume: u64, trust: u64, price: u64, salt: u64) -> DealId {
        let request = self.request(category, volume, trust, salt);
        let (app, pool) = (self.app_order(price / 10), self.pool_order(category, price, trust));
        self.requester.send(self.client.match_orders(&app, &sign::no_dataset(), &pool, &request)).await;
        DealId::derive(self.client.order_hash(&request.order), 0)
    }
}

/// What a worker that computed `text` commits to.
pub fn digest_of(text: &str) -> B256 {
    keccak256(text)
}
