//! What keeps a network from starting, or ends it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use alloy_primitives::Address;
use gristmill_datadir::{DataDirError, DbError, FileError};
use gristmill_hub::deploy::DeployError;
use gristmill_hub::{HubError, OutboxError};
use gristmill_market::MarketError;
use gristmill_node::StartError;
use gristmill_pool::PoolError;
use gristmill_store::{ClientError, StoreError};
use gristmill_types::Amount;
use gristmill_wallet::WalletFileError;
use gristmill_worker::WorkerError;

/// A network could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A database in it.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A key in it.
    #[error(transparent)]
    Wallet(#[from] WalletFileError),
    /// The ledger.
    #[error(transparent)]
    Node(#[from] StartError),
    /// The hub could not be deployed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The hub could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A transaction that the network needs failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The store's folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's service.
    #[error(transparent)]
    StoreClient(#[from] ClientError),
    /// There is nothing to buy on where the pool is to buy what its machines cannot finish.
    #[error("there is no market at {place}, where --overflow-to says that there is one")]
    NoMarket {
        /// The place, as it was named.
        place: String,
        /// What is wrong.
        #[source]
        source: Box<gristmill_requester::RequesterError>,
    },
    /// The market is the pool's own ledger.
    #[error(
        "{place} is the ledger of this pool itself: let --overflow-to name another network, whose pools work for strangers"
    )]
    MarketIsOwn {
        /// The place, as it was named.
        place: String,
    },
    /// The store's address is taken, or not one of this machine.
    #[error("the store cannot listen on {address}: choose another address with --store, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The market.
    #[error(transparent)]
    Market(#[from] MarketError),
    /// The network in the folder was born without what is asked for now.
    #[error(
        "the network in {} was born without simulated enclaves, and its hub can never have them: leave --simulated-enclave out, or choose a new folder with --data-dir",
        path.display()
    )]
    NoEnclave {
        /// The folder.
        path: PathBuf,
    },
    /// Gas costs something, and this account has nothing.
    #[error("{address} has no coins on chain {chain_id} to pay for gas: send it some, then try again")]
    NoCoins {
        /// Whose.
        address: Address,
        /// The chain.
        chain_id: u64,
    },
    /// A pool's account cannot stake on what its orders offer.
    #[error(
        "{address} has {has}, and a pool with these prices stakes {needed} on its dearest task: have at least {missing} more GRIST sent to it (on a network of yours: `gristmill up --fund {address}`), or ask less with --price, and start again"
    )]
    NoStake {
        /// Whose.
        address: Address,
        /// In its account and outside of it.
        has: Amount,
        /// What one task takes.
        needed: Amount,
        /// What has to come.
        missing: Amount,
    },
    /// Others can dial the pool, and not its store.
    #[error(
        "workers could dial the pool, but not its store at {address}: let it listen where the pool does (--store-listen), say under which name others dial both (--host), or name a store that they reach (--store)"
    )]
    StoreAddress {
        /// Where the store is to listen.
        address: SocketAddr,
    },
    /// The pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A part of the network ended by itself.
    #[error("the network cannot go on: {0}")]
    Ended(String),
}
