//! A pool alone, on a ledger that somebody else runs, with a store of its own if there is none.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::Address;
use futures_util::future::BoxFuture;
use gristmill_hub::HubClient;
use gristmill_pool::config::default_credibility;
use gristmill_pool::settings::{Base, SETTINGS_FILE, Said, Settings, Sources, default_policy};
use gristmill_pool::{OverflowStatus, PoolConfig, PoolError, PoolHandle, stake_on};
use gristmill_sandbox::ChildCommand;
use gristmill_store::{Store, StoreLimits};
use gristmill_types::{AddressBook, Amount, Category, Needs};
use gristmill_wallet::Wallet;

use crate::config::default_price;
use crate::error::NetworkError;
use crate::ledger::require_coins;
use crate::overflow::{self, OverflowPlan};
use crate::service::{ADDRESS_FILE, StoreService, port_of, read_book, serve_store, sticky, stop_store, write_book};

/// The pool's folder in a data folder, here and in a network's.
pub const POOL_FOLDER: &str = "pool";

/// Where the store is.
#[derive(Clone, Debug)]
pub enum StorePlan {
    /// In the data folder, served at this address; port 0: the port of the last time if it is free, else any.
    Own(SocketAddr),
    /// Somebody else's, `http://HOST:PORT`.
    At(String),
}

/// How a pool alone is set up.
#[derive(Debug)]
pub struct PoolPlan {
    /// Its folder, which is there: the pool's files, the store, `address.json` for clients.
    pub data_dir: PathBuf,
    /// JSON-RPC of the ledger.
    pub rpc: String,
    /// The hub.
    pub hub: Address,
    /// Owns the workerpool, stakes, and is paid.
    pub wallet: Wallet,
    /// The store.
    pub store: StorePlan,
    /// Where the pool listens; port 0 as for the store.
    pub listen: SocketAddr,
    /// The host in its URL and in that of a store of its own; `None`: the listening address.
    pub host: Option<String>,
    /// Whether it takes work and workers of members only; `None`: as it was, and open at first.
    pub private: Option<bool>,
    /// The name under which strangers find it on the ledger.
    pub public: Option<String>,
    /// What is said of its settings: it goes before the `pool.toml` in the folder.
    pub flags: Said,
    /// Where its metrics are served.
    pub metrics: Option<SocketAddr>,
    /// How what its workers cannot finish is bought on a market; `None`: it is not.
    pub overflow: Option<OverflowPlan>,
    /// How a child of this program is started, by the worker that buys.
    pub child: ChildCommand,
}

/// A running pool with its store.
pub struct LonePool {
    book: AddressBook,
    data_dir: PathBuf,
    owner: Address,
    pool: PoolHandle,
    store: Option<StoreService>,
    /// Who buys what the workers cannot finish.
    overflow: Option<overflow::Running>,
}

impl fmt::Debug for LonePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LonePool").field("book", &self.book).finish_non_exhaustive()
    }
}

impl LonePool {
    /// Starts the pool, or goes on with the one in the folder.
    ///
    /// # Errors
    /// [`NetworkError`]; nothing of it runs then. [`NetworkError::NoStake`] and [`NetworkError::NoCoins`] for an account that cannot
    /// pay for what a pool does.
    pub fn start(mut plan: PoolPlan) -> BoxFuture<'static, Result<Self, NetworkError>> {
        Box::pin(async move {
            let book_file = plan.data_dir.join(ADDRESS_FILE);
            let before = read_book(&book_file);
            let hub = HubClient::connect(&plan.rpc, plan.hub).await?;
            let store_port = before.as_ref().and_then(|book| port_of(&book.store));
            let categories = hub.view_categories().await?;
            let mut config = pool_config(&plan, &categories);
            require_stake(&hub, &config, &categories).await?;
            let pool_port = before.as_ref().and_then(|book| port_of(book.pools.first()?));
            config.listen = sticky(plan.listen, pool_port);
            let buying = match plan.overflow.take() {
                None => None,
                Some(overflow) => {
                    overflow.apply(&mut config.policy);
                    Some(overflow::Opened::open(&plan.data_dir, overflow, hub.clone()).await?)
                }
            };
            config.overflow = buying.as_ref().map(overflow::Opened::for_pool);
            let (store_url, store) = open_store(&plan, store_port).await?;
            config.store_url.clone_from(&store_url);
            let pool = match gristmill_pool::start_on(config, hub.clone()).await {
                Ok(pool) => pool,
                Err(error) => {
                    stop_store(store).await;
                    return Err(error.into());
                }
            };
            let book = AddressBook {
                rpc: plan.rpc,
                chain_id: hub.chain_id(),
                hub: plan.hub,
                pools: vec![pool.url().to_string()],
                store: store_url,
                market: None,
                wallet: None,
            };
            let owner = plan.wallet.address();
            let mut lone = Self { book, data_dir: plan.data_dir, owner, pool, store, overflow: None };
            match lone.complete(book_file, buying, plan.child).await {
                Ok(()) => Ok(lone),
                Err(error) => {
                    if let Err(second) = lone.shutdown().await {
                        tracing::debug!(error = %second, "a pool that did not start did not stop either");
                    }
                    Err(error)
                }
            }
        })
    }

    /// What follows when the pool runs.
    async fn complete(
        &mut self,
        book_file: PathBuf,
        buying: Option<overflow::Opened>,
        child: ChildCommand,
    ) -> Result<(), NetworkError> {
        write_book(book_file, &self.book)?;
        if let Some(buying) = buying {
            self.overflow = Some(buying.start(self.pool.url().clone(), child).await?);
        }
        Ok(())
    }

    /// Where everything is.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// The pool.
    pub fn pool(&self) -> &PoolHandle {
        &self.pool
    }

    /// Who owns it.
    pub fn owner(&self) -> Address {
        self.owner
    }

    /// What is bought on a market, if anything is to be.
    pub fn overflow(&self) -> Option<OverflowStatus> {
        self.overflow.as_ref().map(overflow::Running::status)
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Waits until the pool ends by itself: it is drained, or it failed, of which [`LonePool::shutdown`] says why. Cancel safe.
    pub fn ended(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        Box::pin(async move {
            while !self.pool.is_finished() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            match self.pool.is_drained() {
                true => Ok(()),
                false => Err(NetworkError::Ended("the pool has stopped; see its messages above".to_owned())),
            }
        })
    }

    /// Stops it; what the ledger and its journal hold goes on after the next start.
    ///
    /// # Errors
    /// What ended it, if it had ended with an error.
    pub fn shutdown(self) -> BoxFuture<'static, Result<(), NetworkError>> {
        Box::pin(async move {
            if let Some(overflow) = self.overflow {
                overflow.shutdown().await;
            }
            let stopped = self.pool.shutdown().await;
            stop_store(self.store).await;
            Ok(stopped?)
        })
    }
}

async fn open_store(plan: &PoolPlan, last_port: Option<u16>) -> Result<(String, Option<StoreService>), NetworkError> {
    match &plan.store {
        StorePlan::At(url) => Ok((url.clone(), None)),
        StorePlan::Own(address) => {
            let unreachable = || NetworkError::StoreAddress { address: *address };
            let host = store_host(plan.listen, *address, plan.host.as_deref()).ok_or_else(unreachable)?;
            let store = Store::open(plan.data_dir.join("store"), StoreLimits::default())?;
            let (url, service) = serve_store(sticky(*address, last_port), store).await?;
            let port = port_of(&url).unwrap_or_default();
            Ok((format!("http://{host}:{port}"), Some(service)))
        }
    }
}

/// The host in the URL of a store that listens at `store`; `None` if those who dial the pool could not dial that.
fn store_host(pool: SocketAddr, store: SocketAddr, host: Option<&str>) -> Option<String> {
    if store.ip().is_loopback() && !pool.ip().is_loopback() {
        return None;
    }
    match host {
        Some(host) if !store.ip().is_loopback() => Some(bracketed(host)),
        _ if store.ip().is_unspecified() => None,
        _ => Some(bracketed(&store.ip().to_string())),
    }
}

/// A host as a URL has it.
pub fn bracketed(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => host.to_owned(),
    }
}

/// The pool of a plan, with what it does unless its operator says otherwise, before it is known where it listens.
fn pool_config(plan: &PoolPlan, categories: &[Category]) -> PoolConfig {
    PoolConfig {
        data_dir: plan.data_dir.join(POOL_FOLDER),
        wallet: plan.wallet.clone(),
        rpc_url: plan.rpc.clone(),
        hub: plan.hub,
        listen: plan.listen,
        advertised_host: plan.host.clone(),
        store_url: String::new(),
        description: format!("pool of {}", plan.wallet.address()),
        public: plan.public.clone(),
        fee_percent: None,
        prices: categories.iter().map(|category| (category.id, default_price(category.work_clock_s))).collect(),
        offers: Needs::NONE,
        stake_target: Settings::default().stake.0,
        metrics: plan.metrics,
        policy: default_policy(),
        credibility: default_credibility(plan.public.is_some()),
        newcomers: None,
        overflow: None,
        private: plan.private,
        founder: None,
        settings: Sources { path: Some(plan.data_dir.join(SETTINGS_FILE)), flags: plan.flags.clone(), is_free: false },
    }
}

/// A pool must be able to stake on one task of each of its orders.
async fn require_stake(hub: &HubClient, config: &PoolConfig, categories: &[Category]) -> Result<(), NetworkError> {
    let address = config.wallet.address();
    let base = Base::of(config, categories);
    let settings = base.read().map_err(PoolError::from)?.settings;
    require_coins(hub.ledger().as_ref(), address).await?;
    let account = hub.view_account(address).await?;
    let tokens = hub.token_balance(address).await?;
    let has = [account.stake, account.locked, tokens].into_iter().sum::<Amount>();
    let needed = base.prices(&settings).iter().map(|(_, price)| stake_on(*price)).max().unwrap_or_default();
    // Tokens that are not to be staked help nobody.
    let usable = [account.stake, account.locked, tokens.min(settings.stake.0)].into_iter().sum::<Amount>();
    match usable < needed {
        true => Err(NetworkError::NoStake { address, has, needed, missing: needed.saturating_sub(usable) }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dials_the_pool_can_dial_its_store() {
        for (pool, store, host, expected) in [
            ("127.0.0.1:0", "127.0.0.1:0", None, Some("127.0.0.1")),
            ("127.0.0.1:0", "127.0.0.1:0", Some("tunnel.example"), Some("127.0.0.1")),
            ("10.0.0.1:0", "10.0.0.2:0", None, Some("10.0.0.2")),
            ("0.0.0.0:0", "0.0.0.0:0", Some("mill.example"), Some("mill.example")),
            ("[::]:0", "[::]:0", Some("2001:db8::1"), Some("[2001:db8::1]")),
            ("0.0.0.0:0", "0.0.0.0:0", None, None),
            ("0.0.0.0:0", "127.0.0.1:0", Some("mill.example"), None),
        ] {
            let found = store_host(pool.parse().unwrap(), store.parse().unwrap(), host);
            assert_eq!(found.as_deref(), expected, "{pool} {store} {host:?}");
        }
    }
}
