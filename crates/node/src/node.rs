//! Starts a node and stops it.

use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill_datadir::Db;
use gristmill_evm::{BlockError, Chain, Genesis, OpenError};
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock};
use crate::pool::{Pool, PoolLimits};
use crate::producer::{BLOCK_CHANNEL_CAPACITY, Producer};
use crate::rpc::filters::Filters;
use crate::rpc::{self, Context, RpcServer};
use crate::sequencer::{BatchSource, LocalSequencer, Sequencer};

/// Time between blocks on an idle ledger, unless the configuration says otherwise.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(1);

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The ledger's database. It is made into one when it is empty.
    pub db: Db,
    /// Where JSON-RPC is served, over HTTP and WebSocket. Port 0 means any free port.
    pub listen: SocketAddr,
    /// Block 0. It must be the one that an existing ledger began with, its time and gas limit excepted.
    pub genesis: Genesis,
    /// Longest time between blocks. Default: [`DEFAULT_HEARTBEAT`].
    pub heartbeat: Duration,
    /// Shortest time between blocks. Default: none.
    pub spacing: Duration,
    /// Default: [`SystemClock`].
    pub clock: Arc<dyn Clock>,
    /// Bounds of the transaction pool.
    pub pool_limits: PoolLimits,
    /// What `gristmill_network` answers at first.
    pub network_info: Value,
}

impl NodeConfig {
    /// A configuration with the defaults.
    pub fn new(db: Db, genesis: Genesis, listen: SocketAddr) -> Self {
        Self {
            db,
            listen,
            genesis,
            heartbeat: DEFAULT_HEARTBEAT,
            spacing: Duration::ZERO,
            clock: Arc::new(SystemClock),
            pool_limits: PoolLimits::default(),
            network_info: Value::Null,
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another program listens on the address.
    #[error(
        "address {address} is in use by another program: choose another port for the ledger's JSON-RPC, or 0 for any free one"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen for JSON-RPC on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
}

/// A node: the ledger, the pool of waiting transactions, the maker of blocks and JSON-RPC.
#[derive(Debug, Clone, Copy)]
pub struct Node;

impl Node {
    /// Starts a node that makes its blocks alone. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: NodeConfig) -> BoxFuture<'static, Result<NodeHandle, StartError>> {
        Box::pin(async move {
            let sequencer = LocalSequencer::new(config.heartbeat).spaced(config.spacing);
            Self::start_with(config, sequencer).await
        })
    }

    /// Starts a node whose blocks `sequencer` orders.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(config: NodeConfig, sequencer: impl Sequencer) -> Result<NodeHandle, StartError> {
        let NodeConfig { db, listen, genesis, clock, pool_limits, network_info, .. } = config;
        let listener = rpc::bind(listen)?;
        let opening = tokio::task::spawn_blocking(move || Chain::open(db, &genesis)).await;
        let chain = match opening {
            Ok(chain) => chain?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let source = BatchSource::new(Pool::new(pool_limits), clock);
        let (blocks, _) = broadcast::channel(BLOCK_CHANNEL_CAPACITY);
        let (failure, failed) = watch::channel(None);
        let (stop, stopping) = watch::channel(false);
        let network_info = Arc::new(Mutex::new(network_info));
        let context = Context {
            chain: chain.clone(),
            source: source.clone(),
            blocks: blocks.clone(),
            failed: failed.clone(),
            network_info: Arc::clone(&network_info),
            stopping: stopping.clone(),
            filters: Filters::default(),
            user: None,
        };
        let server = rpc::serve(listener, context).map_err(|source| StartError::Listen { address: listen, source })?;
        let producer = Producer { chain: chain.clone(), source, blocks, failure, stop: stopping };
        let producing = tokio::spawn(producer.run(sequencer));
        Ok(NodeHandle { chain, server, producing, stop, failed, network_info })
    }
}

/// A running node. Dropping it stops the node too, without waiting for the block in progress.
#[derive(Debug)]
pub struct NodeHandle {
    chain: Chain,
    server: RpcServer,
    producing: JoinHandle<()>,
    stop: watch::Sender<bool>,
    failed: watch::Receiver<Option<Arc<BlockError>>>,
    network_info: Arc<Mutex<Value>>,
}

impl NodeHandle {
    /// Where JSON-RPC is served.
    pub fn rpc_addr(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL of JSON-RPC over HTTP.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc_addr())
    }

    /// The ledger, to read from. Blocks come through JSON-RPC.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Sets what `gristmill_network` answers from now on.
    pub fn set_network_info(&self, info: Value) {
        *self.network_info.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = info;
    }

    /// Waits until blocks can no longer be made (a full or broken disk), and says why. Never returns while all is well.
    pub fn failed(&self) -> BoxFuture<'_, Arc<BlockError>> {
        Box::pin(async move {
            let mut failed = self.failed.clone();
            let failure = match failed.wait_for(Option::is_some).await {
                Ok(failure) => failure.clone(),
                Err(_) => None,
            };
            match failure {
                Some(cause) => cause,
                // The producer ended because the node shuts down: that is no failure.
                None => std::future::pending().await,
            }
        })
    }

    /// Stops serving, finishes the block in progress, and returns when nothing of the node runs any more and the database
    /// is let go.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { chain, server, producing, stop, .. } = self;
            drop(chain);
            stop.send_replace(true);
            // A panic there was logged already, and the block in progress is whole or absent.
            let _ = producing.await;
            server.stop().await;
        })
    }
}
