//! Say what a local network consists of.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use alloy_primitives::{Address, U256};
use gristmill_pool::settings::{Said, default_policy};
use gristmill_sandbox::ChildCommand;
use gristmill_types::Amount;
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_worker::{Conduct, Lends};

use crate::overflow::OverflowPlan;

/// A worker of the network's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerPlan {
    /// What it does with its tasks.
    pub conduct: Conduct,
    /// Tasks at a time.
    pub slots: u32,
}

/// Which ledger a network works on.
#[derive(Clone, Debug, Default)]
pub enum LedgerChoice {
    /// One of its own, in its folder, with a hub of its own.
    #[default]
    Own,
    /// A hub that is there already, on an EVM chain that somebody else runs.
    Foreign(ForeignLedger),
}

/// A hub on somebody else's chain, and who pays for what a network does there.
#[derive(Clone, Debug)]
pub struct ForeignLedger {
    /// JSON-RPC of the chain, `http://HOST:PORT`.
    pub rpc: String,
    /// The hub.
    pub hub: Address,
    /// Key file of an account with GRIST and with coins for gas, from which the network's own accounts and newcomers get theirs.
    pub treasury: PathBuf,
    /// What each of them gets for gas, once, in wei.
    pub coins: U256,
}

/// How a local network is set up.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Its folder: keys, ledger, store, pool, workers.
    pub data_dir: PathBuf,
    /// Its ledger.
    pub ledger: LedgerChoice,
    /// Where JSON-RPC is served; port 0: the port of the last time if it is free, else any.
    pub rpc: SocketAddr,
    /// Where the pool listens; port as above.
    pub pool: SocketAddr,
    /// Where the store listens; port as above.
    pub store: SocketAddr,
    /// Where the market listens: order book and result gateway for iExec's clients; port as above.
    pub market: SocketAddr,
    /// Whether deals may ask for an enclave that is only simulated: for development. It is fixed when a network is born; a
    /// network that was born with it keeps it.
    pub simulated_enclave: bool,
    /// The workers that run in this process.
    pub workers: Vec<WorkerPlan>,
    /// Who is given funds besides the network's own.
    pub fund: Vec<Address>,
    /// How a sandbox child is started.
    pub child: ChildCommand,
    /// Price of a task by category.
    pub prices: Vec<(u64, Amount)>,
    /// Whether the pool takes work and workers of members only, and everything is free; `None`: as it was, and open at first.
    pub private: Option<bool>,
    /// Name or address under which other machines dial all of it; `None`: each part where it listens.
    pub host: Option<String>,
    /// The name under which strangers find the pool on the ledger; `None`: they do not.
    pub public: Option<String>,
    /// Where the pool's metrics are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How the pool schedules.
    pub policy: gristmill_scheduler::Policy,
    /// What is said of the pool's settings besides all this, and goes before the `pool.toml` in the folder.
    pub pool_flags: Said,
    /// How what the network's machines cannot finish is bought on another one; `None`: it is not.
    pub overflow: Option<OverflowPlan>,
    /// The pool believes whatever the hub's rule accepts; otherwise no more than `credibility` does.
    pub by_hub_alone: bool,
    /// What the workers of this process lend besides a processor, and the pool's orders offer.
    pub lends: Lends,
}

/// Price of a task of 300 s on the reference machine; other categories in proportion, none below a tenth of it.
const PRICE_XS: Amount = Amount::from_ngrist(100_000_000);

/// What a pool asks for a task of a category with this T, in seconds, unless it is told.
pub fn default_price(work_clock_s: u64) -> Amount {
    let price = PRICE_XS.ngrist() * u128::from(work_clock_s) / 300;
    Amount::from_ngrist(price.max(PRICE_XS.ngrist() / 10))
}

impl NetworkConfig {
    /// A network in `data_dir` on free ports of this machine, with `workers` honest workers of one slot each.
    pub fn new(data_dir: PathBuf, workers: usize, child: ChildCommand) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let prices = (0..).zip(GENESIS_CATEGORIES).map(|(id, (_, work_clock_s))| (id, default_price(work_clock_s)));
        Self {
            data_dir,
            ledger: LedgerChoice::Own,
            rpc: listen,
            pool: listen,
            store: listen,
            market: listen,
            simulated_enclave: false,
            workers: vec![WorkerPlan { conduct: Conduct::Honest, slots: 1 }; workers],
            fund: Vec::new(),
            child,
            prices: prices.collect(),
            private: None,
            host: None,
            public: None,
            metrics: None,
            policy: default_policy(),
            pool_flags: Said::default(),
            overflow: None,
            by_hub_alone: false,
            lends: Lends::default(),
        }
    }

    /// The same network, in which a task of any size costs nothing, so that nobody stakes anything either.
    pub fn free(mut self) -> Self {
        self.prices.iter_mut().for_each(|(_, price)| *price = Amount::ZERO);
        self
    }
}
