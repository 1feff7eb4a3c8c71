//! Compose a local network: ledger, hub, store, pool and workers in one process, on one data folder.
//!
//! [`Network::start`] makes what is missing (keys, hub, funds, apps) and starts everything; running it on the folder of
//! an earlier network goes on where that one stopped, however it stopped. `up`, `demo` and the end-to-end tests all use
//! it. [`LonePool`] is a pool without the rest. Either may buy on a market what its own machines cannot finish: [`OverflowPlan`].

pub mod audit;
pub mod builtin;
mod config;
mod error;
mod ledger;
mod lone;
mod overflow;
mod service;
mod treasury;

pub use audit::Audit;
pub use config::{ForeignLedger, LedgerChoice, NetworkConfig, WorkerPlan};
pub use error::NetworkError;
pub use gristmill_hub::audit::AuditError;
pub use ledger::{SUPPLY, deploy_on};
pub use lone::{LonePool, POOL_FOLDER, PoolPlan, StorePlan};
pub use overflow::{
    AFTER_DEFAULT as OVERFLOW_AFTER_DEFAULT, OVERFLOW_FOLDER, OverflowPlan, SLOTS_DEFAULT as OVERFLOW_SLOTS_DEFAULT,
    SLOTS_MAX as OVERFLOW_SLOTS_MAX, TRUST_DEFAULT as OVERFLOW_TRUST_DEFAULT,
};
pub use service::{ADDRESS_FILE, DATA_KIND, DATA_VERSION, Network};
