//! Run a ledger: a pool of waiting transactions, a maker of blocks, and the JSON-RPC that wallets and tools speak.
//!
//! [`Node::start`] opens the ledger in a database and serves it; [`NodeHandle`] reads from it and stops it. A block is made
//! as soon as a transaction is there (with all that arrived while the last block was made), and at every heartbeat.
//! The order of blocks comes from a [`Sequencer`]; [`LocalSequencer`] is the one of a node that is alone.
//!
//! There are no reorganisations: the tags latest, safe and finalized all mean the last block. Calls and gas estimates on
//! `latest` and `pending` see the number and time of the block that would come next, so that a deadline which has passed by
//! the clock has passed for them too. Gas is free: prices are zero in all answers, whatever a transaction offers.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use gristmill_node::{Genesis, Node, NodeConfig};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let db = gristmill_datadir::Db::open(folder.path().join("ledger.redb"))?;
//! let listen = "127.0.0.1:0".parse()?;
//! let node = Node::start(NodeConfig::new(db, Genesis::new(26482), listen)).await?;
//! println!("JSON-RPC on {}", node.rpc_url());
//! node.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod clock;
mod node;
mod pool;
mod producer;
mod rpc;
mod sequencer;

pub use clock::{Clock, SystemClock};
pub use gristmill_evm::{Chain, Genesis, GenesisAccount};
pub use node::{DEFAULT_HEARTBEAT, Node, NodeConfig, NodeHandle, StartError};
pub use pool::{PoolError, PoolLimits, REPLACEMENT_BUMP_PERCENT};
pub use rpc::limits;
pub use sequencer::{BLOCK_TRANSACTIONS_MAX, Batch, BatchFuture, BatchSource, LocalSequencer, Sequencer};
