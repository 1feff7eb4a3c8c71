//! Start everything of a network, and stop it.

use futures_util::future::BoxFuture;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use alloy_primitives::{Address, U256};
use gristmill_datadir::{DataDir, FileError, write_atomic};
use gristmill_hub::abi::IHub;
use gristmill_hub::{HubClient, Outbox, OutboxConfig};
use gristmill_market::{MarketConfig, MarketHandle};
use gristmill_node::NodeHandle;
use gristmill_pool::config::{FOUNDER, Founder, default_credibility};
use gristmill_pool::settings::{SETTINGS_FILE, Sources};
use gristmill_pool::{OverflowStatus, PoolConfig, PoolHandle};
use gristmill_store::{Client, Store, StoreLimits, server};
use gristmill_types::{AddressBook, Amount};
use gristmill_wallet::Wallet;
use gristmill_worker::{Conduct, WorkerConfig, WorkerHandle};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::builtin::APPS;
use crate::config::{LedgerChoice, NetworkConfig, WorkerPlan};
use crate::error::NetworkError;
use crate::lone::{POOL_FOLDER, bracketed};
use crate::{ledger, overflow, treasury};

/// Kind and version of a network's data folder.
pub const DATA_KIND: &str = "network";
/// See [`DATA_KIND`].
pub const DATA_VERSION: u32 = 1;
/// Where the addresses stand in the data folder.
pub const ADDRESS_FILE: &str = "address.json";
/// What a network was born with, in its data folder.
const GENESIS_FILE: &str = "genesis.json";
/// Whether its pool is private, in its data folder.
const PRIVATE_FILE: &str = "private.json";
/// Newcomers that wait to be funded.
const NEWCOMERS_MAX: usize = 1_024;

/// A running network.
pub struct Network {
    book: AddressBook,
    dir: DataDir,
    /// `None` on a chain that somebody else runs.
    node: Option<NodeHandle>,
    hub: HubClient,
    store: Store,
    store_service: StoreService,
    pool: PoolHandle,
    market: MarketHandle,
    simulated_enclave: bool,
    private: bool,
    workers: Vec<(WorkerHandle, WorkerPlan)>,
    /// Who buys what they cannot finish.
    overflow: Option<overflow::Running>,
    outboxes: Vec<Outbox>,
    funding: JoinHandle<()>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("book", &self.book).finish_non_exhaustive()
    }
}

/// The keys of a network, each in a file of its own.
struct Keys {
    treasury: Wallet,
    pool: Wallet,
    requester: Wallet,
    provider: Wallet,
    requester_path: PathBuf,
}

impl Keys {
    fn open(dir: &DataDir) -> Result<Self, NetworkError> {
        let folder = dir.subdir("keys")?;
        let key = |name: &str| Wallet::load_or_generate(folder.join(name));
        Ok(Self {
            treasury: key("treasury.json")?,
            pool: key("pool.json")?,
            requester: key("requester.json")?,
            provider: key("provider.json")?,
            requester_path: folder.join("requester.json"),
        })
    }
}

impl Network {
    /// Starts a network, or goes on with the one in the folder.
    ///
    /// # Errors
    /// [`NetworkError`]; nothing of it runs then.
    pub fn start(config: NetworkConfig) -> BoxFuture<'static, Result<Self, NetworkError>> {
        Box::pin(async move {
            let dir = DataDir::open(&config.data_dir, DATA_KIND, DATA_VERSION)?;
            let before = read_book(&dir.file(ADDRESS_FILE)?);
            let keys = Keys::open(&dir)?;
            let rpc = sticky(config.rpc, before.as_ref().and_then(|book| port_of(&book.rpc)));
            let private = privacy(&dir, config.private)?;
            let mut config = if private { config.free() } else { config };
            let (mut ledger, simulated_enclave) = find_ledger(&config, &dir, rpc, &keys, before.is_some()).await?;
            let (hub, treasury) = (ledger.hub.clone(), ledger.treasury.clone());
            let store = Store::open(dir.subdir("store")?, StoreLimits::default())?;
            let address = sticky(config.store, before.as_ref().and_then(|book| port_of(&book.store)));
            let (store_url, store_service) = serve_store(address, store.clone()).await?;
            let store_url = advertised(&store_url, config.host.as_deref());
            if ledger.node.is_some() {
                ledger.rpc = advertised(&ledger.rpc, config.host.as_deref());
            }
            let coins = give_coins(&config, &dir, &treasury, &keys).await?;
            treasury::approve(&hub, &treasury).await?;
            let provider_outbox = open_outbox(&dir, "provider", &keys.provider, &hub).await?;
            fund_own(&config, &hub, &treasury, &keys).await?;
            publish_apps(&store, &hub, &provider_outbox, &keys.provider, private).await?;
            let buying = open_overflow(&mut config, &dir, &hub, (&treasury, coins)).await?;
            let (newcomers, funding) = welcome_newcomers(&hub, &treasury, coins, private);
            let pool_listen = sticky(config.pool, before.as_ref().and_then(|book| port_of(book.pools.first()?)));
            let pool_dir = dir.subdir(POOL_FOLDER)?;
            let pool = PoolConfig {
                listen: pool_listen,
                newcomers: Some(newcomers),
                founder: private.then(|| founder(&config, &dir, &keys)).transpose()?,
                private: Some(private),
                settings: settings(&config, dir.file(SETTINGS_FILE)?, private),
                overflow: buying.as_ref().map(overflow::Opened::for_pool),
                ..pool_config(&config, pool_dir, &keys, &ledger, &store_url)
            };
            let pool = gristmill_pool::start(pool).await?;
            let market_listen =
                sticky(config.market, before.as_ref().and_then(|book| port_of(book.market.as_deref()?)));
            let market = start_market(&dir, market_listen, &hub, &store_url).await?;
            let market_url = advertised(&market.url(), config.host.as_deref());
            let book = address_book(&ledger, &pool, (store_url, market_url), &keys);
            announce(ledger.node.as_ref(), &book);
            write_book(dir.file(ADDRESS_FILE)?, &book)?;
            let mut network = Self {
                book,
                dir,
                node: ledger.node,
                hub,
                store,
                store_service,
                pool,
                market,
                simulated_enclave,
                private,
                workers: Vec::new(),
                overflow: None,
                outboxes: vec![treasury, provider_outbox],
                funding,
            };
            for (index, plan) in config.workers.iter().enumerate() {
                network.start_worker(index, *plan, &config)?;
            }
            if let Some(buying) = buying {
                network.overflow = Some(buying.start(network.pool.url().clone(), config.child.clone()).await?);
            }
            Ok(network)
        })
    }

    fn start_worker(&mut self, index: usize, plan: WorkerPlan, config: &NetworkConfig) -> Result<(), NetworkError> {
        let folder = self.dir.subdir("workers")?.join(format!("{index:02}"));
        let wallet = worker_wallet(&self.dir, index)?;
        let mut worker = WorkerConfig::new(folder, wallet, vec![self.pool.url().clone()], config.child.clone());
        worker.slots = plan.slots;
        worker.conduct = plan.conduct;
        worker.lends = config.lends.clone();
        worker.modules_dir = Some(self.dir.subdir("modules")?);
        self.workers.push((gristmill_worker::start(worker)?, plan));
        Ok(())
    }

    /// Where everything listens.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// The hub.
    pub fn hub(&self) -> &HubClient {
        &self.hub
    }

    /// The pool.
    pub fn pool(&self) -> &PoolHandle {
        &self.pool
    }

    /// Whether its deals may ask for an enclave, which is then only simulated.
    pub fn simulates_enclaves(&self) -> bool {
        self.simulated_enclave
    }

    /// Whether its pool takes work and workers of members only.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The store's folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A client of the store.
    ///
    /// # Errors
    /// Never for a running network.
    pub fn store_client(&self) -> Result<Client, NetworkError> {
        Ok(Client::new(&self.book.store)?)
    }

    /// The ledger's node; `None` on a chain that somebody else runs.
    pub fn node(&self) -> Option<&NodeHandle> {
        self.node.as_ref()
    }

    /// The workers of this process: who they are and what they set out to do.
    pub fn worker_plans(&self) -> Vec<(Address, Conduct)> {
        self.workers.iter().map(|(worker, plan)| (worker.address(), plan.conduct)).collect()
    }

    /// The addresses of the workers of this process.
    pub fn worker_addresses(&self) -> Vec<Address> {
        self.workers.iter().map(|(worker, _)| worker.address()).collect()
    }

    /// What is bought on a market, if anything is to be.
    pub fn overflow(&self) -> Option<OverflowStatus> {
        self.overflow.as_ref().map(overflow::Running::status)
    }

    /// The data folder.
    pub fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Waits until a part of the network that it cannot do without ends by itself, and says which. Cancel safe.
    pub fn failed(&self) -> BoxFuture<'_, NetworkError> {
        Box::pin(async move {
            tokio::select! {
                cause = node_failed(self.node.as_ref()) => NetworkError::Ended(format!("the ledger makes no more blocks: {cause}")),
                () = until(|| self.pool.is_finished() && !self.pool.is_drained()) => NetworkError::Ended(stopped("pool")),
                () = until(|| self.market.is_finished()) => NetworkError::Ended(stopped("market")),
            }
        })
    }

    /// Waits until the pool has ended since its operator had it drained. Cancel safe.
    pub fn drained(&self) -> BoxFuture<'_, ()> {
        Box::pin(until(|| self.pool.is_drained()))
    }

    /// Stops everything in order: workers, market, pool, store, ledger. Nothing is left running.
    ///
    /// # Errors
    /// The first part that had ended with an error.
    pub fn shutdown(self) -> BoxFuture<'static, Result<(), NetworkError>> {
        Box::pin(async move {
            let mut result = Ok(());
            for (worker, _) in self.workers {
                // A cheater that was thrown out has ended before, which is its own affair.
                if let Err(error) = worker.shutdown().await {
                    tracing::debug!(%error, "a worker had ended");
                }
            }
            if let Some(overflow) = self.overflow {
                overflow.shutdown().await;
            }
            if let Err(error) = self.market.shutdown().await {
                result = Err(error.into());
            }
            if let Err(error) = self.pool.shutdown().await {
                result = Err(error.into());
            }
            self.funding.abort();
            for outbox in &self.outboxes {
                outbox.shutdown().await;
            }
            stop_store(Some(self.store_service)).await;
            if let Some(node) = self.node {
                node.shutdown().await;
            }
            result
        })
    }
}

/// Has whoever is new given what it needs: coins where gas costs something, and its stake where anything is staked.
fn welcome_newcomers(
    hub: &HubClient,
    treasury: &Outbox,
    coins: U256,
    is_free: bool,
) -> (mpsc::Sender<Address>, JoinHandle<()>) {
    let (newcomers, queue) = mpsc::channel(NEWCOMERS_MAX);
    let stake = if is_free { Amount::ZERO } else { treasury::WORKER_STAKE };
    (newcomers, tokio::spawn(treasury::fund_newcomers(hub.clone(), treasury.clone(), coins, stake, queue)))
}

/// Where the pool's settings come from.
fn settings(config: &NetworkConfig, path: PathBuf, is_free: bool) -> Sources {
    Sources { path: Some(path), flags: config.pool_flags.clone(), is_free }
}

/// The network's pool, before it is known where it listens.
fn pool_config(
    config: &NetworkConfig,
    data_dir: PathBuf,
    keys: &Keys,
    ledger: &ledger::Ledger,
    store_url: &str,
) -> PoolConfig {
    PoolConfig {
        data_dir,
        wallet: keys.pool.clone(),
        rpc_url: ledger.rpc.clone(),
        hub: ledger.hub.hub,
        listen: config.pool,
        advertised_host: config.host.clone(),
        store_url: store_url.to_owned(),
        description: "local pool".to_owned(),
        public: config.public.clone(),
        fee_percent: None,
        prices: config.prices.clone(),
        offers: config.lends.needs(),
        stake_target: treasury::POOL_STAKE,
        metrics: config.metrics,
        policy: config.policy.clone(),
        credibility: default_credibility(config.public.is_some()).filter(|_| !config.by_hub_alone),
        newcomers: None,
        overflow: None,
        private: config.private,
        founder: None,
        settings: Sources::default(),
    }
}

/// Where everything is dialled.
fn address_book(
    ledger: &ledger::Ledger,
    pool: &PoolHandle,
    (store, market): (String, String),
    keys: &Keys,
) -> AddressBook {
    AddressBook {
        rpc: ledger.rpc.clone(),
        chain_id: ledger.hub.chain_id(),
        hub: ledger.hub.hub,
        pools: vec![pool.url().to_string()],
        store,
        market: Some(market),
        wallet: Some(keys.requester_path.display().to_string()),
    }
}

/// The ledger with its hub, and whether that simulates enclaves.
async fn find_ledger(
    config: &NetworkConfig,
    dir: &DataDir,
    rpc: SocketAddr,
    keys: &Keys,
    is_old: bool,
) -> Result<(ledger::Ledger, bool), NetworkError> {
    match &config.ledger {
        LedgerChoice::Own => {
            let simulated = genesis(dir, is_old, config.simulated_enclave)?;
            Ok((ledger::start(dir, rpc, &keys.treasury, simulated).await?, simulated))
        }
        LedgerChoice::Foreign(foreign) => {
            let ledger = ledger::join(dir, foreign).await?;
            let simulated = ledger.hub.view(foreign.hub, IHub::simulatedEnclaveCall {}).await?;
            Ok((ledger, simulated))
        }
    }
}

/// Lets a client that has only the ledger's address find the rest.
fn announce(node: Option<&NodeHandle>, book: &AddressBook) {
    let served = AddressBook { wallet: None, ..book.clone() };
    if let Some(node) = node {
        node.set_network_info(serde_json::to_value(served).unwrap_or_default());
    }
}

async fn start_market(
    dir: &DataDir,
    listen: SocketAddr,
    hub: &HubClient,
    store_url: &str,
) -> Result<MarketHandle, NetworkError> {
    let config =
        MarketConfig { data_dir: dir.subdir("market")?, listen, hub: hub.clone(), store: Client::new(store_url)? };
    Ok(gristmill_market::start(config).await?)
}

/// Never without a node of our own: a chain that cannot be reached may come back.
async fn node_failed(node: Option<&NodeHandle>) -> String {
    match node {
        Some(node) => node.failed().await.to_string(),
        None => std::future::pending().await,
    }
}

/// Where gas costs something, the treasury pays the network's own accounts a first sum for it, once. What newcomers get.
async fn give_coins(
    config: &NetworkConfig,
    dir: &DataDir,
    treasury: &Outbox,
    keys: &Keys,
) -> Result<U256, NetworkError> {
    let LedgerChoice::Foreign(foreign) = &config.ledger else { return Ok(U256::ZERO) };
    let mut accounts = vec![keys.pool.address(), keys.requester.address(), keys.provider.address()];
    for index in 0..config.workers.len() {
        accounts.push(worker_wallet(dir, index)?.address());
    }
    for account in accounts {
        treasury::coins(treasury, account, foreign.coins).await?;
    }
    Ok(foreign.coins)
}

fn worker_wallet(dir: &DataDir, index: usize) -> Result<Wallet, NetworkError> {
    Ok(Wallet::load_or_generate(dir.subdir("keys")?.join(format!("worker-{index:02}.json")))?)
}

/// Who buys what the machines cannot finish, ready but for the pool. Where gas costs something it gets some too.
async fn open_overflow(
    config: &mut NetworkConfig,
    dir: &DataDir,
    hub: &HubClient,
    (treasury, coins): (&Outbox, U256),
) -> Result<Option<overflow::Opened>, NetworkError> {
    let Some(plan) = config.overflow.take() else { return Ok(None) };
    plan.apply(&mut config.policy);
    let opened = overflow::Opened::open(dir.path(), plan, hub.clone()).await?;
    if !coins.is_zero() {
        treasury::coins(treasury, opened.for_pool().worker, coins).await?;
    }
    Ok(Some(opened))
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn stopped(part: &str) -> String {
    format!("the {part} has stopped; see its messages above")
}

async fn open_outbox(dir: &DataDir, name: &str, wallet: &Wallet, hub: &HubClient) -> Result<Outbox, NetworkError> {
    let ledger = Arc::clone(hub.ledger());
    Ok(Outbox::open(dir.subdir(name)?, wallet.clone(), ledger, OutboxConfig::default()).await?)
}

async fn fund_own(config: &NetworkConfig, hub: &HubClient, treasury: &Outbox, keys: &Keys) -> Result<(), NetworkError> {
    treasury::deposit(hub, treasury, keys.requester.address(), treasury::REQUESTER_FUNDS).await?;
    treasury::give(hub, treasury, keys.pool.address(), treasury::POOL_STAKE).await?;
    for address in &config.fund {
        treasury::deposit(hub, treasury, *address, treasury::REQUESTER_FUNDS).await?;
        treasury::give(hub, treasury, *address, treasury::REQUESTER_FUNDS).await?;
    }
    Ok(())
}

async fn publish_apps(
    store: &Store,
    hub: &HubClient,
    outbox: &Outbox,
    provider: &Wallet,
    is_free: bool,
) -> Result<(), NetworkError> {
    for app in APPS {
        let content = store.put_bytes(app.wasm)?;
        let price = if is_free { Amount::ZERO } else { app.price };
        treasury::publish(hub, outbox, provider, &app, price, content).await?;
    }
    Ok(())
}

/// A served store: what stops it, and what then ends.
pub type StoreService = (oneshot::Sender<()>, JoinHandle<()>);

/// Stops a store, if there is one.
pub async fn stop_store(service: Option<StoreService>) {
    let Some((stop, serving)) = service else { return };
    let _ = stop.send(());
    let _ = serving.await;
}

pub async fn serve_store(address: SocketAddr, store: Store) -> Result<(String, StoreService), NetworkError> {
    let listen_error = |source| NetworkError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let url = format!("http://{}", listener.local_addr().map_err(listen_error)?);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(listener, store, async {
        let _ = stopped.await;
    }));
    Ok((url, (stop, serving)))
}

/// With port 0 the port of the last time, if nobody has it: clients and workers then find the network again.
pub fn sticky(wanted: SocketAddr, last: Option<u16>) -> SocketAddr {
    match (wanted.port(), last) {
        (0, Some(port)) if std::net::TcpListener::bind((wanted.ip(), port)).is_ok() => {
            SocketAddr::new(wanted.ip(), port)
        }
        _ => wanted,
    }
}

/// The port in `scheme://HOST:PORT[/...]`.
pub fn port_of(url: &str) -> Option<u16> {
    let host = url.split_once("://")?.1.split('/').next()?;
    host.rsplit_once(':')?.1.parse().ok()
}

/// Whether the network of this folder simulates enclaves: as it was born, or as `wanted` when it is born now.
fn genesis(dir: &DataDir, is_old: bool, wanted: bool) -> Result<bool, NetworkError> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Genesis {
        simulated_enclave: bool,
    }
    let path = dir.file(GENESIS_FILE)?;
    let recorded = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Genesis>(&text).ok());
    let born = match recorded {
        Some(genesis) => genesis.simulated_enclave,
        // Networks that were born before the file was written had the flag.
        None if is_old => true,
        None => wanted,
    };
    if wanted && !born {
        return Err(NetworkError::NoEnclave { path: dir.path().to_path_buf() });
    }
    let text = serde_json::to_vec_pretty(&Genesis { simulated_enclave: born }).unwrap_or_default();
    write_atomic(path, &text, 0o644)?;
    Ok(born)
}

/// Whether the network's pool is private: as is wanted now, or as it was. A private network whose file cannot be read does not open by
/// itself.
fn privacy(dir: &DataDir, wanted: Option<bool>) -> Result<bool, NetworkError> {
    let path = dir.file(PRIVATE_FILE)?;
    let private = match wanted {
        Some(private) => private,
        None => was_private(&path).map_err(|source| FileError { action: "read", path: path.clone(), source })?,
    };
    write_atomic(path.clone(), private.to_string().as_bytes(), 0o644)?;
    Ok(private)
}

fn was_private(path: &Path) -> io::Result<bool> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who runs a private network, and its own workers: its first members.
fn founder(config: &NetworkConfig, dir: &DataDir, keys: &Keys) -> Result<Founder, NetworkError> {
    let mut workers = Vec::new();
    for index in 0..config.workers.len() {
        workers.push((worker_wallet(dir, index)?.address(), format!("local-{index:02}")));
    }
    Ok(Founder { name: FOUNDER.to_owned(), requester: keys.requester.address(), workers })
}

/// The URL of a part of the network as other machines dial it.
fn advertised(url: &str, host: Option<&str>) -> String {
    match (host, port_of(url)) {
        (Some(host), Some(port)) => format!("http://{}:{port}", bracketed(host)),
        _ => url.to_owned(),
    }
}

/// What stands in an address file, if it can be read.
pub fn read_book(file: &Path) -> Option<AddressBook> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Writes an address file.
pub fn write_book(file: PathBuf, book: &AddressBook) -> Result<(), NetworkError> {
    let text = serde_json::to_vec_pretty(book).unwrap_or_default();
    Ok(write_atomic(file, &text, 0o644)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_network_stays_so_and_opens_only_when_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path().join("net"), DATA_KIND, DATA_VERSION).unwrap();
        let told = [(None, false), (Some(true), true), (None, true), (Some(false), false), (None, false)];
        for (wanted, expected) in told {
            assert_eq!(privacy(&dir, wanted).unwrap(), expected, "{wanted:?}");
        }
        fs::write(dir.file(PRIVATE_FILE).unwrap(), "tr").unwrap();
        let error = privacy(&dir, None).unwrap_err();
        assert!(matches!(&error, NetworkError::File(file) if file.path.ends_with(PRIVATE_FILE)), "{error}");
        assert!(privacy(&dir, Some(true)).unwrap());
    }
}
