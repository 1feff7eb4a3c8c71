//! Keep an Ethereum ledger in one database: make blocks, answer questions about them, survive a crash.
//!
//! - [`Chain`] opens a ledger, makes its blocks ([`Chain::execute_block`]) and hands out [`View`]s.
//! - [`View`] answers everything about one moment: blocks, transactions, receipts, logs, calls, gas estimates, proofs, and
//!   the [`State`] after any block, however old.
//! - [`decode_transaction`] and [`check_transaction`] judge a transaction before it waits for a block.
//!
//! The blocks are real: Prague's rules, headers with a Merkle-Patricia state root that changes with a block's writes only,
//! so that any Ethereum tool can check them. No fee is charged: each transaction runs at gas price zero, whatever its
//! sender offered, and the base fee is zero. Blobs are not taken. There are no sockets here, no clock and no threads;
//! whoever makes a block says what time it is.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use alloy_primitives::{Address, U256};
//! use gristmill_evm::{Chain, Genesis};
//!
//! let db = gristmill_datadir::Db::open(folder.path().join("ledger.redb"))?;
//! let rich = Address::repeat_byte(1);
//! let chain = Chain::open(db, &Genesis::new(26482).fund(rich, U256::from(5)))?;
//!
//! let block = chain.execute_block(Vec::new(), 1_700_000_000)?;
//! assert_eq!(block.header.number, 1);
//! assert_eq!(chain.view()?.state(1)?.balance(rich)?, U256::from(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod call;
mod chain;
mod commit;
mod error;
mod execute;
mod genesis;
mod logs;
mod root;
mod schema;
mod spec;
mod state;
mod trie;
mod validate;
mod view;

#[cfg(test)]
mod tests;

pub use call::{AccountOverride, CallBlock, CallOutcome, CallRequest, StateOverrides};
pub use chain::{Chain, ExecutedBlock, SealedHeader};
pub use error::{BlockError, CallError, OpenError, StoreError};
pub use execute::{Rejected, SignedTransaction};
pub use genesis::{DEFAULT_GAS_LIMIT, Genesis, GenesisAccount};
pub use logs::{FoundLog, LogQuery, LogsError};
pub use schema::StoredReceipt;
pub use state::State;
pub use trie::TrieError;
pub use validate::{InvalidTransaction, check_transaction, decode_transaction};
pub use view::{AccountProof, MinedTransaction, StoredBlock, View};
